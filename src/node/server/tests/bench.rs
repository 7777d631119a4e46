//! A server whose source and router are played by hand.

use super::*;
use crate::mirror::Version;
use crate::wire::backplane::Forward;
use crate::wire::lane::{Outcome, Reply};
use crate::wire::types::fingerprint;
use crate::wire::{Digest, Fingerprint, Frame, HeaderBlock};

pub(super) struct Bench {
    pub(super) server: Server,
    pub(super) now: Time,
    /// What the source is asked, and whether a version is known.
    pub(super) asked: Vec<(u64, Key, bool)>,
    /// Differences to be made.
    pub(super) differs: Vec<(Pair, Bytes, Bytes)>,
    /// What is to be coded.
    pub(super) compresses: Vec<(Coding, Bytes)>,
    /// What the router hears.
    pub(super) heard: Vec<Message>,
    /// What the peer is told of mirrors.
    pub(super) mirrored: Vec<(u64, Key, Option<Fingerprint>)>,
    /// Bodies on streams of their own.
    pub(super) bodies: Vec<Bytes>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_memory(1 << 20)
    }

    pub(super) fn with_memory(memory: usize) -> Self {
        let config = ServerConfig { threshold: 9, capacity: 9, memory, ..config(0, 1) };
        let mut server = Server::new(config, Arc::default());
        server.handle_router_up(now(0), &ROUTER, VERSION);
        server.handle_peer_up(now(0), &name("b"), 1, VERSION);
        server.handle_message(now(0), &peer("b"), Message::Status(status("b", 0, 9)));
        let mut bench = Self {
            server,
            now: now(0),
            asked: Vec::new(),
            differs: Vec::new(),
            compresses: Vec::new(),
            heard: Vec::new(),
            mirrored: Vec::new(),
            bodies: Vec::new(),
        };
        bench.drain();
        bench
    }

    /// Collects what came out.
    pub(super) fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send { to, message } if to == ROUTER => self.heard.push(*message),
                Output::Send { message, .. } => {
                    if let Message::Mirror { slot, key, version, .. } = *message {
                        self.mirrored.push((slot, key, version));
                    }
                }
                Output::UseCached { request_id, by, inner_id, tag, .. } => {
                    let frame = use_cached_frame(request_id, by, inner_id, &tag);
                    self.heard.push(Message::decode(&frame).expect("a REPLY"));
                }
                Output::Reply { request_id, by, reply, .. } => {
                    let (assignment, inner) = (None, reply.encode());
                    self.heard.push(Message::Reply { request_id, assignment, by, inner });
                }
                Output::SendBody { pieces, .. } => self.bodies.push(pieces.concat().into()),
                Output::Differ { pair, old, new } => self.differs.push((pair, old, new)),
                Output::Compress { coding, bytes } => self.compresses.push((coding, bytes)),
                Output::Retrieve { ticket, key, known } => {
                    self.asked.push((ticket, key, known.is_some()));
                }
                other => panic!("{other:?}"),
            }
        }
        self.server.assert_consistent();
    }

    /// Hands a request of a client in.
    pub(super) fn ask(&mut self, of: u8, how: How, inner: Frame) {
        self.ask_with(Forward { inner, ..forward(of, how) });
    }

    pub(super) fn ask_with(&mut self, forward: Forward) {
        let now = self.now;
        self.server.handle_message(now, &ROUTER, Message::Forward(forward));
        self.drain();
    }

    /// The source answers the oldest question about a key.
    pub(super) fn answer(&mut self, key: &str, retrieved: Retrieved) {
        let place = self.asked.iter().position(|(_, asked, _)| asked.as_str() == key);
        let (ticket, ..) = self.asked.remove(place.expect("the source was asked"));
        self.server.handle_retrieved(self.now, ticket, retrieved, Freshness::default());
        self.drain();
    }

    /// The shell has made a difference, or found it not worth it.
    pub(super) fn differ(&mut self, worth_it: bool) -> Bytes {
        let (pair, old, new) = self.differs.remove(0);
        let made = crate::mirror::delta::encode(&old, &new).expect("it saves enough");
        let handed_in = worth_it.then(|| made.clone());
        self.server.handle_difference(self.now, pair, handed_in);
        self.drain();
        made
    }

    /// The shell has coded a version, or found that it is not worth it. Returns the coded bytes.
    #[cfg(feature = "server")]
    pub(super) fn compress(&mut self) -> Option<Bytes> {
        let (coding, bytes) = self.compresses.remove(0);
        let coded = crate::mirror::codings::encode(coding.encoding, &bytes);
        self.server.handle_compressed(self.now, coding, coded.clone());
        self.drain();
        coded.map(|coded| coded.bytes)
    }

    /// What the router heard of requests since this was last called.
    pub(super) fn outcomes(&mut self) -> Vec<Outcome> {
        let outcome = |message| match message {
            Message::Reply { inner, .. } => Some(Reply::decode(&inner).expect("a reply").outcome),
            _ => None,
        };
        std::mem::take(&mut self.heard).into_iter().filter_map(outcome).collect()
    }

    pub(super) fn outcome(&mut self) -> Outcome {
        let mut outcomes = self.outcomes();
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes.remove(0)
    }

    /// A client asks for a key in a slot, and gets this version, or what else the source has.
    pub(super) fn warm(&mut self, of: u8, slot: u64, key: &str, retrieved: Retrieved) {
        self.ask(of, How::HandedOn, get(slot, Some(key), Validator::None));
        self.answer(key, retrieved);
        assert_eq!(self.outcomes().len(), 1);
        self.mirrored.clear();
    }

    /// What the mirror of a client says.
    pub(super) fn mirror(&self, of: u8) -> Vec<(u64, String, Option<Digest>)> {
        let client = client(of);
        let entries = self.server.mirror_entries(&client);
        let entry = |(slot, key, version): (u64, Key, Option<Fingerprint>)| {
            (slot, key.as_str().to_owned(), version.map(|version| version.digest))
        };
        entries.map(entry).collect()
    }

    /// A client is taken by the other server.
    pub(super) fn release(&mut self, of: u8) {
        let release = Message::Release { client: client(of), epoch: Epoch::new(9, name("b")) };
        self.server.handle_message(self.now, &peer("b"), release);
        self.drain();
    }
}

