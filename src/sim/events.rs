//! What happens at which moment.

use super::cluster::World;
use super::network::{ACCEPTOR, ConnectionId, DIALLER, Host, Seat, Stream};
use super::story::Stage;
use crate::mirror::{Freshness, Known, Pair};
use crate::node::server::{Called, Exchanged, Retrieved};
use crate::wire::{ClientId, Key, Time};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Something that happens at a moment of virtual time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A dial arrives.
    Accept { connection: ConnectionId },
    /// A dialler's patience ends.
    DialTimeout { connection: ConnectionId },
    /// A chunk may have arrived.
    Pump { connection: ConnectionId, to: usize, stream: Stream },
    /// An end hears that the connection is gone.
    Closed { connection: ConnectionId, end: usize },
    /// An end looks whether it has heard of its peer lately.
    IdleCheck { connection: ConnectionId, end: usize },
    /// A host's worker dials a server.
    Dial { from: Host, life: u64, worker: usize, to: Host },
    /// A host's machine, or its program, wants to be called.
    Turn { host: Host, life: u64, worker: usize },
    /// A router's worker hears that another one has admitted a client.
    Admitted { host: Host, life: u64, worker: usize, client: ClientId, admission: u64 },
    /// A router's task stopped passing a body on.
    BodyBroken { seat: Seat, life: u64, request_id: u64, passed: u64 },
    /// The source looks at an item.
    Look { host: Host, life: u64, worker: usize, ticket: u64, key: Key, known: Option<Arc<Known>> },
    /// The source has answered.
    Retrieved {
        host: Host,
        life: u64,
        worker: usize,
        ticket: u64,
        retrieved: Retrieved,
        freshness: Freshness,
    },
    /// A difference between two versions was made.
    Differed { host: Host, life: u64, worker: usize, pair: Pair, made: Option<Bytes> },
    /// The source executes a call.
    Execute { host: Host, life: u64, worker: usize, ticket: u64, number: u64 },
    /// The source has answered a call.
    Called { host: Host, life: u64, worker: usize, ticket: u64, called: Called },
    /// An HTTP origin looks at a request, or its answer has come.
    Exchange {
        host: Host,
        life: u64,
        worker: usize,
        ticket: u64,
        run: u64,
        made: Option<(Exchanged, Bytes)>,
    },
    /// Bytes were read from a client's disk.
    Loaded { host: Host, life: u64, slot: u32 },
    /// A client's application does something.
    Work { host: Host, life: u64 },
    /// An item changes.
    Change,
    /// Something breaks.
    Fault,
    /// A host that was killed starts again.
    Start { host: Host },
    /// A host that was frozen goes on.
    Thaw { host: Host },
    /// A host can be reached again.
    Heal { host: Host },
    /// A server drains.
    Drain { place: usize },
    /// A server that drained takes clients again.
    Undrain { place: usize },
    /// A server is told to stop.
    Roll { place: usize },
    /// A server stands still for a moment, once more.
    Flap { place: usize },
    /// A server that was told to stop looks whether it has drained.
    Stop { host: Host, life: u64, until: Time },
    /// The scenario goes on.
    Stage,
}

impl World {
    /// The host to which an event happens: while it is frozen, the event waits.
    pub(super) fn host_of(&self, event: &Event) -> Option<Host> {
        let end = |connection: &ConnectionId, end: usize| {
            self.connections.get(connection).map(|it| it.ends[end].host)
        };
        match event {
            Event::Accept { connection } => end(connection, ACCEPTOR),
            Event::DialTimeout { connection } => end(connection, DIALLER),
            Event::Pump { connection, to, .. } => end(connection, *to),
            Event::Closed { connection, end: at } | Event::IdleCheck { connection, end: at } => {
                end(connection, *at)
            }
            Event::Dial { from, .. } => Some(*from),
            Event::BodyBroken { seat, .. } => Some(Host::Router(seat.0)),
            Event::Turn { host, .. }
            | Event::Admitted { host, .. }
            | Event::Look { host, .. }
            | Event::Retrieved { host, .. }
            | Event::Differed { host, .. }
            | Event::Execute { host, .. }
            | Event::Called { host, .. }
            | Event::Exchange { host, .. }
            | Event::Loaded { host, .. }
            | Event::Work { host, .. }
            | Event::Stop { host, .. } => Some(*host),
            Event::Change
            | Event::Fault
            | Event::Start { .. }
            | Event::Thaw { .. }
            | Event::Heal { .. }
            | Event::Drain { .. }
            | Event::Undrain { .. }
            | Event::Roll { .. }
            | Event::Flap { .. }
            | Event::Stage => None,
        }
    }

