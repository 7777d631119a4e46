//! Which host gets a connection, and what it brings.

use super::cluster::World;
use super::events::Event;
use super::network::{ACCEPTOR, Chunk, ConnectionId, DIALLER, Host, Stream};
use rand::RngExt;
use std::time::Duration;

impl World {
    /// The dial reached the acceptor, if it is there.
    pub(super) fn accept(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (from, to) = (connection.ends[DIALLER].host, connection.ends[ACCEPTOR].host);
        if self.is_cut(from, to) || self.is_cut(to, from) {
            return;
        }
        if !self.is_running(to) {
            // Refused, unless nobody is there who could refuse.
            if self.random.random_bool(0.5) {
                let latency = self.latency();
                self.schedule(latency, Event::Closed { connection: id, end: DIALLER });
            }
            return;
        }
        let life = self.life(to);
        let (worker, workers) = self.choose_worker(from, to);
        let (ours, theirs) = (self.versions(from), self.versions(to));
        let version = ours.common(theirs.oldest, theirs.newest).expect("each speaks the oldest");
        if let Some(connection) = self.connections.get_mut(&id) {
            let end = &mut connection.ends[ACCEPTOR];
            (end.life, end.worker, end.open) = (life, worker, true);
            (connection.workers, connection.version) = (workers, version);
        }
        self.send(id, ACCEPTOR, Stream::First, Chunk::Up);
        self.handle_accepted(id, from, to);
    }

    /// Which of the acceptor's workers gets a connection, and how many there are as far as the
    /// dialler is told.
    fn choose_worker(&mut self, from: Host, to: Host) -> (usize, usize) {
        match to {
            Host::Router(place) => {
                let workers = self.routers[place].workers.len();
                (self.random.random_range(0..workers), workers)
            }
            Host::Server(place) => {
                let workers = self.servers[place].workers.len();
                let misled = matches!(from, Host::Router(_))
                    && workers > 1
                    && self.random.random_bool(self.plan.misled_chance);
                let told = if misled { self.random.random_range(1..workers) } else { workers };
                (0, told)
            }
            Host::Client(_) | Host::Caller(_) | Host::Browser(_) => {
                unreachable!("nobody dials a client")
            }
        }
    }

    /// Hands over all chunks of a stream that have arrived.
    pub(super) fn pump(&mut self, id: ConnectionId, to: usize, stream: Stream) {
        while let Some(connection) = self.connections.get(&id) {
            let host = connection.ends[to].host;
            if matches!(host, Host::Router(_)) && !self.router_reads(id, to, stream) {
                return;
            }
            let Some(chunk) = self.receive(id, to, stream) else {
                return;
            };
            self.hand_over(host, id, to, stream, chunk);
        }
    }

    fn hand_over(&mut self, host: Host, id: ConnectionId, to: usize, stream: Stream, chunk: Chunk) {
        match (host, stream, chunk) {
            (_, Stream::First, Chunk::Up) => self.handle_up(host, id),
            (Host::Router(_), Stream::Body(_), chunk) => self.router_body(id, stream, chunk),
            (Host::Client(place), Stream::Body(_), Chunk::Finish) => {
                self.client_body(place, id, stream, true);
            }
            (Host::Client(place), Stream::Body(_), Chunk::Reset) => {
                self.client_body(place, id, stream, false);
            }
            (Host::Browser(place), Stream::Body(_), Chunk::Finish) => {
                self.browser_body(place, id, stream, true);
            }
            (Host::Browser(place), Stream::Body(_), Chunk::Reset) => {
                self.browser_body(place, id, stream, false);
            }
            (_, _, Chunk::Bytes(bytes)) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.flow(to, stream).received.extend_from_slice(&bytes);
                }
                match (host, stream) {
                    // Taken whole at its end.
                    (Host::Client(place), Stream::Body(_)) => self.client_packets(place, id),
                    (Host::Caller(_) | Host::Browser(_), Stream::Body(_)) => {}
                    (Host::Server(place), Stream::Frames(worker)) => {
                        self.server_received(place, worker, id);
                    }
                    (Host::Server(_), _) => {}
                    (Host::Router(_), _) => self.router_received(id, to, stream),
                    (Host::Client(place), _) => self.client_received(place, id, stream),
                    (Host::Caller(place), _) => self.caller_received(place, id, stream),
                    (Host::Browser(place), _) => self.browser_received(place, id, stream),
                }
            }
            (_, _, Chunk::Up | Chunk::Finish | Chunk::Reset) => {}
        }
    }

    /// The dialler's connection stands.
    fn handle_up(&mut self, host: Host, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.up = true;
        let to = connection.ends[ACCEPTOR].host;
        match host {
            Host::Server(place) => self.server_link_up(place, id, to),
            Host::Router(_) => self.router_link_up(id, to),
            Host::Client(place) => self.client_connected(place, id),
            Host::Caller(place) => self.caller_connected(place, id),
            Host::Browser(place) => self.browser_connected(place, id),
        }
        // Other streams may have been faster.
        for event in self.pumps(|other| other == id) {
            self.schedule(Duration::ZERO, event);
        }
    }

    /// Lets everything move on that was held up between hosts.
    pub(super) fn pump_all(&mut self) {
        for event in self.pumps(|_| true) {
            // One event a chunk was scheduled before and found the path closed.
            let delay = self.latency();
            self.schedule(delay, event);
        }
    }

    /// One event for each stream on which something is under way.
    fn pumps(&self, which: impl Fn(ConnectionId) -> bool) -> Vec<Event> {
        let mut pumps = Vec::new();
        for (id, connection) in self.connections.iter().filter(|(id, _)| which(**id)) {
            for ((to, stream), flow) in &connection.flows {
                if !flow.queue.is_empty() {
                    pumps.push(Event::Pump { connection: *id, to: *to, stream: *stream });
                }
            }
        }
        pumps
    }

    /// The acceptor has a new connection.
    pub(super) fn handle_accepted(&mut self, id: ConnectionId, from: Host, to: Host) {
        match to {
            Host::Server(place) => self.server_accepted(place, id, from),
            Host::Router(_) => self.router_accepted(id),
            Host::Client(_) | Host::Caller(_) | Host::Browser(_) => {
                unreachable!("nobody dials a client")
            }
        }
    }

    /// An end hears that its connection is gone, or gives it up.
    pub(super) fn handle_closed(&mut self, id: ConnectionId, end: usize) {
        let Some(connection) = self.connections.get(&id).filter(|it| it.ends[end].open) else {
            return;
        };
        let (own, peer) = (connection.ends[end].host, connection.ends[1 - end].host);
        let worker = connection.ends[end].worker;
        self.trace.line(self.now, || format!("{own:?} lost connection {id} to {peer:?}"));
        self.give_up(id, end);
        match own {
            Host::Server(place) => self.server_lost((place, worker), id, end, peer),
            Host::Router(place) => self.router_lost((place, worker), id, end, peer),
            Host::Client(place) => self.client_lost(place, id),
            Host::Caller(place) => self.caller_lost(place, id),
            Host::Browser(place) => self.browser_lost(place, id),
        }
        debug_assert!(end == DIALLER || end == ACCEPTOR);
    }
}
