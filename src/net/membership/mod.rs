//! Membership's shell: gossip over the backplane, seeds, and whom everybody dials.
//!
//! Worker 0 of each process takes part in the gossip. What it learns, all workers read in the
//! *roster*, by which they keep their own links to the servers.

mod links;
mod roster;
mod seeds;

pub(crate) use links::accept;
pub(crate) use roster::{Roster, Target, keep_links};

use super::alarm::Alarm;
use super::backplane::{Dialling, Identity};
use super::clock::Clock;
use super::inspect::Inspectors;
use crate::cluster::membership::{Known, MemberKey, Membership, Output};
use crate::config::PeerAddress;
use crate::wire::backplane::{MemberId, Role};
use crate::wire::{Name, Time};
use links::{Dial, Link};
use rand::Rng;
use seeds::Seeds;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

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

    /// How many members there are links for gossip to.
    #[cfg(test)]
    pub(crate) fn links(&self) -> usize {
        self.links.borrow().len()
    }

    /// Gives the machine an input, then carries out what it wants done.
    fn with<R>(self: &Rc<Self>, input: impl FnOnce(&mut Membership, Time) -> R) -> R {
        let mut machine = self.machine.borrow_mut();
        let run_before = machine.own().incarnation;
        let result = input(&mut machine, self.clock.now());
        if machine.own().incarnation != run_before {
            // It was frozen or cut off for long, or its address was learned; often, it has a clock
            // that was set back, or there are two of its name.
            tracing::info!("this member goes on as a later run");
        }
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
        let roster = Roster::of(&own, &members, &self.seeds.tried());
        self.roster.send_if_modified(|known| {
            let changed = *known != roster;
            *known = roster;
            changed
        });
    }
}

/// What tells every worker of a process that a server is gone.
pub(crate) fn tell_workers<S: 'static>(
    workers: &Inspectors<S>,
    tell: impl Fn(&Rc<S>, &Name) + Copy + Send + 'static,
) -> impl Fn(&MemberId) + 'static {
    let workers = workers.clone();
    move |member| {
        for worker in workers.each() {
            let name = member.name.clone();
            if !worker.tell(move |shell| tell(shell, &name)) {
                tracing::warn!(name = %member.name, "a worker is too busy to hear who is gone");
            }
        }
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
