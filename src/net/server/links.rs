//! Connections of routers and servers: those that come in, and those that are dialled.
//!
//! A server sends to another one over the connection that it dialled itself, and listens on the one
//! that the other dialled. A router's connection carries frames both ways.

use super::{Plan, Shell, exchanges};
use crate::net::backplane::{self, Dialling, Held, MeetError, Met, first_closed};
use crate::net::frames::FrameReader;
use crate::net::membership::{self, Mesh, Setup, Target};
use crate::net::outbox::Outbox;
use crate::node::server::Link;
use crate::wire::backplane::{Message, Purpose, Role};
use crate::wire::session::CloseCode;
use crate::wire::{DecodeError, Name};
use std::net::SocketAddr;
use std::rc::Rc;

/// A router at the other end of a connection for frames.
pub(super) struct RouterLink {
    pub(super) member: (Name, u64, u64),
}

/// Keeps links to all other servers; worker 0 takes part in the gossip that tells of them.
pub(super) fn start(shell: &Rc<Shell>, plan: &Plan, dialling: &Rc<Dialling>, local: SocketAddr) {
    let (linker, links_dialling) = (Rc::clone(shell), Rc::clone(dialling));
    let hold = async move |target: &_| hold_links(&linker, &links_dialling, target).await;
    tokio::task::spawn_local(membership::keep_links(plan.roster.subscribe(), hold));
    if shell.identity.worker == 0 {
        join(shell, plan, dialling, local);
    }
}

impl Shell {
    /// How many connections of routers' workers there are.
    #[cfg(test)]
    pub(crate) fn router_links(&self) -> usize {
        self.routers.borrow().len()
    }

    /// What worker 0 knows of the members.
    pub(crate) fn mesh(&self) -> Option<&Mesh> {
        self.mesh.get().map(Rc::as_ref)
    }
}

/// Takes part in the gossip.
fn join(shell: &Rc<Shell>, plan: &Plan, dialling: &Rc<Dialling>, local: SocketAddr) {
    let setup = Setup {
        identity: shell.identity.clone(),
        listen: Some(local),
        advertise: plan.config.advertise,
        seeds: plan.config.seeds.clone(),
    };
    let gone = membership::tell_workers(&plan.inspectors, |shell: &Rc<Shell>, name| {
        shell.with(|node, now| node.handle_peer_gone(now, name));
    });
    let (clock, roster) = (plan.clock, plan.roster.clone());
    let mesh = Mesh::new(setup, clock, Rc::clone(dialling), roster, gone);
    mesh.start();
    assert!(shell.mesh.set(mesh).is_ok(), "a process takes part in the gossip once");
}

/// Accepts connections until the endpoint closes.
pub(super) async fn accept(shell: Rc<Shell>, endpoint: quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let from = incoming.remote_address();
        let Some(admitted) = shell.door.admit(&endpoint, incoming) else {
            continue;
        };
        let shell = Rc::clone(&shell);
        tokio::task::spawn_local(async move {
            let Some(connection) = admitted.await else {
                return tracing::debug!(%from, "a backplane connection was not completed");
            };
            match shell.identity.welcome(connection).await {
                Ok(met) => serve(&shell, met).await,
                Err(error) => tracing::warn!(%from, %error, "a backplane connection was refused"),
            }
        });
    }
}

async fn serve(shell: &Rc<Shell>, met: Met) {
    match (met.peer.role, met.peer.purpose) {
        (Role::Router, Purpose::Frames) => serve_router(shell, met).await,
        (Role::Router, Purpose::Bodies) => {
            let router = (met.peer.name.clone(), met.peer.incarnation, met.peer.worker);
            let connection = met.connection.clone();
            let id = connection.stable_id();
            shell.body_connections.borrow_mut().insert(router.clone(), connection.clone());
            shell.body_connected.notify_waiters();
            exchanges::accept_contents(shell, &router, &connection).await;
            let mut connections = shell.body_connections.borrow_mut();
            if connections.get(&router).is_some_and(|newest| newest.stable_id() == id) {
                connections.remove(&router);
            }
        }
        (Role::Server, Purpose::Frames) => {
            let link = Link::Server(met.peer.name.clone(), met.peer.worker);
            read_messages(shell, &link, met.frames, &met.connection).await;
        }
        (_, Purpose::Gossip) => match shell.mesh.get() {
            Some(mesh) => mesh.serve(met).await,
            None => {
                let reason = "gossip goes to worker 0";
                backplane::close(&met.connection, CloseCode::NotWelcome, reason);
            }
        },
        (Role::Server, Purpose::Bodies) => {
            let reason = "servers send each other no bodies";
            backplane::close(&met.connection, CloseCode::ProtocolViolation, reason);
        }
    }
}

