//! A client against a source, a server with a mirror, and a network, all played by one seeded
//! random generator: items change (also into CRC twins of themselves), mirrors drift, replies come
//! late, twice, out of order, with wrong tags or not at all, sessions break, disks rot. Whatever
//! happens, a get ends once, and what it hands out was current at some time while it was under way.
//!
//! `batches` plays what a server makes of BATCH and INVENTORY, `deltas` how a version is brought.

mod batches;
mod deltas;

use super::super::*;
use super::{LIMITS, crc_twin, key, welcome_frame_of};
use crate::mirror::Version;
use crate::node::{Fault, Planted};
use crate::wire::lane::{
    BATCH_VERSION, Batch, Body, ErrorCode, Get, Inventory, Outcome, Reply as LaneReply, Validator,
};
use crate::wire::session::{Limits, Ping, VERSION};
use crate::wire::{Assignment, Epoch, HeaderBlock, HeaderName, Key, Name};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const STEPS: usize = 400;
const SEEDS: u64 = 100;
/// Requests that may be sent before WELCOME.
const EARLY: usize = 16;

/// What the source had under one key, with the time from which on it had it.
type History = Vec<(Time, Option<Version>)>;

/// What must have been played now and then.
const PLAYED: [&str; 27] = [
    "batch",
    "batch: a bitmap of another length",
    "batch: a body cut short",
    "batch: a body too long",
    "batch: a slot that was not asked for",
    "batch: a wrong bit",
    "batch: all called unchanged",
    "batch: all called unknown",
    "batch: changed",
    "batch: left out",
    "batch: no answer to it",
    "batch: of one slot more than once",
    "batch: other items",
    "batch: streamed",
    "batch: the hash of other slots",
    "batch: unchanged",
    "batch: unknown",
    "batch: what has no place in it",
    "delta",
    "delta: another base",
    "delta: another length",
    "delta: from another item",
    "delta: noise",
    "delta: streamed",
    "delta: to a CRC twin",
    "delta: to another item",
    "inventory: noted",
];

/// A request on its way to the server.
enum Asked {
    Get(Get),
    Batch(Batch),
    Inventory(Inventory),
}

impl Asked {
    fn decode(frame: &Frame) -> Self {
        match frame.kind() {
            FrameType::Batch => Self::Batch(Batch::decode(frame.payload()).unwrap()),
            FrameType::Inventory => Self::Inventory(Inventory::decode(frame.payload()).unwrap()),
            _ => Self::Get(Get::decode(frame.payload()).unwrap()),
        }
    }

    fn slots(&self) -> Vec<u64> {
        match self {
            Self::Get(get) => vec![get.slot],
            Self::Batch(batch) => batch.slots().collect(),
            Self::Inventory(inventory) => {
                inventory.entries.iter().map(|entry| entry.slot).collect()
            }
        }
    }
}

