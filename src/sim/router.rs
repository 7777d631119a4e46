//! Routers as hosts: what their shell does, on virtual time.

use super::checks::Check;
use super::cluster::World;
use super::network::{ACCEPTOR, Chunk, ConnectionId, DIALLER, Host, REDIAL_DELAY, Stream};
use crate::node::router::{BodyVerdict, Output, Router, RouterConfig, SessionId};
use crate::wire::backplane::Message;
use crate::wire::lane::BodyStart;
use crate::wire::session::{CloseCode, Limits};
use crate::wire::token::TokenKeys;
use crate::wire::{FrameType, Name, Time};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The lane that every session here uses.
const LANE: u64 = 1;
/// How long a request may go unanswered.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A body on its way from a server to a client.
#[derive(Debug)]
struct Passing {
    request_id: u64,
    session: ConnectionId,
    stream: Stream,
}

/// A router's process.
#[derive(Default)]
pub(super) struct RouterProcess {
    pub(super) machine: Option<Router>,
    servers: BTreeMap<Name, ConnectionId>,
    names: BTreeMap<ConnectionId, Name>,
    /// Sessions that frames may be sent to.
    sessions: BTreeSet<ConnectionId>,
    /// Those of them whose lanes are read.
    welcomed: BTreeSet<ConnectionId>,
    /// By the server's connection and stream.
    bodies: BTreeMap<(ConnectionId, Stream), Passing>,
    /// Bodies whose reply has not come yet.
    waiting: BTreeMap<(ConnectionId, Stream), BodyStart>,
    /// Bodies that are not read any further.
    given_up: BTreeSet<(ConnectionId, Stream)>,
}

impl RouterProcess {
    /// The process is gone, and all it knew.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }
}

impl World {
    /// Adds a router to the cluster, and starts it.
    pub(super) fn add_router(&mut self) {
        let place = self.routers.len();
        self.routers.push(RouterProcess::default());
        self.start(Host::Router(place));
    }

    pub(super) fn start_router(&mut self, place: usize) {
        let mut seed = [0; 32];
        self.random.fill_bytes(&mut seed);
        let config = RouterConfig {
            pool: Name::new("default").expect("a name"),
            limits: Limits {
                slots: self.plan.slots,
                in_flight: self.plan.in_flight,
                max_item: 64 << 20,
            },
            request_timeout: REQUEST_TIMEOUT,
            token_lifetime: Duration::from_secs(3600),
            seed,
            planted: self.planted,
        };
        self.routers[place].machine = Some(Router::new(config, TokenKeys::new(&[[7; 32]])));
        self.dial_all_servers(Host::Router(place));
        self.with_router(place, |_, _| ());
    }

    /// Gives the machine an input, then carries out what it wants done.
    pub(super) fn with_router<R>(
        &mut self,
        place: usize,
        input: impl FnOnce(&mut Router, Time) -> R,
    ) -> Option<R> {
        let now = self.now;
        let result = input(self.routers[place].machine.as_mut()?, now);
        while let Some(output) = self.routers[place].machine.as_mut().and_then(Router::poll_output)
        {
            self.carry_out_of_router(place, output);
        }
        let due = self.routers[place].machine.as_ref()?.poll_timeout();
        self.arm(Host::Router(place), due);
        Some(result)
    }

    pub(super) fn turn_router(&mut self, place: usize) {
        self.with_router(place, |machine, now| {
            if machine.poll_timeout() <= now {
                machine.handle_timeout(now);
            }
        });
    }

    /// The link to a server stands.
    pub(super) fn router_link_up(&mut self, place: usize, id: ConnectionId, to: Host) {
        let Host::Server(server) = to else {
            return;
        };
        let name = self.servers[server].name.clone();
        self.routers[place].servers.insert(name.clone(), id);
        self.routers[place].names.insert(id, name.clone());
        self.with_router(place, |machine, now| machine.handle_server_up(now, &name));
    }

    /// A client connected.
    pub(super) fn router_accepted(&mut self, place: usize, id: ConnectionId) {
        self.routers[place].sessions.insert(id);
        self.with_router(place, |machine, _| machine.handle_connected(SessionId(id)));
    }

    pub(super) fn router_lost(&mut self, place: usize, id: ConnectionId, end: usize, peer: Host) {
        if end == ACCEPTOR {
            self.routers[place].sessions.remove(&id);
            self.routers[place].welcomed.remove(&id);
            self.with_router(place, |machine, now| {
                machine.handle_disconnected(now, SessionId(id));
            });
            return self.end_bodies(place, |_, passing| passing.session == id);
        }
        self.schedule_dial(Host::Router(place), peer, REDIAL_DELAY);
        if let Some(name) = self.routers[place].names.remove(&id) {
            self.routers[place].servers.remove(&name);
            self.with_router(place, |machine, now| machine.handle_server_down(now, &name));
        }
        self.routers[place].waiting.retain(|(connection, _), _| *connection != id);
        self.end_bodies(place, |connection, _| connection == id);
        self.routers[place].given_up.retain(|(connection, _)| *connection != id);
    }

    /// Breaks off bodies that are being passed on.
    fn end_bodies(&mut self, place: usize, which: impl Fn(ConnectionId, &Passing) -> bool) {
        let router = &mut self.routers[place];
        let ended: Vec<_> = router
            .bodies
            .extract_if(.., |(connection, _), passing| which(*connection, passing))
            .collect();
        router.given_up.extend(ended.iter().map(|(from, _)| *from));
        for (_, Passing { request_id, session, stream }) in ended {
            self.send(session, ACCEPTOR, stream, Chunk::Reset);
            self.with_router(place, |machine, _| machine.handle_body_ended(request_id));
        }
    }

