//! Bodies on their way from servers through a router to clients, chunk by chunk.

use super::checks::Check;
use super::cluster::World;
use super::network::{ACCEPTOR, Chunk, ConnectionId, DIALLER, Seat, Stream};
use crate::node::router::BodyVerdict;
use crate::wire::FrameType;
use crate::wire::lane::BodyStart;

/// A body on its way from a server to a client.
#[derive(Debug)]
pub(super) struct Passing {
    pub(super) request_id: u64,
    pub(super) session: ConnectionId,
    stream: Stream,
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
        if let Some(passing) = router.bodies.get(&(id, stream)) {
            let (session, out) = (passing.session, passing.stream);
            let ends = matches!(chunk, Chunk::Finish | Chunk::Reset);
            let ended = if ends { router.bodies.remove(&(id, stream)) } else { None };
            self.send(session, ACCEPTOR, out, chunk);
            if let Some(Passing { request_id, .. }) = ended {
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
        let out = Stream::Body(self.fresh_number());
        self.send_frame(session, ACCEPTOR, out, &route.start.encode());
        if let Some(router) = self.router(seat) {
            let passing = Passing { request_id, session, stream: out };
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

    /// Breaks off bodies that are being passed on.
    pub(super) fn end_bodies(
        &mut self,
        seat: Seat,
        which: impl Fn(ConnectionId, &Passing) -> bool,
    ) {
        let Some(router) = self.router(seat) else {
            return;
        };
        let bodies = router.bodies.extract_if(.., |(from, _), passing| which(*from, passing));
        let ended: Vec<_> = bodies.collect();
        router.given_up.extend(ended.iter().map(|(from, _)| *from));
        for (_, Passing { request_id, session, stream }) in ended {
            self.send(session, ACCEPTOR, stream, Chunk::Reset);
            self.with_router(seat, |machine, _| machine.handle_body_ended(request_id));
        }
    }

    /// The connection over which bodies came is gone.
    pub(super) fn forget_bodies(&mut self, seat: Seat, id: ConnectionId) {
        self.end_bodies(seat, |connection, _| connection == id);
        if let Some(router) = self.router(seat) {
            router.waiting.retain(|(connection, _), _| *connection != id);
            router.given_up.retain(|(connection, _)| *connection != id);
        }
    }
}
