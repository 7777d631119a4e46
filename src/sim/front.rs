//! The front of a router for clients that speak HTTP: what stands between their streams and the
//! requests of a session.
//!
//! A client's frames stand for what it says in HTTP. HELLO is the token that it shows, and CANCEL
//! the end of a stream whose answer it does not want. It numbers its streams and uses no number
//! twice; the front gives each request the lowest number that no request of the session has.

use super::checks::Check;
use super::cluster::World;
use super::network::{ConnectionId, DIALLER, Host, Seat, Stream};
use crate::node::router::HTTP_LANE;
use crate::wire::backplane::Message;
use crate::wire::http::HttpRequest;
use crate::wire::lane::{BodyStart, Reply, has_streamed_body};
use crate::wire::session::Hello;
use crate::wire::{Frame, FrameType};
use std::collections::BTreeMap;

/// What the front of a router keeps of a connection.
#[derive(Debug, Default)]
pub(super) struct Front {
    /// The client's stream, by the number of the request.
    streams: BTreeMap<u64, u64>,
    /// The numbers of requests whose bodies are on their way.
    bodies: BTreeMap<Stream, u64>,
}

impl Front {
    /// A number for the request of a stream.
    fn number(&mut self, stream: u64) -> u64 {
        let free = (0..).find(|number| !self.streams.contains_key(number));
        let number = free.expect("there are more numbers than requests");
        self.streams.insert(number, stream);
        number
    }

    /// A body went to its end.
    pub(super) fn end_body(&mut self, out: Stream) {
        if let Some(number) = self.bodies.remove(&out) {
            self.streams.remove(&number);
        }
    }

    fn forget(&mut self, number: u64) {
        self.streams.remove(&number);
        self.bodies.retain(|_, of| *of != number);
    }
}

impl World {
    /// Whether it is a client that speaks HTTP who dialled.
    pub(super) fn is_browser(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(&id);
        connection.is_some_and(|it| matches!(it.ends[DIALLER].host, Host::Browser(_)))
    }

    /// A client that speaks HTTP says something.
    pub(super) fn front_asked(
        &mut self,
        seat: Seat,
        id: ConnectionId,
        stream: Stream,
        frame: &Frame,
    ) {
        self.trace.got(self.now, ("front", seat), (id, stream), frame);
        let Some(process) = self.router(seat) else {
            return;
        };
        let Some(session) = process.numbers.get(&id).copied() else {
            return;
        };
        let front = process.fronts.entry(id).or_default();
        match frame.kind() {
            FrameType::Hello => match Hello::decode(frame.payload()) {
                Ok(Hello { token, .. }) => {
                    self.with_router(seat, |machine, now| {
                        machine.handle_http_client(now, session, token);
                    });
                }
                Err(error) => self.fail(Check::Codec, error.to_string()),
            },
            FrameType::HttpRequest => match HttpRequest::decode(frame.payload()) {
                Ok(request) => {
                    let request_id = front.number(request.request_id);
                    let frame = HttpRequest { request_id, ..request }.encode();
                    self.with_router(seat, |machine, now| {
                        machine.handle_lane_frame(now, session, HTTP_LANE, frame);
                    });
                }
                Err(error) => self.fail(Check::Codec, error.to_string()),
            },
            _ => {
                let Ok(Message::Cancel { request_id: stream }) = Message::decode(frame) else {
                    return self.fail(Check::Codec, format!("{frame:?} from a client"));
                };
                let mut numbers = front.streams.iter().filter(|(_, known)| **known == stream);
                if let Some(number) = numbers.next().map(|(number, _)| *number) {
                    front.forget(number);
                    self.counts.taken_back += 1;
                    self.with_router(seat, |machine, _| machine.handle_cancelled(session, number));
                }
            }
        }
    }

    /// What a frame for a lane is to its client: an answer goes to the stream of its request.
    pub(super) fn outward(&mut self, seat: Seat, id: ConnectionId, frame: Frame) -> Option<Frame> {
        if !self.is_browser(id) || frame.kind() == FrameType::Assigned {
            return Some(frame);
        }
        let mut reply = match Reply::decode(&frame) {
            Ok(reply) => reply,
            Err(error) => {
                self.fail(Check::Codec, format!("{frame:?}: {error}"));
                return None;
            }
        };
        let number = reply.request_id;
        let front = self.router(seat)?.fronts.get_mut(&id)?;
        let Some(stream) = front.streams.get(&number).copied() else {
            self.fail(Check::EndsOnce, format!("nobody asked for {number} any more: {reply:?}"));
            return None;
        };
        if !has_streamed_body(&frame) {
            front.forget(number);
        }
        reply.request_id = stream;
        Some(reply.encode())
    }

    /// How a body starts, as its client is told.
    pub(super) fn outward_start(
        &mut self,
        seat: Seat,
        session: ConnectionId,
        (out, start): (Stream, BodyStart),
    ) -> BodyStart {
        let front = self.router(seat).and_then(|it| it.fronts.get_mut(&session));
        let Some(front) = front else {
            return start;
        };
        front.bodies.insert(out, start.request_id);
        match front.streams.get(&start.request_id).copied() {
            Some(request_id) => BodyStart { request_id, ..start },
            None => {
                let what = format!("nobody asked for the body of {}", start.request_id);
                self.fail(Check::EndsOnce, what);
                start
            }
        }
    }
}
