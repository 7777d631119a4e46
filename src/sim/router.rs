//! Routers as hosts: what their shell does, on virtual time.

use super::checks::Check;
use super::cluster::World;
use super::events::Event;
use super::front::Front;
use super::network::{ACCEPTOR, ConnectionId, DIALLER, Host, REDIAL_DELAY, Seat, Stream, gathered};
use super::passing::Passing;
use crate::assign::ServerIndex;
use crate::node::router::{Output, PoolConfig, Router, RouterConfig, SessionId, Shared};
use crate::wire::backplane::Message;
use crate::wire::lane::BodyStart;
use crate::wire::session::{CloseCode, Limits};
use crate::wire::token::TokenKeys;
use crate::wire::{Frame, Name, Time};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The lane that every session here uses.
const LANE: u32 = 1;
/// How long a request may go unanswered.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A router's process.
#[derive(Default)]
pub(super) struct RouterProcess {
    /// None while it does not run.
    pub(super) workers: Vec<RouterWorker>,
}

/// One of its workers.
pub(super) struct RouterWorker {
    pub(super) machine: Router,
    /// The connection that stands for those to all workers of a server.
    servers: BTreeMap<ServerIndex, ConnectionId>,
    pub(super) indices: BTreeMap<ConnectionId, ServerIndex>,
    /// Sessions that frames may be sent to.
    pub(super) sessions: BTreeMap<SessionId, ConnectionId>,
    pub(super) numbers: BTreeMap<ConnectionId, SessionId>,
    /// Those of them whose lanes are read.
    pub(super) welcomed: BTreeSet<ConnectionId>,
    /// Of the sessions that speak HTTP.
    pub(super) fronts: BTreeMap<ConnectionId, Front>,
    /// By the server's connection and stream.
    pub(super) bodies: BTreeMap<(ConnectionId, Stream), Passing>,
    /// The clients' streams of bodies that broke off and may go on, by the body.
    pub(super) suspended: BTreeMap<u64, (ConnectionId, Stream)>,
    /// Bodies whose reply has not come yet.
    pub(super) waiting: BTreeMap<(ConnectionId, Stream), BodyStart>,
    /// Bodies that are not read any further.
    pub(super) given_up: BTreeSet<(ConnectionId, Stream)>,
}

impl RouterWorker {
    fn new(machine: Router) -> Self {
        Self {
            machine,
            servers: BTreeMap::new(),
            indices: BTreeMap::new(),
            sessions: BTreeMap::new(),
            numbers: BTreeMap::new(),
            welcomed: BTreeSet::new(),
            fronts: BTreeMap::new(),
            bodies: BTreeMap::new(),
            suspended: BTreeMap::new(),
            waiting: BTreeMap::new(),
            given_up: BTreeSet::new(),
        }
    }
}

impl RouterProcess {
    /// The process is gone, and all it knew.
    pub(super) fn stop(&mut self) {
        self.workers.clear();
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
        let shared: Arc<Shared> = Arc::default();
        let workers = self.draw_workers();
        for _ in 0..workers {
            let mut seed = [0; 32];
            self.random.fill_bytes(&mut seed);
            let config = RouterConfig {
                pools: vec![PoolConfig {
                    name: Name::new("default").expect("a name"),
                    policy: self.plan.policy,
                    limits: Limits {
                        slots: self.plan.slots,
                        in_flight: self.plan.in_flight,
                        max_item: 64 << 20,
                    },
                    request_timeout: None,
                }],
                request_timeout: REQUEST_TIMEOUT,
                token_lifetime: Duration::from_secs(3600),
                versions: self.versions(Host::Router(place)),
                seed,
                planted: self.planted,
            };
            let machine = Router::new(config, TokenKeys::new(&[[7; 32]]), Arc::clone(&shared));
            self.routers[place].workers.push(RouterWorker::new(machine));
        }
        self.dial_all_servers(Host::Router(place));
        for worker in 0..workers {
            self.with_router((place, worker), |_, _| ());
        }
    }

    pub(super) fn router(&mut self, (place, worker): Seat) -> Option<&mut RouterWorker> {
        self.routers[place].workers.get_mut(worker)
    }

    /// The router worker at an end of a connection.
    pub(super) fn router_at(&self, id: ConnectionId, end: usize) -> Option<Seat> {
        let end = &self.connections.get(&id)?.ends[end];
        match end.host {
            Host::Router(place) => Some((place, end.worker)),
            _ => None,
        }
    }

    /// Gives a machine an input, then carries out what it wants done.
    pub(super) fn with_router<R>(
        &mut self,
        seat: Seat,
        input: impl FnOnce(&mut Router, Time) -> R,
    ) -> Option<R> {
        let now = self.now;
        let result = input(&mut self.router(seat)?.machine, now);
        while let Some(output) = self.router(seat).and_then(|it| it.machine.poll_output()) {
            self.carry_out_of_router(seat, output);
        }
        let due = self.router(seat)?.machine.poll_timeout();
        self.arm(Host::Router(seat.0), seat.1, due);
        Some(result)
    }

    pub(super) fn turn_router(&mut self, seat: Seat) {
        self.with_router(seat, |machine, now| {
            if machine.poll_timeout() <= now {
                machine.handle_timeout(now);
            }
        });
    }

    /// The links to a server stand.
    pub(super) fn router_link_up(&mut self, id: ConnectionId, to: Host) {
        let (Host::Server(server), Some(seat)) = (to, self.router_at(id, DIALLER)) else {
            return;
        };
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (workers, version) = (connection.workers as u64, connection.version);
        let (name, now) = (self.servers[server].name.clone(), self.now);
        let Some(process) = self.router(seat) else {
            return;
        };
        let server = process.machine.handle_server_up(now, (&name, None), workers, version);
        let server = server.expect("a few servers can be told apart");
        // In its place before the machine's first message for it is carried out.
        process.servers.insert(server, id);
        process.indices.insert(id, server);
        self.with_router(seat, |_, _| ());
    }

