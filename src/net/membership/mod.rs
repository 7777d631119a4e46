//! Membership's shell: gossip over the backplane, seeds, and whom everybody dials.
//!
//! Worker 0 of each process takes part in the gossip. What it learns, all workers read in the
//! *roster*, by which they keep their own links to the servers.

mod roster;
mod seeds;
#[cfg(all(test, feature = "cli"))]
mod tests;

pub(crate) use roster::{Roster, Target, keep_links};

use super::alarm::Alarm;
use super::backplane::{self, Dialling, Identity, MeetError, Met};
use super::clock::Clock;
use super::endpoint::Door;
use super::frames::FrameReader;
use super::outbox::Outbox;
use crate::cluster::membership::{Known, MemberKey, Membership, Output, Refused};
use crate::config::PeerAddress;
use crate::wire::backplane::{MemberId, Purpose, Role, ServerHello};
use crate::wire::session::CloseCode;
use crate::wire::{DecodeError, Frame, FrameType, Time};
use rand::Rng;
use seeds::Seeds;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a member that could not be dialled is left alone.
const DIAL_PAUSE: Duration = Duration::from_secs(1);
/// Frames that wait for a member to be dialled. Gossip repeats itself: more would be no use.
const MAX_WAITING: usize = 16;
/// How long the others have to hear that this member leaves.
const FAREWELL: Duration = Duration::from_millis(20);
/// When there is nothing to be reminded of.
const NEVER: Duration = Duration::from_secs(3600);

/// What a member takes part with.
pub(crate) struct Setup {
    /// How it says hello on the backplane.
    pub(crate) identity: Identity,
    /// Where it listens for other members, if it does, with the port that it really has.
    pub(crate) listen: Option<SocketAddr>,
    /// What it tells them to dial instead.
    pub(crate) advertise: Option<SocketAddr>,
    /// Where it begins.
    pub(crate) seeds: Vec<PeerAddress>,
}

/// The link to one member.
struct Link {
    /// The connection's number.
    id: usize,
    outbox: Outbox,
}

/// What is under way to a member that is not linked.
enum Dial {
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

/// One process's part in the gossip.
pub(crate) struct Mesh {
    setup: Setup,
    clock: Clock,
    dialling: Rc<Dialling>,
    machine: RefCell<Membership>,
    links: RefCell<BTreeMap<MemberKey, Link>>,
    dials: RefCell<BTreeMap<MemberKey, Dial>>,
    seeds: Seeds,
    roster: watch::Sender<Roster>,
    /// Told of every server that is gone.
    gone: Box<dyn Fn(&MemberId)>,
    alarm: Alarm,
}

impl Mesh {
    /// A member that dials by `dialling`, writes `roster`, and calls `gone` for servers that are.
    pub(crate) fn new(
        setup: Setup,
        clock: Clock,
        dialling: Rc<Dialling>,
        roster: watch::Sender<Roster>,
        gone: impl Fn(&MemberId) + 'static,
    ) -> Rc<Self> {
        let listen = setup.listen.filter(|listen| !listen.ip().is_unspecified());
        let own = MemberId {
            role: setup.identity.role,
            name: setup.identity.name.clone(),
            incarnation: setup.identity.incarnation,
            // As it is on the wire: without scope and flow.
            address: setup.advertise.or(listen).map(|it| (it.ip(), it.port()).into()),
        };
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        Rc::new(Self {
            seeds: Seeds::new(&setup.seeds),
            setup,
            clock,
            dialling,
            machine: RefCell::new(Membership::new(own, seed)),
            links: RefCell::default(),
            dials: RefCell::default(),
            roster,
            gone: Box::new(gone),
            alarm: Alarm::default(),
        })
    }