async fn serve_router(shell: &Rc<Shell>, met: Met) {
    let Met { connection, peer, version, send, frames } = met;
    let link = Link::Router(shell.next_link.replace(shell.next_link.get() + 1));
    tracing::info!(router = %peer.name, "linked to a router");
    let outbox = Outbox::by_task(send);
    let router = RouterLink { member: (peer.name.clone(), peer.incarnation, peer.worker) };
    shell.routers.borrow_mut().insert(link.clone(), router);
    shell.outboxes.borrow_mut().insert(link.clone(), outbox);
    shell.with(|node, now| node.handle_router_up(now, &link, version));
    tokio::select! {
        () = read_messages(shell, &link, frames, &connection) => {}
        _ = connection.closed() => {}
    }
    shell.routers.borrow_mut().remove(&link);
    shell.outboxes.borrow_mut().remove(&link);
    shell.with(|node, now| node.handle_router_down(now, &link));
    backplane::close(&connection, CloseCode::Done, "the link is given up");
}

/// Hands messages to the machine until the link breaks or speaks nonsense.
async fn read_messages(
    shell: &Rc<Shell>,
    link: &Link,
    mut frames: FrameReader,
    connection: &quinn::Connection,
) {
    loop {
        match frames.fill().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::debug!(?link, %error, "a link broke"),
        }
        if let Err(error) = hand_in(shell, link, &mut frames) {
            tracing::warn!(?link, %error, "a malformed frame came over the backplane");
            return backplane::close(connection, CloseCode::ProtocolViolation, &error.to_string());
        }
    }
}

/// Hands in all that has been read.
fn hand_in(shell: &Rc<Shell>, link: &Link, frames: &mut FrameReader) -> Result<(), DecodeError> {
    shell.with(|node, now| {
        while let Some(frame) = frames.buffered()? {
            node.handle_message(now, link, Message::decode(&frame)?);
        }
        Ok(())
    })
}

/// Dials all workers of another server, to send to them until one of the connections breaks.
async fn hold_links(
    shell: &Rc<Shell>,
    dialling: &Dialling,
    target: &Target,
) -> Result<Held, MeetError> {
    let is_linked =
        |name: &Name| shell.outboxes.borrow().contains_key(&Link::Server(name.clone(), 0));
    if target.met.borrow().as_ref().is_some_and(is_linked) {
        return Ok(Held::Elsewhere);
    }
    let met = shell.identity.dial_all(dialling, target.address, Purpose::Frames).await?;
    let (name, workers) = (met[0].peer.name.clone(), met.len() as u64);
    let give_up = |reason: &str| {
        met.iter().for_each(|met| backplane::close(&met.connection, CloseCode::Done, reason));
    };
    target.met.replace(Some(name.clone()));
    let own_pool = shell.identity.pool.as_ref();
    let version = backplane::version_with(&met);
    if name == shell.identity.name {
        // A list of all servers may be given to each of them.
        give_up("the same server");
        return Ok(Held::NotWanted);
    }
    // Who does not say it is of a version in which there was one pool.
    if let Some(pool) = met[0].peer.pool.as_ref().filter(|pool| Some(*pool) != own_pool) {
        tracing::debug!(server = %name, %pool, "a server of another pool is not linked");
        give_up("it is of another pool");
        return Ok(Held::OfAnotherPool);
    }
    if is_linked(&name) {
        give_up("it is linked already");
        return Ok(Held::Elsewhere);
    }
    let mut connections = Vec::new();
    for (worker, Met { connection, send, .. }) in met.into_iter().enumerate() {
        let outbox = Outbox::by_task(send);
        let link = Link::Server(name.clone(), worker as u64);
        shell.outboxes.borrow_mut().insert(link, outbox);
        connections.push(connection);
    }
    shell.with(|node, now| node.handle_peer_up(now, &name, workers, version));
    let why = first_closed(&connections).await;
    tracing::debug!(address = %target.address, %why, "the link to another server is gone");
    for worker in 0..workers {
        shell.outboxes.borrow_mut().remove(&Link::Server(name.clone(), worker));
    }
    for connection in &connections {
        backplane::close(connection, CloseCode::Done, "the link is given up");
    }
    shell.with(|node, now| node.handle_peer_down(now, &name));
    Ok(Held::Broke)
}
