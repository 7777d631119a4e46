//! Bodies on their way from servers through a router to clients, chunk by chunk.

use super::checks::Check;
use super::cluster::World;
use super::events::Event;
use super::network::{ACCEPTOR, Chunk, ConnectionId, DIALLER, Host, Seat, Stream};
use crate::node::router::BodyVerdict;
use crate::wire::FrameType;
use crate::wire::lane::BodyStart;
use std::time::Duration;

/// A body on its way from a server to a client.
#[derive(Debug)]
pub(super) struct Passing {
    request_id: u64,
    pub(super) body: u64,
    pub(super) session: ConnectionId,
    stream: Stream,
    /// Bytes that were passed on.
    passed: u64,
}

impl World {
    /// Whether the router reads this stream now.
    pub(super) fn router_reads(&mut self, id: ConnectionId, to: usize, stream: Stream) -> bool {
        let Some(router) = self.router_at(id, to).and_then(|seat| self.router(seat)) else {
            return false;
        };
        match stream {
            Stream::First | Stream::Frames(_) => true,
            Stream::Lane => router.welcomed.contains(&id),
            Stream::Body(_) => {
                !router.waiting.contains_key(&(id, stream))
                    && !router.given_up.contains(&(id, stream))
            }
        }
    }

    /// A chunk of a body came from a server.
    pub(super) fn router_body(&mut self, id: ConnectionId, stream: Stream, chunk: Chunk) {
        let Some(seat) = self.router_at(id, DIALLER) else {
            return;
        };
        let Some(router) = self.router(seat) else {
            return;
        };
        if let Some(passing) = router.bodies.get_mut(&(id, stream)) {
            let (request_id, session, out) = (passing.request_id, passing.session, passing.stream);
            match &chunk {
                Chunk::Bytes(bytes) => passing.passed += bytes.len() as u64,
                Chunk::Reset => {
                    return self.suspend_bodies(seat, |from, _| from == (id, stream));
                }
                Chunk::Up | Chunk::Finish => {}
            }
            let ends = matches!(chunk, Chunk::Finish);
            if ends {
                router.bodies.remove(&(id, stream));
                if let Some(front) = router.fronts.get_mut(&session) {
                    front.end_body(out);
                }
            }
            self.send(session, ACCEPTOR, out, chunk);
            if ends {
                self.with_router(seat, |machine, _| machine.handle_body_ended(request_id));
            }
            return;
        }
        let Chunk::Bytes(bytes) = chunk else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.flow(DIALLER, stream).received.extend_from_slice(&bytes);
        let Some(frame) = connection.next_frame(DIALLER, stream) else {
            return;
        };
        match (BodyStart::decode(frame.payload()), self.router(seat)) {
            (Ok(start), Some(router)) if frame.kind() == FrameType::Body => {
                router.waiting.insert((id, stream), start);
                self.route_body(seat, id, stream, start);
            }
            _ => self.fail(Check::Codec, format!("{frame:?} starts a body")),
        }
    }

    fn route_body(&mut self, seat: Seat, id: ConnectionId, stream: Stream, start: BodyStart) {
        let Some(server) = self.router(seat).and_then(|it| it.indices.get(&id)).copied() else {
            return;
        };
        let BodyStart { request_id, offset } = start;
        let verdict =
            self.with_router(seat, |machine, _| machine.handle_body(server, request_id, offset));
        let Some(router) = self.router(seat) else {
            return;
        };
        let route = match verdict {
            Some(BodyVerdict::Wanted(route)) => route,
            Some(BodyVerdict::Unwanted) => {
                router.waiting.remove(&(id, stream));
                router.given_up.insert((id, stream));
                return;
            }
            // Another look follows the next message.
            Some(BodyVerdict::Early) | None => return,
        };
        router.waiting.remove(&(id, stream));
        let session = router.sessions.get(&route.session).copied();
        let session = session.expect("a closed session wants no bodies");
        let suspended = router.suspended.remove(&route.body);
        let first = self
            .connections
            .get_mut(&id)
            .map(|connection| connection.flow(DIALLER, stream).received.split().freeze());
        let first = first.unwrap_or_default();
        let out = match suspended {
            Some((_, out)) => out,
            None => {
                let out = Stream::Body(self.fresh_number());
                let start = self.outward_start(seat, session, (out, route.start));
                self.send_frame(session, ACCEPTOR, out, &start.encode());
                out
            }
        };
        let passed = first.len() as u64;
        self.send(session, ACCEPTOR, out, Chunk::Bytes(first));
        if let Some(router) = self.router(seat) {
            let body = route.body;
            let passing = Passing { request_id, body, session, stream: out, passed };
            router.bodies.insert((id, stream), passing);
        }
        self.pump(id, DIALLER, stream);
    }