    /// Whether an event is for a run of its host that has ended.
    pub(super) fn is_stale(&self, event: &Event) -> bool {
        let ended = |host: Host, life: u64| !self.is_running(host) || self.life(host) != life;
        match event {
            // Only the acceptor's own life is not settled yet.
            Event::Accept { connection } => !self.connections.contains_key(connection),
            Event::DialTimeout { connection } => self.is_dead_end(*connection, DIALLER),
            Event::Pump { connection, to, .. } => self.is_dead_end(*connection, *to),
            Event::Closed { connection, end } | Event::IdleCheck { connection, end } => {
                self.is_dead_end(*connection, *end)
            }
            Event::Dial { from, life, .. } => ended(*from, *life),
            Event::BodyBroken { seat, life, .. } => ended(Host::Router(seat.0), *life),
            Event::Turn { host, life, .. }
            | Event::Admitted { host, life, .. }
            | Event::Look { host, life, .. }
            | Event::Retrieved { host, life, .. }
            | Event::Differed { host, life, .. }
            | Event::Execute { host, life, .. }
            | Event::Called { host, life, .. }
            | Event::Exchange { host, life, .. }
            | Event::Loaded { host, life, .. }
            | Event::Work { host, life }
            | Event::Stop { host, life, .. } => ended(*host, *life),
            _ => false,
        }
    }

    fn is_dead_end(&self, connection: ConnectionId, end: usize) -> bool {
        let Some(connection) = self.connections.get(&connection) else {
            return true;
        };
        let end = &connection.ends[end];
        !end.open || !self.is_running(end.host) || self.life(end.host) != end.life
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Accept { connection } => self.accept(connection),
            Event::DialTimeout { connection } => {
                if self.connections.get(&connection).is_some_and(|it| !it.up) {
                    self.handle_closed(connection, DIALLER);
                }
            }
            Event::Pump { connection, to, stream } => self.pump(connection, to, stream),
            Event::Closed { connection, end } => self.handle_closed(connection, end),
            Event::IdleCheck { connection, end } => self.check_idle(connection, end),
            Event::Dial { from, worker, to, .. } => {
                self.dial(from, worker, to);
            }
            Event::Turn { host, worker, .. } => self.turn(host, worker),
            Event::Admitted { host, worker, client, admission, .. } => {
                self.hand_in_admitted(host, worker, client, admission);
            }
            Event::BodyBroken { seat, request_id, passed, .. } => {
                self.hand_in_broken(seat, request_id, passed);
            }
            Event::Look { host, worker, ticket, key, known, .. } => {
                self.look_at_item(host, worker, ticket, &key, known.as_deref());
            }
            Event::Retrieved { host, worker, ticket, retrieved, freshness, .. } => {
                self.hand_in_retrieved(host, worker, ticket, retrieved, freshness);
            }
            Event::Differed { host, worker, pair, made, .. } => {
                self.hand_in_difference(host, worker, pair, made);
            }
            Event::Execute { host, worker, ticket, number, .. } => {
                self.execute(host, worker, ticket, number);
            }
            Event::Called { host, worker, ticket, called, .. } => {
                self.hand_in_called(host, worker, ticket, called);
            }
            Event::Exchange { host, worker, ticket, run, made, .. } => {
                self.exchange((host, worker), (ticket, run), made);
            }
            Event::Loaded { host, slot, .. } => self.hand_in_loaded(host, slot),
            Event::Work { host, .. } => self.work(host),
            Event::Change => self.change_item(),
            Event::Fault => self.cause_fault(),
            Event::Start { host } => self.start(host),
            Event::Thaw { host } => self.thaw(host),
            Event::Heal { host } => self.heal(host),
            Event::Drain { place } => self.drain(place),
            Event::Undrain { place } => self.undrain(place),
            Event::Roll { place } => {
                if self.stage == Stage::Rough {
                    self.restart_gently(place);
                }
            }
            Event::Flap { place } => self.stand_still(place),
            Event::Stop { host, until, .. } => self.stop_when_drained(host, until),
            Event::Stage => self.next_stage(),
        }
    }

    pub(super) fn schedule(&mut self, delay: Duration, event: Event) {
        self.schedule_at(self.now + delay, event);
    }
}