struct World {
    random: StdRng,
    now: Time,
    slots: u64,
    in_flight: u64,
    cache_bytes: u64,
    client: Client,
    source: BTreeMap<Key, History>,
    mirror: BTreeMap<u64, (Key, Option<Version>)>,
    disk: BTreeMap<u32, Item>,
    /// Whether things go wrong.
    faulty: bool,
    connected: bool,
    /// A connection is being made beside the one that stands.
    dialling: bool,
    /// Of the protocol, in this session.
    version: u64,
    /// WELCOME is on its way.
    greeting: Option<Frame>,
    arriving: Vec<Asked>,
    /// Requests that are never answered.
    lost: Vec<Asked>,
    frames: Vec<Frame>,
    bodies: Vec<(u64, u64, Bytes)>,
    next_ticket: u64,
    /// When the oldest get that may share its answer with a ticket was made.
    open: BTreeMap<u64, (Key, Time)>,
    answers: [u64; 2],
    /// Whether the client gave up a request that the server still has.
    timed_out: bool,
    term: u64,
    /// What was played, so often.
    played: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64, planted: Planted) -> Self {
        let now = Time::from_micros(1_000_000);
        let size = (seed % 3) as usize;
        let keys = (0..[6, 9, 24][size]).map(|number| key(&format!("/{number}")));
        let cache_bytes = [60_000, 90_000, 200_000][size];
        let config = Config {
            routers: 2,
            max_cache_bytes: cache_bytes,
            max_memory_bytes: 25_000,
            persist: true,
            retry_busy: seed.is_multiple_of(2),
            planted,
            ..Config::default()
        };
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            now,
            slots: [4, 6, 18][size],
            in_flight: [2, 5, 12][(seed / 3 % 3) as usize],
            cache_bytes,
            client: Client::new(config, Saved::default(), seed, now),
            source: keys.map(|key| (key, vec![(now, None)])).collect(),
            mirror: BTreeMap::new(),
            disk: BTreeMap::new(),
            faulty: true,
            connected: false,
            dialling: false,
            version: VERSION,
            greeting: None,
            arriving: Vec::new(),
            lost: Vec::new(),
            frames: Vec::new(),
            bodies: Vec::new(),
            next_ticket: 0,
            open: BTreeMap::new(),
            answers: [0; 2],
            timed_out: false,
            term: 1,
            played: BTreeMap::new(),
        };
        for _ in 0..world.source.len() * 2 {
            world.change_item();
        }
        world
    }

    fn note(&mut self, what: &'static str) {
        *self.played.entry(what).or_default() += 1;
    }

    fn chance(&mut self, of_a_hundred: u32) -> bool {
        self.faulty && self.random.random_range(0..100) < of_a_hundred
    }

    fn any_key(&mut self) -> Key {
        let place = self.random.random_range(0..self.source.len());
        self.source.keys().nth(place).unwrap().clone()
    }

    fn fresh(&self, key: &Key) -> Option<&Version> {
        self.source[key].last().unwrap().1.as_ref()
    }

    fn change_item(&mut self) {
        let key = self.any_key();
        let next = match (self.random.random_range(0..10), self.fresh(&key)) {
            (0, _) => None,
            (1..=3, Some(version)) => {
                let place = version.body().len() / 2;
                let twin = crc_twin(version.body(), place);
                Some(Version::new(version.headers().clone(), twin.into()))
            }
            (4..=6, Some(version)) => {
                let mut bytes = version.body().to_vec();
                bytes.push(7);
                bytes[0] ^= 1;
                Some(Version::new(version.headers().clone(), bytes.into()))
            }
            _ => {
                let sizes = [16, 1_000, 16_384, 16_385, 30_000];
                let mut bytes = vec![0; *sizes.choose(&mut self.random).unwrap()];
                self.random.fill_bytes(&mut bytes);
                let tagged = (HeaderName::Etag, if bytes[0] < 128 { "1" } else { "2" });
                Some(Version::new(HeaderBlock::new([tagged]).unwrap(), bytes.into()))
            }
        };
        self.source.get_mut(&key).unwrap().push((self.now, next));
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(1);
        match self.random.random_range(0..100) {
            0..10 => self.get(),
            10..15 => self.get_many(),
            15..17 => self.cancel(),
            17..25 if self.faulty => self.change_item(),
            25..50 => self.serve(),
            50..70 => self.deliver_frame(),
            70..85 => self.deliver_body(),
            85..88 if self.chance(50) => self.drift(),
            88 if self.connected && self.chance(60) => self.disconnect(),
            89 if self.chance(60) => self.takeover(),
            90 => self.now += Duration::from_millis(self.random.random_range(0..2_000)),
            91 if self.chance(30) => self.garbage(),
            92..94 if self.dialling => self.end_dialling(),
            94 if self.chance(30) => self.forbidden(),
            _ => {}
        }
        self.turn();
    }

    fn turn(&mut self) {
        self.act();
        if self.greeting.is_some() && !self.chance(70) {
            self.greet();
        }
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
        }
        self.act();
    }

    fn get(&mut self) {
        if self.open.len() >= 12 {
            return;
        }
        let key = self.any_key();
        let policies = [
            ValidatorPolicy::None,
            ValidatorPolicy::Crc,
            ValidatorPolicy::Strong,
            ValidatorPolicy::Auto,
        ];
        let policy = *policies.choose(&mut self.random).unwrap();
        let ticket = self.open_ticket(&key);
        self.client.get(ticket, key, policy, self.now);
    }

    fn open_ticket(&mut self, key: &Key) -> u64 {
        self.next_ticket += 1;
        let shared = self.open.values().filter(|(other, _)| other == key).map(|(_, since)| *since);
        let since = shared.min().unwrap_or(self.now);
        self.open.insert(self.next_ticket, (key.clone(), since));
        self.next_ticket
    }

    /// What it holds, or anything; the same key twice as well.
    fn get_many(&mut self) {
        if self.open.len() >= 12 {
            return;
        }
        let mut keys = self.client.held_keys();
        if self.random.random_range(0..4) == 0 {
            keys.extend((0..3).map(|_| self.any_key()));
        }
        keys.shuffle(&mut self.random);
        keys.truncate(self.random.random_range(1..=20));
        let gets: Vec<_> = keys.into_iter().map(|key| (self.open_ticket(&key), key)).collect();
        self.client.get_many(gets, self.now);
    }

    /// A get that is given up is answered by nothing; what was asked for it may still be shared, so
    /// only a get whose answer somebody else waits for too is given up here.
    fn cancel(&mut self) {
        let all: Vec<_> =
            self.open.iter().map(|(ticket, (key, _))| (*ticket, key.clone())).collect();
        let mut seen = BTreeSet::new();
        if let Some((ticket, _)) = all.into_iter().find(|(_, key)| !seen.insert(key.clone())) {
            self.open.remove(&ticket);
            self.client.cancel(ticket);
        }
    }

    /// The server takes the next request off the lane, and answers it in its own time.
    fn serve(&mut self) {
        if self.arriving.is_empty() {
            return;
        }
        let asked = self.arriving.remove(0);
        if self.chance(3) {
            return self.lost.push(asked);
        }
        let (request_id, outcome) = match &asked {
            Asked::Get(get) => {
                let outcome = self.decide(get);
                let outcome = self.spoil(outcome);
                (get.request_id, self.ship(get.request_id, outcome))
            }
            Asked::Batch(batch) => (batch.request_id, self.answer_batch(batch)),
            Asked::Inventory(inventory) => (inventory.request_id, self.answer_inventory(inventory)),
        };
        let frame = LaneReply { request_id, outcome }.encode();
        if self.chance(3) {
            self.frames.push(frame.clone());
        }
        self.frames.push(frame);
    }

    /// The decision that servers make, with the mirror as it is.
    fn decide(&mut self, get: &Get) -> Outcome {
        if self.chance(3) {
            return Outcome::Busy { retry_after_ms: 5 };
        }
        if self.chance(3) {
            return Outcome::error(ErrorCode::Unavailable, "");
        }
        assert!(get.slot < self.slots.max(64), "slot {}", get.slot);
        let known = self.mirror.get(&get.slot).cloned();
        let (key, held) = match (&get.key, known) {
            (Some(key), Some((known, held))) if *key == known => (known, held),
            (Some(key), _) => (key.clone(), None),
            (None, Some((known, held))) => (known, held),
            (None, None) => return Outcome::UnknownSlot,
        };
        let Some(fresh) = self.fresh(&key).cloned() else {
            self.mirror.insert(get.slot, (key, None));
            return Outcome::NotFound;
        };
        let print = *fresh.fingerprint();
        let (same, base) = match get.validator {
            Validator::None => {
                let same = held.as_ref().map(|held| held.fingerprint().digest);
                (same == Some(print.digest), held)
            }
            Validator::Crc { crc, length } => {
                let held = held.filter(|held| held.fingerprint().crc == crc);
                ((crc, length) == (print.crc, print.length), held)
            }
            Validator::Strong { digest, .. } => (digest == print.digest, self.ever_was(&digest)),
        };
        let tag = key.tag(&print.digest);
        self.mirror.insert(get.slot, (key, Some(fresh.clone())));
        match same {
            true => Outcome::UseCached { tag },
            false => self.bring(tag, base, &fresh),
        }
    }

    /// What a broken server or router may make of a reply. It does not forge tags.
    fn spoil(&mut self, outcome: Outcome) -> Outcome {
        if !self.chance(6) {
            return outcome;
        }
        let other = self.any_key();
        let Some(version) = self.fresh(&other).cloned() else {
            return Outcome::UnknownSlot;
        };
        let tag = other.tag(&version.fingerprint().digest);
        match self.random.random_range(0..4) {
            0 => Outcome::UseCached { tag },
            1 => Outcome::Full {
                tag,
                headers: version.headers().clone(),
                body: Body::Inline(version.body().clone()),
            },
            2 => match outcome {
                Outcome::Full { tag, headers, .. } => {
                    Outcome::Full { tag, headers, body: Body::Inline(version.body().clone()) }
                }
                _ => Outcome::FateUnknown,
            },
            _ => Outcome::UnknownSlot,
        }
    }

    fn deliver_frame(&mut self) {
        if self.frames.is_empty() || !self.connected {
            return;
        }
        let place = self.random.random_range(0..self.frames.len());
        let frame = self.frames.remove(place);
        self.client.handle_lane_frame(&frame, self.now);
    }

    fn deliver_body(&mut self) {
        if self.bodies.is_empty() || !self.connected {
            return;
        }
        let place = self.random.random_range(0..self.bodies.len());
        let (id, offset, bytes) = self.bodies.remove(place);
        if self.chance(10) {
            let id = Some(id).filter(|_| self.random.random());
            self.client.handle_body_failed(id, 1, self.now);
        } else {
            self.client.handle_body(id, offset, bytes, self.now);
        }
    }

    /// The mirror loses or confuses an entry.
    fn drift(&mut self) {
        let slot = self.random.random_range(0..self.slots);
        match self.random.random_range(0..4) {
            0 => drop(self.mirror.remove(&slot)),
            3 => self.mirror.retain(|slot, _| slot % 4 == 3),
            1 => {
                let other = self.any_key();
                let version = self.fresh(&other).cloned();
                self.mirror.insert(slot, (other, version));
            }
            _ => {
                if let Some((key, held)) = self.mirror.get_mut(&slot) {
                    let history = &self.source[key];
                    *held = history[self.random.random_range(0..history.len())].1.clone();
                }
            }
        }
    }

    /// Another server takes over; its mirror is a little behind.
    fn takeover(&mut self) {
        self.drift();
        self.term += 1;
        let epoch = Epoch::new(self.term, Name::new("server-2").unwrap());
        let assignment = Assignment { epoch, alternate: None };
        let token = Bytes::from(self.term.to_string());
        self.frames.push(Assigned { token, assignment }.encode());
    }

    fn garbage(&mut self) {
        let kind = *FrameType::ALL.choose(&mut self.random).unwrap();
        if kind == FrameType::Goaway {
            return; // By chance it could say that all is over.
        }
        let mut payload = vec![0; self.random.random_range(0..40)];
        self.random.fill_bytes(&mut payload);
        let frame = Frame::build(kind, 100, |out| out.extend_from_slice(&payload));
        match self.random.random() {
            true => self.client.handle_lane_frame(&frame, self.now),
            false => self.client.handle_session_frame(&frame, self.now),
        }
    }

    /// The router sends what the version of its session does not have.
    fn forbidden(&mut self) {
        if self.version >= BATCH_VERSION || !self.client.is_ready() {
            return;
        }
        let request_id = self.random.random_range(0..self.next_ticket + 5);
        let outcome = match self.random.random_range(0..3) {
            0 => Outcome::Noted,
            1 => batches::nothing_is_unchanged(),
            _ => deltas::empty_delta(),
        };
        let before = self.client.statistics().violations;
        let frame = LaneReply { request_id, outcome }.encode();
        self.client.handle_lane_frame(&frame, self.now);
        assert_eq!(self.client.statistics().violations, before + 1, "{frame:?} is taken");
        self.note("forbidden");
    }

    fn greet(&mut self) {
        if let Some(welcome) = self.greeting.take() {
            self.client.handle_session_frame(&welcome, self.now);
        }
    }

    fn disconnect(&mut self) {
        self.forget_connection();
        self.client.handle_disconnected("by chance", self.now);
    }

    fn forget_connection(&mut self) {
        self.connected = false;
        self.greeting = None;
        self.arriving.clear();
        self.lost.clear();
        self.frames.clear();
        self.bodies.clear();
    }

    /// Does what the client wants done.
    fn act(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Connect { router } => self.connect(router),
                Output::SendSession(frame) if frame.kind() == FrameType::Ping => {
                    if !self.chance(80) {
                        let pong = Ping::decode(frame.payload()).unwrap().answer();
                        self.client.handle_session_frame(&pong, self.now);
                    }
                }
                Output::SendSession(frame) => {
                    assert_eq!(frame.kind(), FrameType::Hello);
                    self.version = match self.chance(25) {
                        true => self.random.random_range(1..BATCH_VERSION),
                        false => VERSION,
                    };
                    let limits = Limits { slots: self.slots, in_flight: self.in_flight, ..LIMITS };
                    self.greeting = Some(welcome_frame_of(self.version, limits));
                }
                Output::SendLane(frame) => self.arrive(&frame),
                Output::Close { .. } if self.connected => self.forget_connection(),
                Output::Close { .. } | Output::StopConnecting => {
                    assert!(std::mem::take(&mut self.dialling), "nothing to give up");
                }
                Output::Answer(answer) => self.check(answer),
                Output::Called(answer) => unreachable!("{answer:?}: nothing is called here"),
                Output::Load { slot } => {
                    let mut bytes = self.disk.get(&slot).map(|item| item.bytes.to_vec());
                    if let Some(bytes) = bytes.as_mut().filter(|_| self.chance(20)) {
                        bytes[0] ^= 1;
                    }
                    self.client.handle_loaded(slot, bytes.map(Bytes::from));
                }
                Output::Stored { slot, item } => {
                    let tag = item.key.tag(&item.fingerprint.digest);
                    if !self.chance(20) {
                        self.disk.insert(slot, item);
                        self.client.handle_written(slot, tag, true);
                    }
                }
                Output::Removed { slot } => drop(self.disk.remove(&slot)),
                Output::TokenChanged(_) => {}
            }
        }
    }

    /// A request was sent: one that may be sent.
    fn arrive(&mut self, frame: &Frame) {
        let asked = Asked::decode(frame);
        let unanswered = self.arriving.len() + self.lost.len();
        let welcome = self.greeting.is_none();
        let most = if welcome { self.in_flight as usize } else { EARLY };
        assert!(unanswered < most, "{unanswered} in flight, and one more");
        match &asked {
            Asked::Get(_) => {}
            Asked::Batch(_) => self.note("batch"),
            Asked::Inventory(_) => self.note("inventory"),
        }
        let knows = welcome && self.version >= BATCH_VERSION;
        assert!(knows || matches!(asked, Asked::Get(_)), "{frame:?} in version {}", self.version);
        // An inventory is no request for a slot, but leaves out those for which there is one.
        let in_flight = self.arriving.iter().chain(&self.lost);
        let in_flight = in_flight.filter(|asked| !matches!(asked, Asked::Inventory(_)));
        let busy: BTreeSet<_> = in_flight.flat_map(Asked::slots).collect();
        let double = asked.slots().into_iter().find(|slot| busy.contains(slot));
        assert!(double.is_none() || self.timed_out, "two requests for slot {double:?}");
        self.arriving.push(asked);
    }

    fn connect(&mut self, router: usize) {
        assert!(router < 2);
        assert!(!self.dialling, "one attempt at a time");
        self.dialling = true;
        if !self.connected {
            self.end_dialling();
        }
    }

    fn end_dialling(&mut self) {
        self.dialling = false;
        if self.chance(20) {
            return self.client.handle_unreachable(None, "refused", self.now);
        }
        self.forget_connection();
        self.connected = true;
        self.client.handle_connected(self.now);
    }

    fn check(&mut self, answer: Answer) {
        let (key, since) = self.open.remove(&answer.ticket).expect("a get ends once");
        let history = &self.source[&key];
        let mut ends =
            history[1..].iter().map(|(from, _)| *from).chain([Time::from_micros(u64::MAX)]);
        let current = history.iter().filter(|_| ends.next().unwrap() >= since);
        let mut current = current.map(|(_, version)| version.as_ref());
        match answer.result {
            Ok(reply) => {
                let bytes_and_headers =
                    |version: &Version| (version.body().clone(), version.headers().clone());
                let found = (reply.bytes, reply.headers);
                assert!(
                    current.any(|version| version.map(bytes_and_headers) == Some(found.clone())),
                    "wrong bytes for {key}"
                );
                self.answers[0] += 1;
            }
            Err(Failure { error: Error::NotFound, .. }) => {
                assert!(current.any(|version| version.is_none()), "{key} exists");
                self.answers[0] += 1;
            }
            Err(failure) => {
                self.timed_out |= matches!(failure.error, Error::TimedOut { .. });
                assert!(self.faulty, "all is well, but {key}: {}", failure.error);
                self.answers[1] += 1;
            }
        }
    }

    /// Stops all faults, and waits until everything is answered; then asks for every key.
    fn settle(&mut self) {
        self.wait_for_all(Duration::from_secs(40));
        self.faulty = false;
        self.now += Duration::from_secs(60);
        self.client.handle_timeout(self.now);
        self.act();
        for key in self.source.keys().cloned().collect::<Vec<_>>() {
            let ticket = self.open_ticket(&key);
            self.client.get(ticket, key, ValidatorPolicy::default(), self.now);
        }
        self.wait_for_all(Duration::from_secs(14));
        // Nothing has changed since, so that all of it is unchanged.
        let before = self.client.statistics();
        let gets: Vec<_> = self.client.held_keys();
        let gets: Vec<_> = gets.into_iter().map(|key| (self.open_ticket(&key), key)).collect();
        let count = gets.len() as u64;
        self.client.get_many(gets, self.now);
        self.wait_for_all(Duration::from_secs(14));
        let after = self.client.statistics();
        assert_eq!(after.use_cached, before.use_cached + count, "{count} were unchanged");
        assert_eq!((after.full, after.deltas), (before.full, before.deltas));
    }

    fn wait_for_all(&mut self, patience: Duration) {
        let until = self.now + patience;
        self.act();
        while !self.open.is_empty() && self.now < until {
            self.now += Duration::from_millis(1);
            match self.random.random_range(0..4) {
                0 => self.serve(),
                1 => self.deliver_frame(),
                2 => self.deliver_body(),
                _ if self.dialling => self.end_dialling(),
                _ => {}
            }
            self.turn();
        }
        assert!(self.open.is_empty(), "{:?} are not answered", self.open);
        assert!(self.client.cache_size().1 <= self.cache_bytes);
    }

    fn run(seed: u64, planted: Planted) -> Self {
        let mut world = Self::new(seed, planted);
        (0..STEPS).for_each(|_| world.step());
        world.settle();
        world
    }
}