    /// Looks again for the routes of bodies that came before their replies.
    pub(super) fn retry_bodies(&mut self, seat: Seat, id: ConnectionId) {
        let Some(router) = self.router(seat) else {
            return;
        };
        let waiting = router.waiting.iter().filter(|((connection, _), _)| *connection == id);
        let waiting: Vec<_> = waiting.map(|((_, stream), start)| (*stream, *start)).collect();
        for (stream, start) in waiting {
            self.route_body(seat, id, stream, start);
        }
    }

    /// Takes no more of bodies from their servers; the clients' streams stay open.
    pub(super) fn suspend_bodies(
        &mut self,
        seat: Seat,
        which: impl Fn((ConnectionId, Stream), &Passing) -> bool,
    ) {
        for Passing { request_id, body, session, stream, passed } in self.take_bodies(seat, which) {
            if let Some(router) = self.router(seat) {
                router.suspended.insert(body, (session, stream));
            }
            // The shell's task hears of it a moment after the machine has asked for it.
            let life = self.life(Host::Router(seat.0));
            let event = Event::BodyBroken { seat, life, request_id, passed };
            self.schedule(Duration::from_micros(1), event);
        }
    }

    /// A body's task says how much it passed on.
    pub(super) fn hand_in_broken(&mut self, seat: Seat, request_id: u64, passed: u64) {
        self.with_router(seat, |machine, now| machine.handle_body_broken(now, request_id, passed));
    }

    /// A client is not to get the rest of a body.
    pub(super) fn abandon_body(&mut self, seat: Seat, body: u64) {
        let active = self.take_bodies(seat, |_, passing| passing.body == body);
        let suspended = self.router(seat).and_then(|router| router.suspended.remove(&body));
        let streams = active.iter().map(|passing| (passing.session, passing.stream));
        for (session, stream) in streams.chain(suspended).collect::<Vec<_>>() {
            self.send(session, ACCEPTOR, stream, Chunk::Reset);
        }
        for Passing { request_id, .. } in active {
            self.with_router(seat, |machine, _| machine.handle_body_ended(request_id));
        }
    }

    /// A client is gone.
    pub(super) fn end_bodies_of(&mut self, seat: Seat, session: ConnectionId) {
        for Passing { request_id, .. } in self.take_bodies(seat, |_, it| it.session == session) {
            self.with_router(seat, |machine, _| machine.handle_body_ended(request_id));
        }
    }

    fn take_bodies(
        &mut self,
        seat: Seat,
        which: impl Fn((ConnectionId, Stream), &Passing) -> bool,
    ) -> Vec<Passing> {
        let Some(router) = self.router(seat) else {
            return Vec::new();
        };
        let bodies = router.bodies.extract_if(.., |from, passing| which(*from, passing));
        let ended: Vec<_> = bodies.collect();
        router.given_up.extend(ended.iter().map(|(from, _)| *from));
        ended.into_iter().map(|(_, passing)| passing).collect()
    }

    /// The connection over which bodies came is gone.
    pub(super) fn forget_bodies(&mut self, seat: Seat, id: ConnectionId) {
        self.suspend_bodies(seat, |(connection, _), _| connection == id);
        if let Some(router) = self.router(seat) {
            router.waiting.retain(|(connection, _), _| *connection != id);
            router.given_up.retain(|(connection, _)| *connection != id);
        }
    }
}