    /// Bytes came on a stream from a server or a client.
    pub(super) fn router_received(
        &mut self,
        place: usize,
        id: ConnectionId,
        to: usize,
        stream: Stream,
    ) {
        while let Some(frame) =
            self.connections.get_mut(&id).and_then(|it| it.next_frame(to, stream))
        {
            self.trace.bytes(frame.bytes());
            if to == ACCEPTOR {
                self.trace.got(self.now, Host::Router(place), (id, stream), &frame);
                self.with_router(place, |machine, now| match stream {
                    Stream::First => machine.handle_session_frame(now, SessionId(id), &frame),
                    _ => machine.handle_lane_frame(now, SessionId(id), LANE, frame),
                });
                continue;
            }
            let message = match Message::decode(&frame) {
                Ok(message) => message,
                Err(error) => return self.fail(Check::Codec, format!("{frame:?}: {error}")),
            };
            let Some(name) = self.routers[place].names.get(&id).cloned() else {
                return;
            };
            self.trace.got(self.now, Host::Router(place), &name, &message);
            self.with_router(place, |machine, now| {
                machine.handle_server_message(now, &name, message);
            });
            self.retry_bodies(place, id);
        }
    }

    /// Whether the router reads this stream now.
    pub(super) fn router_reads(&self, place: usize, id: ConnectionId, stream: Stream) -> bool {
        let router = &self.routers[place];
        match stream {
            Stream::First => true,
            Stream::Lane => router.welcomed.contains(&id),
            Stream::Body(_) => {
                !router.waiting.contains_key(&(id, stream))
                    && !router.given_up.contains(&(id, stream))
            }
        }
    }

    /// A chunk of a body came from a server.
    pub(super) fn router_body(
        &mut self,
        place: usize,
        id: ConnectionId,
        stream: Stream,
        chunk: Chunk,
    ) {
        if let Some(passing) = self.routers[place].bodies.get(&(id, stream)) {
            let (session, out) = (passing.session, passing.stream);
            let ends = matches!(chunk, Chunk::Finish | Chunk::Reset);
            self.send(session, ACCEPTOR, out, chunk);
            if ends && let Some(ended) = self.routers[place].bodies.remove(&(id, stream)) {
                self.with_router(place, |machine, _| machine.handle_body_ended(ended.request_id));
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
        match BodyStart::decode(frame.payload()) {
            Ok(start) if frame.kind() == FrameType::Body => {
                self.routers[place].waiting.insert((id, stream), start);
                self.route_body(place, id, stream, start);
            }
            _ => self.fail(Check::Codec, format!("{frame:?} starts a body")),
        }
    }

    fn route_body(&mut self, place: usize, id: ConnectionId, stream: Stream, start: BodyStart) {
        let Some(name) = self.routers[place].names.get(&id).cloned() else {
            return;
        };
        let BodyStart { request_id, offset } = start;
        let verdict =
            self.with_router(place, |machine, _| machine.handle_body(&name, request_id, offset));
        let route = match verdict {
            Some(BodyVerdict::Wanted(route)) => route,
            Some(BodyVerdict::Unwanted) => {
                self.routers[place].waiting.remove(&(id, stream));
                self.routers[place].given_up.insert((id, stream));
                return;
            }
            // Another look follows the next message.
            Some(BodyVerdict::Early) | None => return,
        };
        self.routers[place].waiting.remove(&(id, stream));
        let session = route.session.0;
        let out = Stream::Body(self.fresh_number());
        self.send_frame(session, ACCEPTOR, out, &route.start.encode());
        let passing = Passing { request_id, session, stream: out };
        self.routers[place].bodies.insert((id, stream), passing);
        self.pump(id, DIALLER, stream);
    }

    /// Looks again for the routes of bodies that came before their replies.
    fn retry_bodies(&mut self, place: usize, id: ConnectionId) {
        let waiting: Vec<_> = self.routers[place]
            .waiting
            .iter()
            .filter(|((connection, _), _)| *connection == id)
            .map(|((_, stream), start)| (*stream, *start))
            .collect();
        for (stream, start) in waiting {
            self.route_body(place, id, stream, start);
        }
    }

    fn carry_out_of_router(&mut self, place: usize, output: Output) {
        let is_open =
            |world: &Self, session: SessionId| world.routers[place].sessions.contains(&session.0);
        match output {
            Output::ToSession { session, frame } if is_open(self, session) => {
                self.send_frame(session.0, ACCEPTOR, Stream::First, &frame);
            }
            Output::Welcomed { session } if is_open(self, session) => {
                self.routers[place].welcomed.insert(session.0);
                let connection = session.0;
                let event =
                    super::events::Event::Pump { connection, to: ACCEPTOR, stream: Stream::Lane };
                self.schedule(Duration::ZERO, event);
            }
            Output::ToLane { session, frame, .. } if is_open(self, session) => {
                self.send_frame(session.0, ACCEPTOR, Stream::Lane, &frame);
            }
            Output::ToServer { name, message } => {
                if let Some(id) = self.routers[place].servers.get(&name).copied() {
                    self.send_frame(id, DIALLER, Stream::First, &message.encode());
                }
            }
            Output::CloseSession { session, code, reason } => {
                if code == CloseCode::ProtocolViolation {
                    self.fail(Check::Protocol, format!("a router closes a session: {reason}"));
                }
                self.routers[place].sessions.remove(&session.0);
                // What was written last has a moment to arrive.
                let event = super::events::Event::Closed { connection: session.0, end: ACCEPTOR };
                self.schedule(Duration::from_millis(50), event);
            }
            Output::AbandonBody { request_id } => {
                self.end_bodies(place, |_, passing| passing.request_id == request_id);
            }
            // The session has been closed.
            Output::ToSession { .. } | Output::Welcomed { .. } | Output::ToLane { .. } => {}
        }
    }
}
