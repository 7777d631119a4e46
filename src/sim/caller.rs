//! Clients that write their frames by hand: calls, and gets that no library would send.

use super::calls::Told;
use super::checks::Check;
use super::cluster::World;
use super::events::Event;
use super::network::{ConnectionId, DIALLER, Host, Stream};
use crate::wire::lane::{
    BATCH_VERSION, Batch, CALL_VERSION, Call, ErrorCode, Get, Inventory, InventoryEntry, Outcome,
    Reply, Validator,
};
use crate::wire::session::{Assigned, Hello, OLDEST_VERSION, VERSION, Welcome};
use crate::wire::{ClientId, Digest, Frame, FrameType, HeaderBlock, Time};
use bytes::Bytes;
use rand::RngExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// A client that writes its frames by hand.
#[derive(Default)]
pub(super) struct Caller {
    connection: Option<ConnectionId>,
    token: Option<Bytes>,
    pub(super) client: Option<ClientId>,
    /// Of the protocol, in the last session.
    version: u64,
    /// Requests without a reply, and the call that each is, if it is one.
    pub(super) open: BTreeMap<u64, (Time, Option<u64>)>,
    next_request: u64,
    /// Counts attempts, which go to one router after the other.
    router: usize,
    /// Set when the story is over: the last call must be answered by a server.
    pub(super) last_call: Option<u64>,
}

impl Caller {
    /// The process is gone.
    pub(super) fn stop(&mut self) {
        self.connection = None;
        self.open.clear();
    }
}

impl World {
    /// Adds a caller and starts it.
    pub(super) fn add_caller(&mut self) {
        let place = self.callers.len();
        self.callers.push(Caller::default());
        self.start(Host::Caller(place));
    }

    pub(super) fn start_caller(&mut self, place: usize) {
        let host = Host::Caller(place);
        let life = self.life(host);
        self.schedule(Duration::ZERO, Event::Work { host, life });
        self.turn_caller(place);
    }

    /// Connects, if there is no connection.
    pub(super) fn turn_caller(&mut self, place: usize) {
        if self.callers[place].connection.is_none() {
            self.callers[place].router += 1;
            let router = Host::Router(self.callers[place].router % self.routers.len());
            self.callers[place].connection = Some(self.dial(Host::Caller(place), 0, router));
        }
    }

    pub(super) fn caller_connected(&mut self, place: usize, id: ConnectionId) {
        let token = self.callers[place].token.clone();
        let hello = Hello { oldest: OLDEST_VERSION, newest: VERSION, token, pool: None };
        self.send_frame(id, DIALLER, Stream::First, &hello.encode());
    }

    pub(super) fn caller_lost(&mut self, place: usize, id: ConnectionId) {
        let caller = &mut self.callers[place];
        if caller.connection == Some(id) {
            caller.connection = None;
            caller.open.clear();
            let pause = self.between(20, 300);
            self.arm(Host::Caller(place), 0, self.now + pause);
        }
    }

    pub(super) fn work_of_caller(&mut self, place: usize) {
        let up = |world: &Self, id: &ConnectionId| {
            world.connections.get(id).is_some_and(|connection| connection.up)
        };
        let Some(id) = self.callers[place].connection.filter(|id| up(self, id)) else {
            return;
        };
        if self.callers[place].open.len() as u64 >= self.plan.in_flight {
            return;
        }
        if self.random.random_bool(0.6) && self.callers[place].version >= CALL_VERSION {
            let repeatable = self.random.random_bool(0.2);
            self.call(place, id, repeatable);
        } else if self.random.random_bool(0.3) && self.callers[place].version >= BATCH_VERSION {
            self.odd_list(place, id);
        } else {
            self.odd_get(place, id);
        }
    }

    /// Makes one call that may not be repeated, which a server must answer.
    pub(super) fn make_last_call(&mut self, place: usize) {
        match self.callers[place].connection {
            Some(_) if self.callers[place].version < CALL_VERSION => {}
            Some(id) => self.callers[place].last_call = Some(self.call(place, id, false)),
            None => self.fail(Check::Rest, format!("caller {place} has no connection")),
        }
    }

    fn call(&mut self, place: usize, id: ConnectionId, repeatable: bool) -> u64 {
        let ((number, body), now) = (self.new_call(repeatable), self.now);
        let request_id = self.callers[place].next_request;
        self.callers[place].next_request += 1;
        let (key, headers) = (Self::called_key(), HeaderBlock::default());
        let frame = Call { request_id, idempotent: repeatable, key, headers, body }.encode();
        self.trace.line(now, || format!("caller {place} calls {number} as {request_id}"));
        self.callers[place].open.insert(request_id, (now, Some(number)));
        self.send_frame(id, DIALLER, Stream::Lane, &frame);
        number
    }

