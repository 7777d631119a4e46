//! Links to servers: dialled, kept, and dialled again.

use super::{FIRST_INSPECTION, Shell, bodies};
use crate::assign::ServerIndex;
use crate::net::backplane::{self, Dialling, Held, MeetError, Met, first_closed};
use crate::net::frames::FrameReader;
use crate::net::membership::{Roster, Target};
use crate::net::outbox::Outbox;
use crate::node::router::CannotLink;
use crate::wire::backplane::{Message, Purpose};
use crate::wire::session::CloseCode;
use crate::wire::{DecodeError, Name};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a router that has just started waits for its servers before it lets clients in: a
/// client that came back first would find its primary down, and be given to another server.
const FIRST_LINKS: Duration = Duration::from_millis(500);

/// The sending side of a server's links, one to each of its workers.
pub(super) struct ServerIo {
    pub(super) name: Name,
    /// As it says.
    pool: Option<Name>,
    version: u64,
    connections: Vec<quinn::Connection>,
    outboxes: Vec<Outbox>,
    /// Connections for bodies, one to each of its workers.
    bodies: Vec<quinn::Connection>,
}

impl ServerIo {
    pub(super) fn workers(&self) -> u64 {
        self.outboxes.len() as u64
    }

    pub(super) fn outbox(&self, worker: u64) -> Option<&Outbox> {
        self.outboxes.get(usize::try_from(worker).ok()?)
    }

    pub(super) fn bodies(&self, worker: u64) -> Option<&quinn::Connection> {
        self.bodies.get(usize::try_from(worker).ok()?)
    }

    pub(super) fn address(&self) -> String {
        self.connections.first().map_or_else(String::new, |it| it.remote_address().to_string())
    }

    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        self.connections.iter().for_each(|connection| backplane::close(connection, code, reason));
    }
}

/// Dials all workers of a server and serves the links until one of them breaks.
pub(super) async fn hold_links(
    shell: &Rc<Shell>,
    dialling: &Dialling,
    target: &Target,
) -> Result<Held, MeetError> {
    if target.met.borrow().as_ref().is_some_and(|name| shell.is_linked(name)) {
        return Ok(Held::Elsewhere);
    }
    let address = target.address;
    let links = shell.identity.dial_all(dialling, address, Purpose::Frames).await?;
    let name = links[0].peer.name.clone();
    target.met.replace(Some(name.clone()));
    let pool = links[0].peer.pool.clone();
    if let Err(why) = shell.with(|node, _| node.has_pool(pool.as_ref())) {
        give_up(&links, &why.to_string());
        return Ok(shell.leave_alone(&name, &why));
    }
    shell.pools.forget_stranger(&name);
    let for_bodies = shell.identity.dial_all(dialling, address, Purpose::Bodies).await?;
    if shell.is_linked(&name) {
        [links, for_bodies].iter().for_each(|links| give_up(links, "it is linked already"));
        return Ok(Held::Elsewhere);
    }
    let mut readers = Vec::new();
    let version = backplane::version_with(&links);
    let (connections, outboxes) = (Vec::new(), Vec::new());
    let bodies = for_bodies.iter().map(|met| met.connection.clone()).collect();
    let mut io = ServerIo { name: name.clone(), pool, version, connections, outboxes, bodies };
    for Met { connection, send, frames, .. } in links {
        io.outboxes.push(Outbox::by_task(send));
        io.connections.push(connection);
        readers.push(frames);
    }
    let connections = io.connections.clone();
    let server = match shell.add_server(io) {
        Ok(server) => server,
        Err(why) => return Ok(shell.leave_alone(&name, &why)),
    };
    shell.linked.notify_waiters();
    tracing::info!(server = %name, %address, workers = readers.len(), "linked to a server");
    for (worker, frames) in readers.into_iter().enumerate() {
        let (shell, connection) = (Rc::clone(shell), connections[worker].clone());
        tokio::task::spawn_local(async move {
            read_messages(&shell, (server, worker as u64), frames, &connection).await;
            // One that broke by itself keeps its reason.
            if connection.close_reason().is_none() {
                backplane::close(&connection, CloseCode::Done, "the link is given up");
            }
        });
    }
    let mut all = connections;
    for Met { connection, .. } in for_bodies {
        let (shell, bodies) = (Rc::clone(shell), connection.clone());
        tokio::task::spawn_local(async move { bodies::accept(&shell, server, &bodies).await });
        all.push(connection);
    }
    let why = first_closed(&all).await;
    shell.remove_server(server);
    for connection in &all {
        backplane::close(connection, CloseCode::Done, "the link is given up");
    }
    tracing::info!(server = %name, %address, %why, "the links to a server are gone");
    Ok(Held::Broke)
}

