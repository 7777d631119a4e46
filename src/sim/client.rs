//! Processes of the client library: machine, disk, and an application that asks for items.

use super::calls::{CallTicket, is_answer};
use super::checks::Check;
use super::cluster::World;
use super::disk::Disk;
use super::events::Event;
use super::network::{ConnectionId, DIALLER, Host, Stream};
use super::plan::pick;
use super::story::Stage;
use crate::node::client::{Client, Config, Output};
use crate::wire::lane::BodyStart;
use crate::wire::{ClientId, Epoch, Frame, Key, Time};
use bytes::Bytes;
use rand::RngExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a get may take.
pub(super) const GET_TIMEOUT: Duration = Duration::from_secs(8);

/// What a get must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Whatever can come of it while things break.
    Anything,
    /// An answer of the source.
    Answer,
    /// Use-cached.
    UseCached,
}

/// A get that has not ended.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) key: Key,
    pub(super) asked: Time,
    /// A version that was current at this moment, or later, is fresh.
    pub(super) since: Time,
    pub(super) expected: Expected,
}

/// A client's process.
pub(super) struct ClientProcess {
    pub(super) machine: Option<Client>,
    connection: Option<ConnectionId>,
    /// The connection that is being made.
    dialled: Option<ConnectionId>,
    pub(super) disk: Disk,
    pub(super) tickets: BTreeMap<u64, Ticket>,
    pub(super) calls: BTreeMap<u64, CallTicket>,
    /// Keys that are being asked for, since when: a further get shares the answer.
    pub(super) shared: BTreeMap<Key, Time>,
    /// The highest epoch that this run has seen.
    pub(super) seen: Option<(ClientId, Epoch)>,
    /// How often it got another primary since a story's one failure began.
    pub(super) moves: u64,
    /// Another process has this one's token.
    pub(super) cloned: bool,
    /// It is gone for good.
    pub(super) retired: bool,
}

impl ClientProcess {
    fn new(disk: Disk, cloned: bool) -> Self {
        Self {
            machine: None,
            connection: None,
            dialled: None,
            disk,
            tickets: BTreeMap::new(),
            calls: BTreeMap::new(),
            shared: BTreeMap::new(),
            seen: None,
            moves: 0,
            cloned,
            retired: false,
        }
    }
}

impl World {
    /// Adds a client and starts it.
    pub(super) fn add_client(&mut self) {
        self.add_client_with(Disk::default(), false);
    }

    fn add_client_with(&mut self, disk: Disk, cloned: bool) {
        let place = self.clients.len();
        self.clients.push(ClientProcess::new(disk, cloned));
        self.start(Host::Client(place));
    }

    /// Starts a second process with a copy of what a client has on its disk.
    pub(super) fn clone_client(&mut self, place: usize) {
        let lost = self.random.random_range(0..4);
        let mut disk = self.clients[place].disk.clone();
        disk.lose_tail(lost);
        self.clients[place].cloned = true;
        self.add_client_with(disk, true);
    }

    pub(super) fn start_client(&mut self, place: usize) {
        let config = Config {
            routers: self.routers.len(),
            max_cache_bytes: self.plan.cache_bytes,
            max_memory_bytes: self.plan.memory_bytes,
            max_slots: 64,
            request_timeout: GET_TIMEOUT,
            connect_timeout: Duration::from_secs(2),
            retry_busy: true,
            persist: true,
            planted: self.planted,
            ..Config::default()
        };
        let (seed, now) = (self.random.random(), self.now);
        let process = &mut self.clients[place];
        process.machine = Some(Client::new(config, process.disk.saved(), seed, now));
        self.with_client(place, |_, _| {});
        let host = Host::Client(place);
        let life = self.life(host);
        self.schedule(Duration::ZERO, Event::Work { host, life });
    }

    pub(super) fn stop_client(&mut self, place: usize) {
        let lost = pick(&mut self.random, &[0, 0, 1, 3]);
        let process = &mut self.clients[place];
        process.machine = None;
        process.connection = None;
        process.dialled = None;
        process.tickets.clear();
        process.calls.clear();
        process.shared.clear();
        process.seen = None;
        process.disk.lose_tail(lost);
    }

    /// Gives the machine an input, then carries out what it wants done.
    pub(super) fn with_client(&mut self, place: usize, input: impl FnOnce(&mut Client, Time)) {
        let now = self.now;
        let Some(machine) = self.clients[place].machine.as_mut() else {
            return;
        };
        input(machine, now);
        while let Some(output) = self.clients[place].machine.as_mut().and_then(Client::poll_output)
        {
            self.carry_out_of_client(place, output);
        }
        self.check_client(place);
        let due = self.clients[place].machine.as_ref().and_then(Client::poll_timeout);
        if let Some(due) = due {
            self.arm(Host::Client(place), 0, due);
        }
    }

    pub(super) fn turn_client(&mut self, place: usize) {
        self.with_client(place, |machine, now| {
            if machine.poll_timeout().is_some_and(|due| due <= now) {
                machine.handle_timeout(now);
            }
        });
    }

    pub(super) fn client_connected(&mut self, place: usize, id: ConnectionId) {
        let process = &mut self.clients[place];
        if process.dialled.take_if(|dialled| *dialled == id).is_some() {
            if let Some(before) = process.connection.replace(id) {
                self.give_up(before, DIALLER);
            }
            self.with_client(place, |machine, now| machine.handle_connected(now));
        }
    }

