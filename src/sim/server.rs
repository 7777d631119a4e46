//! Servers as hosts: what their shell does, on virtual time.

use super::checks::Check;
use super::cluster::World;
use super::events::Event;
use super::network::{ACCEPTOR, ConnectionId, DIALLER, Host, REDIAL_DELAY, Seat, Stream, gathered};
use super::origin::OpenExchange;
use crate::cluster::Tally;
use crate::mirror::Version;
use crate::node::server::{Link, Output, Server, ServerConfig, unmirrored_trailer};
use crate::wire::backplane::{Message, gather_reply, use_cached_frame};
use crate::wire::gather::Gather;
use crate::wire::lane::BodyStart;
use crate::wire::{Name, Time};
use bytes::Bytes;
use rand::RngExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Slots that a server lets a client use: more than any router here does.
const SERVER_SLOTS: u64 = 100;

/// A server's process.
pub(super) struct ServerProcess {
    pub(super) name: Name,
    zone: Option<Name>,
    pub(super) tally: Arc<Tally>,
    /// None while it does not run.
    pub(super) workers: Vec<ServerWorker>,
    next_router: u64,
}

/// One of its workers.
pub(super) struct ServerWorker {
    pub(super) machine: Server,
    /// Where messages to a link go.
    pub(super) outgoing: BTreeMap<Link, (ConnectionId, Stream)>,
    /// Whose messages come over an accepted connection.
    incoming: BTreeMap<ConnectionId, Link>,
    /// Unmirrored items that the source has open.
    pub(super) opened: BTreeMap<u64, Arc<Version>>,
    /// What an origin is asked, and content that it has open.
    pub(super) exchanges: BTreeMap<u64, OpenExchange>,
    pub(super) contents: BTreeMap<u64, Bytes>,
}

impl ServerProcess {
    /// The process is gone, and all it knew.
    pub(super) fn stop(&mut self) {
        self.workers.clear();
        self.tally = Arc::default();
    }
}

impl World {
    /// Adds a server to the cluster, and starts it.
    pub(super) fn add_server(&mut self) {
        let place = self.servers.len();
        let name = Name::new(&format!("server-{}", place + 1)).expect("a name");
        let zone = self.plan.zones.then(|| ["a", "b"][place % 2]);
        self.servers.push(ServerProcess {
            name,
            zone: zone.map(|zone| Name::new(zone).expect("a name")),
            tally: Arc::default(),
            workers: Vec::new(),
            next_router: 0,
        });
        let added = Host::Server(place);
        self.start(added);
        let others: Vec<_> = self.hosts().filter(|host| *host != added).collect();
        for from in others {
            for worker in 0..self.workers_of(from) {
                self.schedule_dial(from, worker, added, Duration::ZERO);
            }
        }
    }

    pub(super) fn start_server(&mut self, place: usize) {
        let workers = self.draw_workers();
        for worker in 0..workers {
            let process = &mut self.servers[place];
            let config = ServerConfig {
                name: process.name.clone(),
                worker: worker as u64,
                workers: workers as u64,
                zone: process.zone.clone(),
                threshold: self.plan.threshold,
                capacity: self.plan.capacity,
                slots: SERVER_SLOTS,
                passes_http: self.plan.origin,
                memory: self.plan.server_memory,
                client_idle_timeout: self.plan.client_idle_timeout,
                rebuild_batch: self.plan.rebuild_batch,
                incarnation: self.now.as_micros(),
                pid: 0,
                admin: String::new(),
                planted: self.planted,
            };
            process.workers.push(ServerWorker {
                machine: Server::new(config, Arc::clone(&process.tally)),
                outgoing: BTreeMap::new(),
                incoming: BTreeMap::new(),
                opened: BTreeMap::new(),
                exchanges: BTreeMap::new(),
                contents: BTreeMap::new(),
            });
        }
        self.dial_all_servers(Host::Server(place));
        for worker in 0..workers {
            self.with_server((place, worker), |_, _| {});
        }
    }