    /// A client connected.
    pub(super) fn router_accepted(&mut self, id: ConnectionId) {
        let Some(seat) = self.router_at(id, ACCEPTOR) else {
            return;
        };
        let session = self.with_router(seat, |machine, _| machine.handle_connected());
        if let (Some(session), Some(process)) = (session, self.router(seat)) {
            process.sessions.insert(session, id);
            process.numbers.insert(id, session);
        }
    }

    pub(super) fn router_lost(&mut self, seat: Seat, id: ConnectionId, end: usize, peer: Host) {
        let Some(process) = self.router(seat) else {
            return;
        };
        if end == ACCEPTOR {
            process.welcomed.remove(&id);
            process.fronts.remove(&id);
            if let Some(session) = process.numbers.remove(&id) {
                process.sessions.remove(&session);
                self.with_router(seat, |machine, now| machine.handle_disconnected(now, session));
            }
            return self.end_bodies_of(seat, id);
        }
        if let Some(server) = process.indices.remove(&id) {
            process.servers.remove(&server);
            self.with_router(seat, |machine, now| machine.handle_server_down(now, server));
        }
        self.schedule_dial(Host::Router(seat.0), seat.1, peer, REDIAL_DELAY);
        self.forget_bodies(seat, id);
    }

    /// Bytes came on a stream from a server or a client.
    pub(super) fn router_received(&mut self, id: ConnectionId, to: usize, stream: Stream) {
        let Some(seat) = self.router_at(id, to) else {
            return;
        };
        while let Some(frame) =
            self.connections.get_mut(&id).and_then(|it| it.next_frame(to, stream))
        {
            self.trace.bytes(frame.bytes());
            match stream {
                Stream::Frames(worker) => self.router_heard(seat, id, worker, &frame),
                _ if self.is_browser(id) => self.front_asked(seat, id, stream, &frame),
                _ => self.router_asked(seat, id, stream, frame),
            }
        }
    }

    fn router_asked(&mut self, seat: Seat, id: ConnectionId, stream: Stream, frame: Frame) {
        self.trace.got(self.now, ("router", seat), (id, stream), &frame);
        let Some(session) = self.router(seat).and_then(|it| it.numbers.get(&id)).copied() else {
            return;
        };
        self.with_router(seat, |machine, now| match stream {
            Stream::First => machine.handle_session_frame(now, session, &frame),
            _ => machine.handle_lane_frame(now, session, LANE, frame),
        });
    }

    fn router_heard(&mut self, seat: Seat, id: ConnectionId, worker: usize, frame: &Frame) {
        let message = match Message::decode(frame) {
            Ok(message) => message,
            Err(error) => return self.fail(Check::Codec, format!("{frame:?}: {error}")),
        };
        self.check_version(id, &message);
        let Some(server) = self.router(seat).and_then(|it| it.indices.get(&id)).copied() else {
            return;
        };
        self.trace.got(self.now, ("router", seat), (server, worker), &message);
        self.with_router(seat, |machine, now| {
            machine.handle_server_message(now, server, worker as u64, message);
        });
        self.retry_bodies(seat, id);
    }

    fn carry_out_of_router(&mut self, seat: Seat, output: Output) {
        let connection =
            |world: &mut Self, session| world.router(seat)?.sessions.get(&session).copied();
        match output {
            // No client of the simulation speaks HTTP with content.
            Output::SendContent { .. } => {}
            Output::ToSession { session, frame } => {
                if let Some(id) = connection(self, session) {
                    self.send_frame(id, ACCEPTOR, Stream::First, &frame);
                }
            }
            Output::Welcomed { session } => {
                if let Some(connection) = connection(self, session)
                    && let Some(process) = self.router(seat)
                {
                    process.welcomed.insert(connection);
                    let event = Event::Pump { connection, to: ACCEPTOR, stream: Stream::Lane };
                    self.schedule(Duration::ZERO, event);
                }
            }
            Output::ToLane { session, frame, .. } => {
                if let Some(id) = connection(self, session)
                    && let Some(frame) = self.outward(seat, id, frame)
                {
                    self.send_frame(id, ACCEPTOR, Stream::Lane, &frame);
                }
            }
            Output::ToServer { server, worker, frame } => {
                let id = self.router(seat).and_then(|it| it.servers.get(&server)).copied();
                if let Some(id) = id {
                    let stream = Stream::Frames(worker as usize);
                    self.send_bytes(id, DIALLER, stream, gathered(|out| out.push(&frame)));
                }
            }
            Output::Admitted { client, admission } => self.tell_others(seat, client, admission),
            Output::Relink { server } => {
                let id = self.router(seat).and_then(|it| it.servers.get(&server)).copied();
                if let Some(connection) = id {
                    self.schedule(Duration::ZERO, Event::Closed { connection, end: DIALLER });
                }
            }
            Output::CloseSession { session, code, reason } => {
                if code == CloseCode::ProtocolViolation {
                    self.fail(Check::Protocol, format!("a router closes a session: {reason}"));
                }
                let closed = self.router(seat).and_then(|it| it.sessions.remove(&session));
                if let Some(connection) = closed {
                    // What was written last has a moment to arrive.
                    let event = Event::Closed { connection, end: ACCEPTOR };
                    self.schedule(Duration::from_millis(50), event);
                }
            }
            Output::SuspendBody { body } => {
                self.suspend_bodies(seat, |_, passing| passing.body == body);
            }
            Output::AbandonBody { body } => self.abandon_body(seat, body),
        }
    }
}