    /// Takes part, for ever.
    pub(crate) fn start(self: &Rc<Self>) {
        self.publish();
        for place in 0..self.setup.seeds.len() {
            tokio::task::spawn_local(Rc::clone(self).keep_seed(place));
        }
        let mesh = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let never = || mesh.clock.now() + NEVER;
            let due = || mesh.machine.borrow().poll_timeout().unwrap_or_else(never);
            let wake = || mesh.with(Membership::handle_timeout);
            mesh.alarm.run(mesh.clock, due, wake).await;
        });
    }

    /// All members that are known, this one first.
    pub(crate) fn members(&self) -> (MemberId, Vec<Known>) {
        let machine = self.machine.borrow();
        (machine.own().clone(), machine.members())
    }

    /// Tells the others that this member goes.
    pub(crate) async fn leave(self: &Rc<Self>) {
        self.with(Membership::leave);
        for link in self.links.borrow().values() {
            link.outbox.close();
        }
        tokio::time::sleep(FAREWELL).await;
    }

    /// Hears a member that connected, until it or its connection goes.
    pub(crate) async fn serve(self: &Rc<Self>, met: Met) {
        let outbox = self.add_link(met.connection.stable_id(), &met.peer, met.send);
        self.hear(met.connection, &met.peer, met.frames, outbox).await;
    }

    /// Gives the machine an input, then carries out what it wants done.
    fn with<R>(self: &Rc<Self>, input: impl FnOnce(&mut Membership, Time) -> R) -> R {
        let mut machine = self.machine.borrow_mut();
        let result = input(&mut machine, self.clock.now());
        let mut gone = Vec::new();
        let mut changed = false;
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Send { to, frame } => self.send(&to, frame),
                Output::Up(member) => {
                    changed = true;
                    let (role, address) = (member.role.as_str(), shown(member.address));
                    tracing::info!(role, name = %member.name, address, "a member is there");
                }
                Output::Down(member) => {
                    changed = true;
                    let role = member.role.as_str();
                    tracing::info!(role, name = %member.name, "a member is gone");
                    gone.push(member);
                }
            }
        }
        self.alarm.set(machine.poll_timeout().unwrap_or(self.clock.now() + NEVER));
        drop(machine);
        if changed {
            self.publish();
        }
        gone.iter().filter(|it| it.role == Role::Server).for_each(|member| (self.gone)(member));
        result
    }

    /// Sends to a member over the link that there is, or over one that is made for it.
    fn send(self: &Rc<Self>, to: &MemberId, frame: Frame) {
        let key = (to.role, to.name.clone());
        if let Some(link) = self.links.borrow().get(&key) {
            link.outbox.push(&frame);
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
                    let another = MeetError::Another { expected: key.1.clone(), peer: met.peer };
                    let reason = another.to_string();
                    backplane::close(&met.connection, CloseCode::NotWelcome, &reason);
                    Err(another)
                }
            }
        });
        match met {
            Err(error) => {
                tracing::debug!(name = %key.1, %address, %error, "a member cannot be reached");
                let until = self.clock.now() + DIAL_PAUSE;
                self.dials.borrow_mut().insert(key, Dial::Paused(until));
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

    async fn dial(self: &Rc<Self>, address: SocketAddr) -> Result<Met, MeetError> {
        let met = self.setup.identity.dial_any(&self.dialling, address, Purpose::Gossip).await?;
        self.learn_own_address(address);
        Ok(met)
    }

    /// Notes where frames for a member go from now on.
    fn add_link(&self, id: usize, peer: &ServerHello, send: quinn::SendStream) -> Outbox {
        let outbox = Outbox::by_task(send);
        let link = Link { id, outbox: outbox.clone() };
        self.links.borrow_mut().insert((peer.role, peer.name.clone()), link);
        outbox
    }

    async fn hear(
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

    /// A member that listens on all addresses, and was not told which one others reach it by, takes
    /// the one from which the system would reach a member that it met. One that only this machine
    /// can reach gives way to a better one.
    fn learn_own_address(self: &Rc<Self>, met: SocketAddr) {
        let Some(listen) = self.setup.listen.filter(|listen| listen.ip().is_unspecified()) else {
            return;
        };
        let is_weak = |address: SocketAddr| address.ip().is_loopback();
        let own = self.machine.borrow().own().address;
        if self.setup.advertise.is_some() || own.is_some_and(|own| !is_weak(own)) {
            return;
        }
        let Some(address) = ip_towards(met).map(|ip| SocketAddr::new(ip, listen.port())) else {
            return;
        };
        if own.is_none() || !is_weak(address) {
            tracing::info!(%address, "other members are told to dial this address");
            self.with(|machine, now| machine.set_address(now, address));
        }
    }

    /// Writes down for all workers whom to link to.
    fn publish(&self) {
        let (own, members) = self.members();
        let roster = Roster::of(&own, &members, &self.seeds.met());
        self.roster.send_if_modified(|known| {
            let changed = *known != roster;
            *known = roster;
            changed
        });
    }
}

/// The address from which the system sends to another one. Nothing is sent to find out.
fn ip_towards(other: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = match other.is_ipv4() {
        true => ([0, 0, 0, 0], 0).into(),
        false => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(other).ok()?;
    socket.local_addr().ok().map(|own| own.ip().to_canonical())
}

fn shown(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "none".to_owned(), |address| address.to_string())
}

/// Accepts connections for gossip, and no others, until the endpoint closes: on the backplane port of
/// a router.
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