    pub(super) fn client_lost(&mut self, place: usize, id: ConnectionId) {
        let process = &mut self.clients[place];
        if process.connection.take_if(|connection| *connection == id).is_some() {
            self.with_client(place, |machine, now| {
                machine.handle_disconnected("the connection broke", now);
            });
        } else if process.dialled.take_if(|dialled| *dialled == id).is_some() {
            self.with_client(place, |machine, now| {
                machine.handle_unreachable(None, "nobody is there", now);
            });
        }
    }

    pub(super) fn client_received(&mut self, place: usize, id: ConnectionId, stream: Stream) {
        while let Some(frame) =
            self.connections.get_mut(&id).and_then(|it| it.next_frame(DIALLER, stream))
        {
            if self.clients[place].connection != Some(id) {
                return;
            }
            self.trace.bytes(frame.bytes());
            self.trace_frame(place, &frame);
            self.with_client(place, |machine, now| match stream {
                Stream::First => machine.handle_session_frame(&frame, now),
                _ => machine.handle_lane_frame(&frame, now),
            });
        }
    }

    fn trace_frame(&mut self, place: usize, frame: &Frame) {
        let reply = crate::wire::lane::Reply::decode(frame);
        let text = match &reply {
            Ok(reply) => reply as &dyn std::fmt::Debug,
            Err(_) => frame,
        };
        self.trace.got(self.now, Host::Client(place), "router", text);
    }

    /// A piece of a body came, of which the machine hears only at its end.
    pub(super) fn client_packets(&mut self, place: usize, id: ConnectionId) {
        if self.clients[place].connection == Some(id) {
            self.with_client(place, |machine, now| machine.handle_packets(now));
        }
    }

    /// The stream of a body ended, or broke off.
    pub(super) fn client_body(
        &mut self,
        place: usize,
        id: ConnectionId,
        stream: Stream,
        whole: bool,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let frame = connection.next_frame(DIALLER, stream);
        let bytes = std::mem::take(&mut connection.flow(DIALLER, stream).received).freeze();
        if self.clients[place].connection != Some(id) {
            return;
        }
        let start = frame.and_then(|frame| BodyStart::decode(frame.payload()).ok());
        self.trace.bytes(&bytes);
        let who = Host::Client(place);
        self.trace.got(self.now, who, "router", &(start, bytes.len(), whole));
        let known = |world: &Self| {
            world.source.ever_was_body(&bytes) || is_answer(&bytes) || world.is_of_batch(&bytes)
        };
        if whole && start.is_some() && !known(self) {
            let what = format!("client {place} got {} bytes that never were an item", bytes.len());
            return self.fail(Check::Body, what);
        }
        self.with_client(place, |machine, now| match start {
            Some(start) if whole => {
                machine.handle_body(start.request_id, start.offset, bytes, now);
            }
            start => {
                let request_id = start.map(|start| start.request_id);
                machine.handle_body_failed(request_id, bytes.len() as u64, now);
            }
        });
    }

    pub(super) fn hand_in_loaded(&mut self, host: Host, slot: u32) {
        let Host::Client(place) = host else {
            return;
        };
        let mut bytes = self.clients[place].disk.read(slot);
        if self.stage == Stage::Rough && self.random.random_bool(0.02) {
            // The disk is not to be trusted.
            bytes = bytes.map(|bytes| Bytes::from([&bytes[..], b"!"].concat()));
        }
        self.with_client(place, |machine, _| machine.handle_loaded(slot, bytes));
    }

    fn carry_out_of_client(&mut self, place: usize, output: Output) {
        let host = Host::Client(place);
        match output {
            Output::Connect { router } => {
                let dialled = self.dial(host, 0, Host::Router(router));
                let before = self.clients[place].dialled.replace(dialled);
                assert!(before.is_none(), "one attempt at a time");
            }
            Output::StopConnecting => {
                let dialled = self.clients[place].dialled.take();
                self.give_up(dialled.expect("an attempt"), DIALLER);
            }
            Output::SendSession(frame) => self.send_of_client(place, Stream::First, &frame),
            Output::SendLane(frame) => self.send_of_client(place, Stream::Lane, &frame),
            Output::Close { .. } => {
                let process = &mut self.clients[place];
                let ended = process.connection.take().or_else(|| process.dialled.take());
                self.give_up(ended.expect("a connection, or an attempt"), DIALLER);
            }
            Output::Answer(answer) => self.take_answer(place, answer),
            Output::Called(answer) => self.take_call_answer(place, &answer),
            Output::Load { slot } => {
                let life = self.life(host);
                let delay = self.between(0, 5);
                self.schedule(delay, Event::Loaded { host, life, slot });
            }
            Output::Stored { slot, item } => {
                let tag = item.key.tag(&item.fingerprint.digest);
                let process = &mut self.clients[place];
                process.disk.store(slot, item);
                if let Some(machine) = &mut process.machine {
                    machine.handle_written(slot, tag, true);
                }
            }
            Output::Removed { slot } => self.clients[place].disk.remove(slot),
            Output::TokenChanged(token) => self.clients[place].disk.set_token(token),
        }
    }

    fn send_of_client(&mut self, place: usize, stream: Stream, frame: &Frame) {
        if let Some(id) = self.clients[place].connection {
            self.send_frame(id, DIALLER, stream, frame);
        }
    }
}
