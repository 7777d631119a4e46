//! Connections between hosts: ordered streams that stall, break, and lose an unknown tail.
//!
//! A chunk waits in its stream's queue until its time has come and the path is open. A connection
//! breaks by a limit: what would have arrived later never does, and neither end knows how much the
//! other one got. Each end notices in its own time.
//!
//! A member's worker has one connection to another member, which stands for its connections to all
//! of that member's workers: they come and go together, and there is no order between them.

use super::cluster::World;
use super::events::Event;
use crate::wire::frame::MAX_BACKPLANE_PAYLOAD;
use crate::wire::gather::Gather;
use crate::wire::session::OLDEST_VERSION;
use crate::wire::{Frame, Time};
use bytes::{Bytes, BytesMut};
use rand::RngExt;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The simulator's number for a connection.
pub(super) type ConnectionId = u64;

/// The end that dialled, and the one that accepted.
pub(super) const DIALLER: usize = 0;
/// See [`DIALLER`].
pub(super) const ACCEPTOR: usize = 1;

/// How long a dialler waits before it tries again.
pub(super) const REDIAL_DELAY: Duration = Duration::from_millis(100);

/// Something with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    /// A server, by its place in the list.
    Server(usize),
    /// A router.
    Router(usize),
    /// A process of the client library.
    Client(usize),
    /// A client that writes its frames by hand.
    Caller(usize),
    /// A client that speaks HTTP.
    Browser(usize),
}

/// One worker of a server or a router: the host's place in its list, and the worker's.
pub(super) type Seat = (usize, usize);

/// One stream of a connection. Each has two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    /// The session stream; on the backplane only [`Chunk::Up`].
    First,
    /// The frames of the backplane, to and from this worker of the acceptor.
    Frames(usize),
    /// The lane.
    Lane,
    /// One body.
    Body(u64),
}

/// What travels on a stream.
#[derive(Debug)]
pub(super) enum Chunk {
    /// The connection stands: both hellos are done.
    Up,
    /// Bytes.
    Bytes(Bytes),
    /// The stream ends here.
    Finish,
    /// The stream is broken off here.
    Reset,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) host: Host,
    /// Which run of the host.
    pub(super) life: u64,
    /// Which of the host's workers has this end. A server that accepted has all of them at it.
    pub(super) worker: usize,
    /// Whether this end still believes in the connection.
    pub(super) open: bool,
    /// Nothing that is due later reaches this end.
    limit: Time,
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) queue: VecDeque<(Time, Chunk)>,
    last: Time,
    /// What was received and is not a whole frame yet.
    pub(super) received: BytesMut,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: [End; 2],
    /// Whether the dialler knows that it stands.
    pub(super) up: bool,
    /// How many workers the acceptor has, as far as the dialler is told.
    pub(super) workers: usize,
    /// The protocol version that is spoken over it.
    pub(super) version: u64,
    /// By the end that receives, and the stream.
    pub(super) flows: BTreeMap<(usize, Stream), Flow>,
}

impl Connection {
    pub(super) fn flow(&mut self, to: usize, stream: Stream) -> &mut Flow {
        self.flows.entry((to, stream)).or_default()
    }

    /// The next frame that was received whole. Peers never send nonsense here, so what does not
    /// decode is a bug of ours.
    pub(super) fn next_frame(&mut self, to: usize, stream: Stream) -> Option<Frame> {
        let received = &mut self.flow(to, stream).received;
        Frame::split_from(received, MAX_BACKPLANE_PAYLOAD).expect("machines send whole frames")
    }
}

/// The bytes of a frame, written as shells write them.
pub(super) fn gathered(fill: impl FnOnce(&mut Gather)) -> Bytes {
    let (mut out, mut pieces) = (Gather::default(), Vec::new());
    fill(&mut out);
    out.take(&mut pieces);
    Bytes::from(pieces.concat())
}

impl World {
    /// Starts a connection; the dialler hears of it by [`Chunk::Up`] or [`Event::Closed`].
    pub(super) fn dial(&mut self, from: Host, worker: usize, to: Host) -> ConnectionId {
        let id = self.fresh_number();
        let limit = Time::from_micros(u64::MAX);
        let dialler = End { host: from, life: self.life(from), worker, open: true, limit };
        // Which run of the acceptor it is, is settled when the dial arrives there.
        let acceptor = End { host: to, life: 0, worker: 0, open: false, limit };
        let ends = [dialler, acceptor];
        let (version, flows) = (OLDEST_VERSION, BTreeMap::new());
        let connection = Connection { ends, up: false, workers: 1, version, flows };
        self.connections.insert(id, connection);
        let latency = self.latency();
        self.schedule(latency, Event::Accept { connection: id });
        let patience = self.between(1_000, 2_000);
        self.schedule(patience, Event::DialTimeout { connection: id });
        id
    }