    /// A get with any slot and a validator that may be a lie.
    fn odd_get(&mut self, place: usize, id: ConnectionId) {
        let request_id = self.callers[place].next_request;
        self.callers[place].next_request += 1;
        let known = self.source.keys().len();
        let key = match self.random.random_range(0..=known) {
            number if number < known => self.source.keys()[number].clone(),
            _ => "/nothing/here".parse().expect("a key"),
        };
        let validator = match self.random.random_range(0..3) {
            0 => Validator::None,
            1 => Validator::Crc { crc: self.random.random(), length: 1 },
            _ => Validator::Strong { crc: 0, digest: Digest(self.random.random()) },
        };
        let slot = self.random.random_range(0..self.plan.slots + 2);
        let key = self.random.random_bool(0.7).then_some(key);
        let frame = Get { request_id, slot, key, validator }.encode();
        self.callers[place].open.insert(request_id, (self.now, None));
        self.send_frame(id, DIALLER, Stream::Lane, &frame);
    }

    /// A question about any slots, or word of items that may be held nowhere.
    fn odd_list(&mut self, place: usize, id: ConnectionId) {
        let request_id = self.callers[place].next_request;
        self.callers[place].next_request += 1;
        let last = self.plan.slots + 2;
        let frame = if self.random.random() {
            let slots: Vec<_> = (0..=last).filter(|_| self.random.random()).collect();
            Batch::of_slots(request_id, slots.into_iter().chain([last + 1])).encode()
        } else {
            let mut entries = Vec::new();
            for key in self.source.keys().to_vec() {
                let slot = self.random.random_range(0..=last);
                if let Some(version) = self.source.any_version(&mut self.random, &key) {
                    entries.push(InventoryEntry { slot, key, version });
                }
            }
            Inventory { request_id, entries }.encode()
        };
        self.callers[place].open.insert(request_id, (self.now, None));
        self.send_frame(id, DIALLER, Stream::Lane, &frame);
    }

    pub(super) fn caller_received(&mut self, place: usize, id: ConnectionId, stream: Stream) {
        while let Some(frame) =
            self.connections.get_mut(&id).and_then(|it| it.next_frame(DIALLER, stream))
        {
            if self.callers[place].connection != Some(id) {
                return;
            }
            self.trace.bytes(frame.bytes());
            let caller = &mut self.callers[place];
            match frame.kind() {
                FrameType::Welcome => match Welcome::decode(frame.payload()) {
                    Ok(welcome) => {
                        caller.client = Some(welcome.client);
                        caller.version = welcome.version;
                        caller.token = Some(welcome.token);
                    }
                    Err(error) => self.fail(Check::Codec, error.to_string()),
                },
                FrameType::Assigned => match Assigned::decode(frame.payload()) {
                    Ok(assigned) => caller.token = Some(assigned.token),
                    Err(error) => self.fail(Check::Codec, error.to_string()),
                },
                FrameType::Goaway => {}
                _ => self.take_raw_reply(place, &frame),
            }
        }
    }

    fn take_raw_reply(&mut self, place: usize, frame: &Frame) {
        let Reply { request_id, outcome } = match Reply::decode(frame) {
            Ok(reply) => reply,
            Err(error) => return self.fail(Check::Codec, format!("{frame:?}: {error}")),
        };
        self.trace.got(self.now, Host::Caller(place), "router", &(request_id, &outcome));
        let Some((_, call)) = self.callers[place].open.remove(&request_id) else {
            // A reply with a body on its own stream may be taken back when the body breaks off.
            return;
        };
        let Some(number) = call else {
            return;
        };
        let told = match &outcome {
            Outcome::Called { .. } => Told::Answered,
            Outcome::Error { code: ErrorCode::Source, .. } => Told::Failed,
            Outcome::Error { code: ErrorCode::Refused, .. } => Told::Refused,
            Outcome::Busy { .. } | Outcome::Error { code: ErrorCode::Unavailable, .. } => {
                Told::NotSent
            }
            Outcome::FateUnknown => Told::Nothing,
            // Its router is of the release before calls.
            Outcome::Error { code: ErrorCode::NotSupported, .. } if self.plan.mixed_versions => {
                Told::NotSent
            }
            other => return self.fail(Check::Codec, format!("call {number} got {other:?}")),
        };
        let served = matches!(told, Told::Answered | Told::Failed | Told::Refused);
        if self.callers[place].last_call == Some(number) && !served {
            self.fail(Check::Rest, format!("call {number} got {outcome:?} at rest"));
        }
        self.note_told(number, told);
    }
}