/// What of a run panicked, if it did.
fn outcome(seed: u64, planted: Planted) -> Result<World, String> {
    std::panic::catch_unwind(|| World::run(seed, planted)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
            .unwrap_or_default()
    })
}

#[test]
fn nothing_that_a_server_or_network_does_hands_out_wrong_bytes() {
    let mut total = Statistics::default();
    let mut answers = [0; 2];
    let mut played = BTreeMap::<_, u64>::new();
    for seed in 0..SEEDS {
        let world =
            outcome(seed, Planted::default()).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let counted = world.client.statistics();
        total.use_cached += counted.use_cached;
        total.deltas += counted.deltas;
        total.listed_items += counted.listed_items;
        total.tag_mismatches += counted.tag_mismatches;
        total.damaged_items += counted.damaged_items;
        total.broken_bodies += counted.broken_bodies;
        total.late_replies += counted.late_replies;
        total.unknown_replies += counted.unknown_replies;
        total.evictions += counted.evictions;
        total.violations += counted.violations;
        total.suspicions += counted.suspicions;
        answers = [answers[0] + world.answers[0], answers[1] + world.answers[1]];
        world
            .played
            .into_iter()
            .for_each(|(what, count)| *played.entry(what).or_default() += count);
    }
    // The runs were worth something: all of it happened, and most gets were answered.
    assert!(total.use_cached > 1_000 && total.tag_mismatches > 100, "{total:?}");
    assert!(total.deltas > 100 && total.listed_items > 100, "{total:?}");
    assert!(total.damaged_items > 10 && total.broken_bodies > 100, "{total:?}");
    assert!(total.evictions > 100 && total.violations > 10, "{total:?}");
    assert!(total.late_replies > 0 && total.suspicions > 10, "{total:?}");
    assert!(total.unknown_replies > 10, "{total:?}");
    assert!(answers[0] > answers[1] * 5, "{answers:?}");
    for what in PLAYED {
        assert!(played.get(what).is_some_and(|count| *count > 5), "{what}: {played:#?}");
    }
}

/// Whether a mistake that is planted hands out wrong bytes in one of the runs.
fn hands_out_wrong_bytes(fault: Fault) -> bool {
    (0..SEEDS).any(|seed| {
        outcome(seed, Planted::new(fault)).is_err_and(|why| why.contains("wrong bytes"))
    })
}

#[test]
fn without_the_tag_check_the_same_runs_do_hand_out_wrong_bytes() {
    assert!(hands_out_wrong_bytes(Fault::NoTagCheck));
}

#[test]
fn without_the_tag_check_after_differences_alone_they_do() {
    assert!(hands_out_wrong_bytes(Fault::NoDeltaCheck));
}

#[test]
fn without_a_look_at_the_hash_of_batches_they_do() {
    assert!(hands_out_wrong_bytes(Fault::NoHashCheck));
}