    /// How many workers a process has that starts now.
    pub(super) fn draw_workers(&mut self) -> usize {
        self.random.random_range(1..=self.plan.most_workers)
    }

    fn server(&mut self, (place, worker): Seat) -> Option<&mut ServerWorker> {
        self.servers[place].workers.get_mut(worker)
    }

    /// Gives a machine an input, then carries out what it wants done, then looks at it.
    pub(super) fn with_server(&mut self, seat: Seat, input: impl FnOnce(&mut Server, Time)) {
        let now = self.now;
        let Some(process) = self.server(seat) else {
            return;
        };
        input(&mut process.machine, now);
        while let Some(output) = self.server(seat).and_then(|it| it.machine.poll_output()) {
            self.carry_out_of_server(seat, output);
        }
        let Some(process) = self.server(seat) else {
            return;
        };
        let due = process.machine.poll_timeout();
        self.check_server(seat);
        self.arm(Host::Server(seat.0), seat.1, due);
    }

    pub(super) fn turn_server(&mut self, seat: Seat) {
        self.with_server(seat, |machine, now| {
            if machine.poll_timeout() <= now {
                machine.handle_timeout(now);
            }
        });
    }

    /// The links that a worker of this server dialled stand.
    pub(super) fn server_link_up(&mut self, place: usize, id: ConnectionId, to: Host) {
        let (Host::Server(peer), Some(connection)) = (to, self.connections.get(&id)) else {
            return;
        };
        let (seat, workers) = ((place, connection.ends[DIALLER].worker), connection.workers);
        let version = connection.version;
        let name = self.servers[peer].name.clone();
        let Some(process) = self.server(seat) else {
            return;
        };
        for worker in 0..workers {
            let link = Link::Server(name.clone(), worker as u64);
            process.outgoing.insert(link, (id, Stream::Frames(worker)));
        }
        self.with_server(seat, |machine, now| {
            machine.handle_peer_up(now, &name, workers as u64, version);
        });
    }