pub(super) fn forward(of: u8, how: How) -> Forward {
    Forward {
        resume: None,
        takes_deltas: true,
        request_id: 7,
        client: client(of),
        term: 1,
        change: 1,
        primary: None,
        how,
        deadline_ms: 1000,
        former: Vec::new(),
        inner: get(0, None, Validator::None),
    }
}

pub(super) fn get(slot: u64, key: Option<&str>, validator: Validator) -> Frame {
    let key = key.map(|key| key.parse().expect("a key"));
    Get { request_id: 5, slot, key, validator }.encode()
}

/// A version of which only a few bytes differ from one with another letter.
pub(super) fn version(letter: u8, length: usize) -> Version {
    let mut bytes: Vec<u8> = (0..length).map(|place| (place * place / 7) as u8).collect();
    bytes[length / 2] = letter;
    Version::new(HeaderBlock::default(), bytes.into())
}

pub(super) fn found(version: &Version) -> Retrieved {
    Retrieved::Version(version.clone())
}

pub(super) fn tag(key: &str, version: &Version) -> crate::wire::Tag {
    key.parse::<Key>().expect("a key").tag(&version.fingerprint().digest)
}

pub(super) fn digest(version: &Version) -> Digest {
    version.fingerprint().digest
}

pub(super) fn strong(of: &Version) -> Validator {
    let print = fingerprint(of.headers().as_bytes(), of.body());
    Validator::Strong { crc: print.crc, digest: print.digest }
}