fn give_up(links: &[Met], reason: &str) {
    links.iter().for_each(|met| backplane::close(&met.connection, CloseCode::Done, reason));
}

impl Shell {
    fn is_linked(&self, name: &Name) -> bool {
        self.servers.borrow().iter().flatten().any(|io| io.name == *name)
    }

    /// The machine has no use for a server.
    fn leave_alone(&self, name: &Name, why: &CannotLink) -> Held {
        match why {
            CannotLink::NoSuchPool(pool) => {
                if self.pools.note_stranger(name, pool) {
                    tracing::warn!(server = %name, %pool, "a server is not linked: {why}");
                    self.linked.notify_waiters();
                }
                Held::OfAnotherPool
            }
            CannotLink::TooMany => {
                tracing::error!(server = %name, "a server is not linked: {why}");
                Held::NotWanted
            }
        }
    }

    fn add_server(&self, io: ServerIo) -> Result<ServerIndex, CannotLink> {
        let (name, workers, version) = (io.name.clone(), io.workers(), io.version);
        let pool = io.pool.clone();
        let mut io = Some(io);
        self.with(|node, now| {
            // In its place before the machine's first message for it is carried out.
            let server = node.handle_server_up(now, (&name, pool.as_ref()), workers, version)?;
            let mut servers = self.servers.borrow_mut();
            if servers.len() <= server.get() {
                servers.resize_with(server.get() + 1, || None);
            }
            servers[server.get()] = io.take();
            Ok(server)
        })
    }

    /// Waits until somebody was met and all servers that are known then are linked, for a while.
    pub(super) async fn first_links(&self, roster: watch::Receiver<Roster>) {
        let all = async {
            loop {
                let changed = self.linked.notified();
                let known = roster.borrow().len();
                let linked = self.servers.borrow().iter().flatten().count();
                if (1..=linked + self.pools.strangers()).contains(&known) {
                    return;
                }
                changed.await;
            }
        };
        // Those that are missing then are down, as far as clients are concerned.
        let _ = tokio::time::timeout(FIRST_LINKS, all).await;
    }

    fn remove_server(&self, server: ServerIndex) {
        self.servers.borrow_mut()[server.get()] = None;
        self.with(|node, now| node.handle_server_down(now, server));
    }
}

/// Hands a worker's messages to the machine until the link breaks or speaks nonsense.
async fn read_messages(
    shell: &Rc<Shell>,
    from: (ServerIndex, u64),
    mut frames: FrameReader,
    connection: &quinn::Connection,
) {
    loop {
        match frames.fill().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::debug!(?from, %error, "the link to a server broke"),
        }
        if let Err(error) = hand_in(shell, from, &mut frames) {
            tracing::warn!(?from, %error, "the link to a server is given up");
            let code = CloseCode::ProtocolViolation;
            return backplane::close(connection, code, &error.to_string());
        }
        shell.replied.notify_waiters();
    }
}

/// Hands in all that has been read.
fn hand_in(
    shell: &Rc<Shell>,
    (server, worker): (ServerIndex, u64),
    frames: &mut FrameReader,
) -> Result<(), DecodeError> {
    shell.with(|node, now| {
        while let Some(frame) = frames.buffered()? {
            match Message::decode(&frame)? {
                Message::Holds { query, holds, .. } if query >= FIRST_INSPECTION => {
                    if let Some(answer) = shell.inspections.borrow_mut().remove(&query) {
                        // Fails only if nobody waits for the answer any more.
                        let _ = answer.send(holds.mirror());
                    }
                }
                message => node.handle_server_message(now, server, worker, message),
            }
        }
        Ok(())
    })
}
