//! Links to servers: dialled, kept, and dialled again.

use super::{Shell, bodies};
use crate::net::backplane::{self, Held, MeetError, Met};
use crate::net::endpoint;
use crate::net::frames::FrameReader;
use crate::net::outbox::Outbox;
use crate::wire::Name;
use crate::wire::backplane::{Message, Purpose};
use crate::wire::session::CloseCode;
use quinn::crypto::rustls::QuicClientConfig;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// The sending side of one link.
pub(super) struct ServerIo {
    pub(super) connection: quinn::Connection,
    pub(super) outbox: Outbox,
}

/// How servers are dialled.
#[derive(Clone)]
pub(super) struct Dialling {
    frames: quinn::ClientConfig,
    bodies: quinn::ClientConfig,
}

impl Dialling {
    pub(super) fn new(crypto: Arc<QuicClientConfig>) -> Self {
        let mut frames = quinn::ClientConfig::new(crypto.clone());
        frames.transport_config(endpoint::backplane_transport());
        let mut bodies = quinn::ClientConfig::new(crypto);
        bodies.transport_config(endpoint::backplane_body_transport());
        Self { frames, bodies }
    }
}

/// Keeps a link to the server at one address, for ever.
pub(super) async fn keep_link(
    shell: Rc<Shell>,
    endpoint: quinn::Endpoint,
    dialling: Dialling,
    address: String,
) {
    let hold = async || hold_link(&shell, &endpoint, &dialling, &address).await;
    backplane::keep_link(&address, hold).await;
}

/// Dials a server and serves the link until it breaks.
async fn hold_link(
    shell: &Rc<Shell>,
    endpoint: &quinn::Endpoint,
    dialling: &Dialling,
    address: &str,
) -> Result<Held, MeetError> {
    let address = backplane::look_up(address).await?;
    let frames = shell.identity.dial(endpoint, dialling.frames.clone(), address, Purpose::Frames);
    let met = frames.await?;
    let bodies = dial_bodies(shell, endpoint, dialling, address).await?;
    let Met { connection, peer, send, frames } = met;
    let name = peer.name.clone();
    tracing::info!(server = %name, %address, "linked to a server");
    let outbox = Outbox::default();
    tokio::task::spawn_local(outbox.clone().write_to(send));
    let io = ServerIo { connection: connection.clone(), outbox };
    shell.servers.borrow_mut().insert(name.clone(), io);
    shell.with(|node, now| node.handle_server_up(now, &name));
    tokio::select! {
        () = read_messages(shell, &name, frames, &connection) => {}
        () = bodies::accept(shell, &name, &bodies) => {}
        _ = connection.closed() => {}
    }
    shell.servers.borrow_mut().remove(&name);
    shell.with(|node, now| node.handle_server_down(now, &name));
    let code = CloseCode::Done;
    backplane::close(&connection, code, "the link is given up");
    backplane::close(&bodies, code, "the link is given up");
    tracing::info!(server = %name, %address, "the link to a server is gone");
    Ok(Held::Broke)
}

async fn dial_bodies(
    shell: &Rc<Shell>,
    endpoint: &quinn::Endpoint,
    dialling: &Dialling,
    address: SocketAddr,
) -> Result<quinn::Connection, MeetError> {
    let config = dialling.bodies.clone();
    let met = shell.identity.dial(endpoint, config, address, Purpose::Bodies).await?;
    Ok(met.connection)
}

/// Hands a server's messages to the machine until the link breaks or speaks nonsense.
async fn read_messages(
    shell: &Rc<Shell>,
    name: &Name,
    mut frames: FrameReader,
    connection: &quinn::Connection,
) {
    loop {
        let message = match frames.next().await {
            Ok(Some(frame)) => Message::decode(&frame),
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(server = %name, %error, "the link to a server broke");
                return backplane::refuse(connection, &error);
            }
        };
        match message {
            Ok(Message::Holds { query, holding, .. }) if query >= super::FIRST_INSPECTION => {
                if let Some(answer) = shell.inspections.borrow_mut().remove(&query) {
                    // Fails only if nobody waits for the answer any more.
                    let _ = answer.send(holding);
                }
            }
            Ok(message) => {
                shell.with(|node, now| node.handle_server_message(now, name, message));
                shell.replied.notify_waiters();
            }
            Err(error) => {
                tracing::warn!(server = %name, %error, "a server sent a malformed frame");
                let code = CloseCode::ProtocolViolation;
                return backplane::close(connection, code, &error.to_string());
            }
        }
    }
}
