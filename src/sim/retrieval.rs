//! What a server gets from its source, and the bodies that it sends.

use super::cluster::World;
use super::events::Event;
use super::network::{ACCEPTOR, Chunk, Host, Seat, Stream};
use super::source::{Kind, State};
use crate::mirror::{Freshness, Known, Pair, Version, delta};
use crate::node::server::{Link, Retrieved};
use crate::wire::Key;
use crate::wire::lane::BodyStart;
use bytes::Bytes;
use rand::RngExt;

impl World {
    /// Sends a body on a stream of its own; now and then it breaks off.
    pub(super) fn send_body(
        &mut self,
        (place, worker): Seat,
        to: &Link,
        start: BodyStart,
        body: &Bytes,
        trailer: Bytes,
    ) {
        let process = self.servers[place].workers.get(worker);
        let Some((id, _)) = process.and_then(|process| process.outgoing.get(to)).copied() else {
            return;
        };
        let stream = Stream::Body(self.fresh_number());
        self.send_frame(id, ACCEPTOR, stream, &start.encode());
        let middle = self.random.random_range(0..=body.len());
        self.send(id, ACCEPTOR, stream, Chunk::Bytes(body.slice(..middle)));
        if self.random.random_bool(self.plan.body_break_chance) {
            return self.send(id, ACCEPTOR, stream, Chunk::Reset);
        }
        self.send(id, ACCEPTOR, stream, Chunk::Bytes(body.slice(middle..)));
        self.send(id, ACCEPTOR, stream, Chunk::Bytes(trailer));
        self.send(id, ACCEPTOR, stream, Chunk::Finish);
    }

    /// The source looks at an item, and answers a little later.
    pub(super) fn look_at_item(
        &mut self,
        host: Host,
        worker: usize,
        ticket: u64,
        key: &Key,
        known: Option<&Known>,
    ) {
        let now = self.now;
        let Host::Server(place) = host else {
            return;
        };
        let kind = self.source.kind(key);
        let retrieved = match self.source.look(key, now) {
            State::Present(version) if kind == Kind::Unmirrored => {
                let headers = version.headers().clone();
                let length = version.body().len() as u64;
                if let Some(process) = self.servers[place].workers.get_mut(worker) {
                    process.opened.insert(ticket, version);
                }
                Retrieved::Unmirrored { headers, length }
            }
            State::Present(version) => {
                let digest = version.fingerprint().digest;
                let same = known.is_some_and(|known| known.fingerprint().digest == digest);
                // A source may also not notice that nothing changed.
                if same && self.random.random_bool(0.8) {
                    Retrieved::Unchanged
                } else {
                    Retrieved::Version(Version::clone(&version))
                }
            }
            State::Absent => Retrieved::NotFound,
            State::Refused => Retrieved::Refused("nobody may read it".into()),
            State::Failing => Retrieved::Failed("it cannot be read now".into()),
        };
        // What never changes need not be asked for again; a source may not know that of all it has.
        let lasting = kind == Kind::Fixed && self.random.random_bool(0.7);
        let freshness = match self.source.lease(key) {
            Some(leased) => leased,
            None if lasting => Freshness::forever(),
            None => Freshness::default(),
        };
        let life = self.life(host);
        let delay = self.between(0, self.plan.source_ms);
        self.schedule(delay, Event::Retrieved { host, life, worker, ticket, retrieved, freshness });
    }

    /// Makes a difference, and hands it in a little later; now and then in vain.
    pub(super) fn make_difference(
        &mut self,
        (place, worker): Seat,
        pair: Pair,
        old: &[u8],
        new: &[u8],
    ) {
        let host = Host::Server(place);
        let spoilt = self.random.random_bool(0.05);
        let made = delta::encode(old, new).filter(|_| !spoilt);
        let (life, delay) = (self.life(host), self.between(0, self.plan.source_ms));
        self.schedule(delay, Event::Differed { host, life, worker, pair, made });
    }

    pub(super) fn hand_in_difference(
        &mut self,
        host: Host,
        worker: usize,
        pair: Pair,
        made: Option<Bytes>,
    ) {
        if let Host::Server(place) = host {
            self.trace.got(self.now, (&self.servers[place].name, worker), "shell", &(pair, &made));
            self.with_server((place, worker), |machine, now| {
                machine.handle_difference(now, pair, made);
            });
        }
    }

    pub(super) fn hand_in_retrieved(
        &mut self,
        host: Host,
        worker: usize,
        ticket: u64,
        retrieved: Retrieved,
        freshness: Freshness,
    ) {
        let Host::Server(place) = host else {
            return;
        };
        let who = (&self.servers[place].name, worker);
        self.trace.got(self.now, who, "source", &(ticket, &retrieved));
        self.tells_unchanged = matches!(retrieved, Retrieved::Unchanged);
        self.with_server((place, worker), |machine, now| {
            machine.handle_retrieved(now, ticket, retrieved, freshness);
        });
        self.tells_unchanged = false;
        // Left over if the machine had no more use for it.
        if let Some(process) = self.servers[place].workers.get_mut(worker) {
            process.opened.remove(&ticket);
        }
    }
}
