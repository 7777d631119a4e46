//! The connections that gossip goes over: one to each member that something was said to, dialled by
//! whoever had something to say first.

use super::Mesh;
use crate::cluster::membership::{MemberKey, Refused};
use crate::net::backplane::{self, MeetError, Met};
use crate::net::endpoint::Door;
use crate::net::frames::FrameReader;
use crate::net::outbox::Outbox;
use crate::wire::backplane::{MemberId, Purpose, ServerHello};
use crate::wire::session::CloseCode;
use crate::wire::{DecodeError, Frame, FrameType, Time};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// How long a member that could not be dialled is left alone.
const DIAL_PAUSE: Duration = Duration::from_secs(1);
/// Frames that wait for a member to be dialled. Gossip repeats itself: more would be no use.
const MAX_WAITING: usize = 16;
/// The link to one member.
pub(super) struct Link {
    /// The connection's number.
    id: usize,
    pub(super) outbox: Outbox,
}

/// What is under way to a member that is not linked.
pub(super) enum Dial {
    /// It is being dialled, and this waits for it.
    UnderWay(Vec<Frame>),
    /// It could not be dialled, and is left alone until then.
    Paused(Time),
}

/// Why a member's gossip is not heard any more.
#[derive(Debug, thiserror::Error)]
enum Unheard {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("a frame of type {0:?} does not belong on a connection for gossip")]
    Frame(FrameType),
}

impl Mesh {
    /// Hears a member that connected, until it or its connection goes.
    pub(crate) async fn serve(self: &Rc<Self>, met: Met) {
        let outbox = self.add_link(met.connection.stable_id(), &met.peer, met.send);
        self.hear(met.connection, &met.peer, met.frames, outbox).await;
    }

    /// Sends to a member over the link that there is, or over one that is made for it.
    pub(super) fn send(self: &Rc<Self>, to: &MemberId, frame: Frame) {
        let key = (to.role, to.name.clone());
        if let Some(link) = self.links.borrow().get(&key) {
            // What one does not read is not kept for it: gossip repeats itself.
            if !link.outbox.is_high() {
                link.outbox.push(&frame);
            }
            return;
        }
        // Of a member without an address: it dials us.
        let Some(address) = to.address else {
            return;
        };
        let mut dials = self.dials.borrow_mut();
        match dials.get_mut(&key) {
            Some(Dial::UnderWay(waiting)) if waiting.len() < MAX_WAITING => waiting.push(frame),
            Some(Dial::UnderWay(_)) => {}
            Some(Dial::Paused(until)) if *until > self.clock.now() => {}
            Some(Dial::Paused(_)) | None => {
                dials.insert(key.clone(), Dial::UnderWay(vec![frame]));
                tokio::task::spawn_local(Rc::clone(self).dial_member(key, address));
            }
        }
    }

    /// Dials a member where gossip says that it is, and hears it.
    async fn dial_member(self: Rc<Self>, key: MemberKey, address: SocketAddr) {
        let met = self.dial(address).await.and_then(|met| {
            // It is where another one was said to be: nothing of the other is known.
            match (met.peer.role, &met.peer.name) == (key.0, &key.1) {
                true => Ok(met),
                false => {
                    let another = MeetError::Another {
                        expected: key.1.clone(),
                        role: met.peer.role.as_str(),
                        name: met.peer.name.clone(),
                    };
                    let reason = another.to_string();
                    backplane::close(&met.connection, CloseCode::NotWelcome, &reason);
                    Err(another)
                }
            }
        });
        match met {
            Err(error) => {
                tracing::debug!(name = %key.1, %address, %error, "a member cannot be reached");
                let now = self.clock.now();
                let mut dials = self.dials.borrow_mut();
                dials.retain(|_, dial| !matches!(dial, Dial::Paused(until) if *until <= now));
                dials.insert(key, Dial::Paused(now + DIAL_PAUSE));
            }
            Ok(Met { connection, peer, send, frames, .. }) => {
                let outbox = self.add_link(connection.stable_id(), &peer, send);
                if let Some(Dial::UnderWay(waiting)) = self.dials.borrow_mut().remove(&key) {
                    for frame in &waiting {
                        outbox.push(frame);
                    }
                }
                self.hear(connection, &peer, frames, outbox).await;
            }
        }
    }

    pub(super) async fn dial(self: &Rc<Self>, address: SocketAddr) -> Result<Met, MeetError> {
        let met = self.setup.identity.dial_any(&self.dialling, address, Purpose::Gossip).await?;
        self.learn_own_address(address);
        Ok(met)
    }

    /// Notes where frames for a member go from now on.
    pub(super) fn add_link(
        &self,
        id: usize,
        peer: &ServerHello,
        send: quinn::SendStream,
    ) -> Outbox {
        let outbox = Outbox::by_task(send);
        let link = Link { id, outbox: outbox.clone() };
        self.links.borrow_mut().insert((peer.role, peer.name.clone()), link);
        outbox
    }

    pub(super) async fn hear(
        self: &Rc<Self>,
        connection: quinn::Connection,
        peer: &ServerHello,
        mut frames: FrameReader,
        outbox: Outbox,
    ) {
        self.learn_own_address(connection.remote_address());
        loop {
            match frames.fill().await {
                Ok(true) => {}
                Ok(false) | Err(_) => break,
            }
            if let Err(error) = self.hand_in(peer, &mut frames) {
                tracing::warn!(name = %peer.name, %error, "a member's gossip is not heard");
                let (code, reason) = (CloseCode::ProtocolViolation, error.to_string());
                backplane::close(&connection, code, &reason);
                break;
            }
        }
        outbox.close();
        let key = (peer.role, peer.name.clone());
        let mut links = self.links.borrow_mut();
        if links.get(&key).is_some_and(|link| link.id == connection.stable_id()) {
            links.remove(&key);
        }
        drop(links);
        backplane::close(&connection, CloseCode::Done, "the link is given up");
    }

    /// Hands in all that has been read.
    fn hand_in(
        self: &Rc<Self>,
        peer: &ServerHello,
        frames: &mut FrameReader,
    ) -> Result<(), Unheard> {
        while let Some(frame) = frames.buffered()? {
            if frame.kind() != FrameType::Gossip {
                return Err(Unheard::Frame(frame.kind()));
            }
            let from = (peer.role, &peer.name);
            self.with(|machine, now| machine.handle_gossip(now, from, &frame))?;
        }
        Ok(())
    }
}

/// Accepts connections for gossip, and no others, until the endpoint closes: on the backplane port
/// of a router.
pub(crate) async fn accept(mesh: Rc<Mesh>, door: Door, endpoint: quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let from = incoming.remote_address();
        let Some(admitted) = door.admit(&endpoint, incoming) else {
            continue;
        };
        let mesh = Rc::clone(&mesh);
        tokio::task::spawn_local(async move {
            let Some(connection) = admitted.await else {
                return tracing::debug!(%from, "a backplane connection was not completed");
            };
            match mesh.setup.identity.welcome(connection).await {
                Ok(met) if met.peer.purpose == Purpose::Gossip => mesh.serve(met).await,
                Ok(met) => {
                    let reason = "a router is dialled for gossip only";
                    backplane::close(&met.connection, CloseCode::NotWelcome, reason);
                }
                Err(error) => tracing::warn!(%from, %error, "a backplane connection was refused"),
            }
        });
    }
}