    /// Puts a chunk on its way. Over a connection that is not open any more it goes nowhere.
    pub(super) fn send(&mut self, id: ConnectionId, from: usize, stream: Stream, chunk: Chunk) {
        let to = 1 - from;
        let mut delay = self.latency();
        if self.random.random_bool(self.plan.stall_chance) {
            delay += self.between(0, self.plan.stall_ms);
        }
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id).filter(|it| it.ends[from].open) else {
            return;
        };
        let limit = connection.ends[to].limit;
        let flow = connection.flow(to, stream);
        let due = (now + delay).max(flow.last + Duration::from_micros(1));
        flow.last = due;
        if due > limit {
            return;
        }
        flow.queue.push_back((due, chunk));
        self.schedule_at(due, Event::Pump { connection: id, to, stream });
    }

    /// Sends a frame.
    pub(super) fn send_frame(
        &mut self,
        id: ConnectionId,
        from: usize,
        stream: Stream,
        frame: &Frame,
    ) {
        self.send_bytes(id, from, stream, frame.to_bytes());
    }

    /// Sends the bytes of a frame, sometimes in two pieces.
    pub(super) fn send_bytes(
        &mut self,
        id: ConnectionId,
        from: usize,
        stream: Stream,
        mut bytes: Bytes,
    ) {
        if bytes.len() > 2 && self.random.random_bool(0.05) {
            let cut = self.random.random_range(1..bytes.len());
            let head = bytes.split_to(cut);
            self.send(id, from, stream, Chunk::Bytes(head));
        }
        self.send(id, from, stream, Chunk::Bytes(bytes));
    }

    /// The next chunk of a stream that is due and can get through.
    pub(super) fn receive(&mut self, id: ConnectionId, to: usize, stream: Stream) -> Option<Chunk> {
        let now = self.now;
        let connection = self.connections.get(&id)?;
        let (peer, own) = (connection.ends[1 - to].host, connection.ends[to].host);
        let stands = to == ACCEPTOR || connection.up || stream == Stream::First;
        if !connection.ends[to].open || !stands || self.is_cut(peer, own) {
            return None;
        }
        let flow = self.connections.get_mut(&id)?.flow(to, stream);
        let (due, _) = flow.queue.front()?;
        if *due > now {
            return None;
        }
        flow.queue.pop_front().map(|(_, chunk)| chunk)
    }

    /// What is due before that moment still arrives, the rest is lost; neither end is told here.
    pub(super) fn sever(&mut self, id: ConnectionId) {
        let tails = [self.between(0, 3), self.between(0, 3)];
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(&id) {
            for (end, tail) in connection.ends.iter_mut().zip(tails) {
                end.limit = end.limit.min(now + tail);
            }
            for ((to, _), flow) in &mut connection.flows {
                let limit = connection.ends[*to].limit;
                flow.queue.retain(|(due, _)| *due <= limit);
            }
        }
    }

    /// One end gives the connection up; the other one hears of it, sooner or later.
    pub(super) fn give_up(&mut self, id: ConnectionId, end: usize) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.ends[end].open = false;
        if connection.ends[1 - end].open {
            let delay =
                if self.random.random_bool(0.7) { self.latency() } else { self.idle_timeout() };
            self.schedule(delay, Event::Closed { connection: id, end: 1 - end });
        } else {
            self.connections.remove(&id);
        }
    }

    /// An end that could not hear its peer for so long gives up.
    pub(super) fn check_idle(&mut self, id: ConnectionId, end: usize) {
        let Some(connection) = self.connections.get(&id).filter(|it| it.ends[end].open) else {
            return;
        };
        let (own, peer) = (connection.ends[end].host, &connection.ends[1 - end]);
        let silent = self.is_cut(peer.host, own)
            || !self.is_awake(peer.host)
            || self.life(peer.host) != peer.life;
        if silent {
            self.handle_closed(id, end);
        }
    }

    /// Lets every end that talks to `host` look, after its idle timeout, whether it is still there.
    pub(super) fn schedule_idle_checks(&mut self, host: Host) {
        let of_host: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, it)| it.ends.iter().any(|end| end.host == host))
            .map(|(id, _)| *id)
            .collect();
        for connection in of_host {
            for end in [DIALLER, ACCEPTOR] {
                let delay = self.idle_timeout();
                self.schedule(delay, Event::IdleCheck { connection, end });
            }
        }
    }

    /// Whether bytes from one host do not reach another now.
    pub(super) fn is_cut(&self, from: Host, to: Host) -> bool {
        self.cuts.contains(&(from, to))
    }

    pub(super) fn latency(&mut self) -> Duration {
        let (least, most) = self.plan.latency_us;
        Duration::from_micros(self.random.random_range(least..=most))
    }

    /// A time between so many milliseconds.
    pub(super) fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_micros(self.random.random_range(least * 1_000..=most * 1_000))
    }

    pub(super) fn idle_timeout(&mut self) -> Duration {
        self.between(1_000, 3_000)
    }
}