    /// Somebody dialled this server.
    pub(super) fn server_accepted(&mut self, place: usize, id: ConnectionId, from: Host) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (dialler, told) = (connection.ends[DIALLER].worker as u64, connection.workers);
        let version = connection.version;
        if let Host::Server(peer) = from {
            let link = Link::Server(self.servers[peer].name.clone(), dialler);
            for process in &mut self.servers[place].workers {
                process.incoming.insert(id, link.clone());
            }
            return;
        }
        // A router links to the workers that it knows of.
        for worker in 0..told {
            let process = &mut self.servers[place];
            process.next_router += 1;
            let link = Link::Router(process.next_router);
            process.workers[worker].incoming.insert(id, link.clone());
            let stream = Stream::Frames(worker);
            process.workers[worker].outgoing.insert(link.clone(), (id, stream));
            self.with_server((place, worker), |machine, now| {
                machine.handle_router_up(now, &link, version);
            });
        }
    }

    pub(super) fn server_lost(&mut self, seat: Seat, id: ConnectionId, end: usize, peer: Host) {
        let (place, worker) = seat;
        if end == ACCEPTOR {
            for worker in 0..self.servers[place].workers.len() {
                self.lose_incoming((place, worker), id);
            }
            return;
        }
        self.schedule_dial(Host::Server(place), worker, peer, REDIAL_DELAY);
        let (Host::Server(peer), Some(process)) = (peer, self.server(seat)) else {
            return;
        };
        let before = process.outgoing.len();
        process.outgoing.retain(|_, (connection, _)| *connection != id);
        if process.outgoing.len() < before {
            let name = self.servers[peer].name.clone();
            self.with_server(seat, |machine, now| machine.handle_peer_down(now, &name));
        }
    }

    fn lose_incoming(&mut self, seat: Seat, id: ConnectionId) {
        let Some(process) = self.server(seat) else {
            return;
        };
        let link = process.incoming.remove(&id);
        if let Some(link @ Link::Router(_)) = link {
            process.outgoing.remove(&link);
            self.with_server(seat, |machine, now| machine.handle_router_down(now, &link));
        }
    }

    pub(super) fn server_received(&mut self, place: usize, worker: usize, id: ConnectionId) {
        let (seat, stream) = ((place, worker), Stream::Frames(worker));
        while let Some(frame) =
            self.connections.get_mut(&id).and_then(|it| it.next_frame(ACCEPTOR, stream))
        {
            let Some(link) = self.server(seat).and_then(|it| it.incoming.get(&id)).cloned() else {
                return;
            };
            let message = match Message::decode(&frame) {
                Ok(message) => message,
                Err(error) => return self.fail(Check::Codec, format!("{frame:?}: {error}")),
            };
            self.check_version(id, &message);
            self.trace.bytes(frame.bytes());
            let who = (&self.servers[place].name, worker);
            self.trace.got(self.now, who, &link, &message);
            let client = match &message {
                Message::Forward(forward) => Some(forward.client),
                Message::Mirror { client, .. } => Some(*client),
                _ => None,
            };
            self.with_server(seat, |machine, now| machine.handle_message(now, &link, message));
            if let Some(client) = client {
                self.check_mirror(seat, &client);
            }
        }
    }

    fn carry_out_of_server(&mut self, seat: Seat, output: Output) {
        match output {
            Output::Compress { coding, .. } => {
                // Nothing in the simulation is worth it.
                self.with_server(seat, |machine, now| {
                    machine.handle_compressed(now, coding, None);
                });
            }
            Output::Exchange { ticket, request, known, shared, .. } => {
                self.give_exchange(seat, ticket, (request, known, shared));
            }
            Output::CancelExchange { ticket } => self.drop_exchange(seat, ticket),
            Output::SendOpen { to, request_id, ticket } => {
                self.send_open(seat, &to, request_id, ticket);
            }
            Output::Send { to, message } => {
                self.send_to_link(seat, &to, |out| message.gather(out));
            }
            Output::UseCached { to, request_id, by, inner_id, tag } => {
                let frame = use_cached_frame(request_id, by, inner_id, &tag);
                self.send_to_link(seat, &to, |out| out.push(&frame));
            }
            Output::Reply { to, request_id, assignment, by, reply } => {
                self.send_to_link(seat, &to, |out| {
                    gather_reply(out, request_id, assignment.as_deref(), by, &reply);
                });
            }
            Output::SendBody { to, request_id, offset, pieces } => {
                let start = BodyStart { request_id, offset };
                self.send_body(seat, &to, start, &pieces.concat().into(), Bytes::new());
            }
            Output::Differ { pair, old, new } => self.make_difference(seat, pair, &old, &new),
            Output::Call { ticket, request } => self.give_call(seat, ticket, &request),
            Output::SendUnmirrored { to, request_id, key, ticket } => {
                let opened = self.server(seat).and_then(|it| it.opened.remove(&ticket));
                if let Some(version) = opened {
                    let trailer = unmirrored_trailer(&key, &version.fingerprint().digest);
                    let start = BodyStart { request_id, offset: 0 };
                    self.send_body(seat, &to, start, version.body(), trailer);
                }
            }
            Output::Retrieve { ticket, key, known } => {
                let again = self.tells_unchanged && known.is_none();
                self.counts.retrieved_again += u64::from(again);
                let (host, worker) = (Host::Server(seat.0), seat.1);
                let (life, most) = (self.life(host), self.plan.source_ms);
                let delay = self.between(0, most);
                self.schedule(delay, Event::Look { host, life, worker, ticket, key, known });
            }
        }
    }

    fn send_to_link(&mut self, seat: Seat, to: &Link, fill: impl FnOnce(&mut Gather)) {
        let outgoing = self.server(seat).and_then(|it| it.outgoing.get(to));
        if let Some((id, stream)) = outgoing.copied() {
            let from = if matches!(to, Link::Router(_)) { ACCEPTOR } else { DIALLER };
            self.send_bytes(id, from, stream, gathered(fill));
        }
    }
}
