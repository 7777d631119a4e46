//! Servers as hosts: what their shell does, on virtual time.

use super::checks::Check;
use super::cluster::World;
use super::events::Event;
use super::network::{ACCEPTOR, Chunk, ConnectionId, DIALLER, Host, Stream};
use super::source::State;
use crate::mirror::Version;
use crate::node::server::{Link, Output, Retrieved, Server, ServerConfig, unmirrored_trailer};
use crate::wire::backplane::Message;
use crate::wire::lane::BodyStart;
use crate::wire::{Key, Name};
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
    pub(super) machine: Option<Server>,
    /// Where messages to a link go.
    outgoing: BTreeMap<Link, ConnectionId>,
    /// Whose messages come over an accepted connection.
    incoming: BTreeMap<ConnectionId, Link>,
    next_router: u64,
    /// Unmirrored items that the source has open.
    opened: BTreeMap<u64, Arc<Version>>,
}

impl ServerProcess {
    /// The process is gone, and all it knew.
    pub(super) fn stop(&mut self) {
        self.machine = None;
        self.outgoing.clear();
        self.incoming.clear();
        self.opened.clear();
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
            machine: None,
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            next_router: 0,
            opened: BTreeMap::new(),
        });
        let added = Host::Server(place);
        self.start(added);
        let others: Vec<_> = self.hosts().filter(|host| *host != added).collect();
        for from in others {
            if matches!(from, Host::Server(_) | Host::Router(_)) && self.is_running(from) {
                self.schedule_dial(from, added, Duration::ZERO);
            }
        }
    }

    pub(super) fn start_server(&mut self, place: usize) {
        let process = &mut self.servers[place];
        let config = ServerConfig {
            name: process.name.clone(),
            zone: process.zone.clone(),
            threshold: self.plan.threshold,
            capacity: self.plan.capacity,
            slots: SERVER_SLOTS,
            memory: self.plan.server_memory,
            incarnation: self.now.as_micros(),
            pid: 0,
            admin: String::new(),
            planted: self.planted,
        };
        process.machine = Some(Server::new(config));
        self.dial_all_servers(Host::Server(place));
        self.with_server(place, |_, _| {});
    }

    /// Dials every server but itself.
    pub(super) fn dial_all_servers(&mut self, from: Host) {
        for place in 0..self.servers.len() {
            if Host::Server(place) != from {
                self.schedule_dial(from, Host::Server(place), Duration::ZERO);
            }
        }
    }

    pub(super) fn schedule_dial(&mut self, from: Host, to: Host, delay: Duration) {
        let life = self.life(from);
        self.schedule(delay, Event::Dial { from, life, to });
    }

    pub(super) fn dial_server(&mut self, from: Host, to: Host) {
        self.dial(from, to);
    }

    /// Gives the machine an input, then carries out what it wants done, then looks at it.
    pub(super) fn with_server(
        &mut self,
        place: usize,
        input: impl FnOnce(&mut Server, crate::wire::Time),
    ) {
        let now = self.now;
        let Some(machine) = self.servers[place].machine.as_mut() else {
            return;
        };
        input(machine, now);
        while let Some(output) = self.servers[place].machine.as_mut().and_then(Server::poll_output)
        {
            self.carry_out_of_server(place, output);
        }
        let Some(machine) = self.servers[place].machine.as_ref() else {
            return;
        };
        let due = machine.poll_timeout();
        self.check_server(place);
        self.arm(Host::Server(place), due);
    }

    pub(super) fn turn_server(&mut self, place: usize) {
        self.with_server(place, |machine, now| {
            if machine.poll_timeout() <= now {
                machine.handle_timeout(now);
            }
        });
    }

    /// The link that this server dialled stands.
    pub(super) fn server_link_up(&mut self, place: usize, id: ConnectionId, to: Host) {
        let Host::Server(peer) = to else {
            return;
        };
        let link = Link::Server(self.servers[peer].name.clone());
        self.servers[place].outgoing.insert(link.clone(), id);
        self.with_server(place, |machine, now| machine.handle_link_up(now, &link));
    }

    /// Somebody dialled this server.
    pub(super) fn server_accepted(&mut self, place: usize, id: ConnectionId, from: Host) {
        let process = &mut self.servers[place];
        match from {
            Host::Server(peer) => {
                let link = Link::Server(self.servers[peer].name.clone());
                self.servers[place].incoming.insert(id, link);
            }
            _ => {
                process.next_router += 1;
                let link = Link::Router(process.next_router);
                process.incoming.insert(id, link.clone());
                process.outgoing.insert(link.clone(), id);
                self.with_server(place, |machine, now| machine.handle_link_up(now, &link));
            }
        }
    }

    pub(super) fn server_lost(&mut self, place: usize, id: ConnectionId, end: usize, peer: Host) {
        if end == DIALLER {
            self.schedule_dial(Host::Server(place), peer, super::network::REDIAL_DELAY);
        }
        let process = &mut self.servers[place];
        process.incoming.remove(&id);
        let Some((link, _)) = process.outgoing.iter().find(|(_, connection)| **connection == id)
        else {
            return;
        };
        let link = link.clone();
        process.outgoing.remove(&link);
        self.with_server(place, |machine, now| machine.handle_link_down(now, &link));
    }

    pub(super) fn server_received(&mut self, place: usize, id: ConnectionId) {
        while let Some(frame) =
            self.connections.get_mut(&id).and_then(|it| it.next_frame(ACCEPTOR, Stream::First))
        {
            let Some(link) = self.servers[place].incoming.get(&id).cloned() else {
                return;
            };
            let message = match Message::decode(&frame) {
                Ok(message) => message,
                Err(error) => return self.fail(Check::Codec, format!("{frame:?}: {error}")),
            };
            self.trace.bytes(frame.bytes());
            self.trace.got(self.now, &self.servers[place].name, &link, &message);
            let client = self.note_delivery(place, &link, &message);
            self.with_server(place, |machine, now| machine.handle_message(now, &link, message));
            if let Some(client) = client {
                self.check_mirror(place, &client);
            }
        }
    }

    fn carry_out_of_server(&mut self, place: usize, output: Output) {
        match output {
            Output::Send { to, message } => {
                self.note_answer(place, &to, &message);
                let Some(id) = self.servers[place].outgoing.get(&to).copied() else {
                    return;
                };
                let from = if matches!(to, Link::Router(_)) { ACCEPTOR } else { DIALLER };
                self.send_frame(id, from, Stream::First, &message.encode());
            }
            Output::SendBody { to, request_id, version } => {
                self.send_body(place, &to, request_id, version.body(), Bytes::new());
            }
            Output::SendUnmirrored { to, request_id, key, ticket } => {
                if let Some(version) = self.servers[place].opened.remove(&ticket) {
                    let trailer = unmirrored_trailer(&key, &version.fingerprint().digest);
                    self.send_body(place, &to, request_id, version.body(), trailer);
                }
            }
            Output::Retrieve { ticket, key, known } => {
                let host = Host::Server(place);
                let (life, most) = (self.life(host), self.plan.source_ms);
                let delay = self.between(0, most);
                self.schedule(delay, Event::Look { host, life, ticket, key, known });
            }
        }
    }

    /// Sends a body on a stream of its own; now and then it breaks off.
    fn send_body(
        &mut self,
        place: usize,
        to: &Link,
        request_id: u64,
        body: &Bytes,
        trailer: Bytes,
    ) {
        let Some(id) = self.servers[place].outgoing.get(to).copied() else {
            return;
        };
        let stream = Stream::Body(self.fresh_number());
        let start = BodyStart { request_id, offset: 0 }.encode();
        self.send_frame(id, ACCEPTOR, stream, &start);
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
        ticket: u64,
        key: &Key,
        known: Option<&Version>,
    ) {
        let now = self.now;
        let Host::Server(place) = host else {
            return;
        };
        let unmirrored = self.source.kind(key) == super::source::Kind::Unmirrored;
        let retrieved = match self.source.look(key, now) {
            State::Present(version) if unmirrored => {
                let headers = version.headers().clone();
                let length = version.body().len() as u64;
                self.servers[place].opened.insert(ticket, version);
                Retrieved::Unmirrored { headers, length }
            }
            State::Present(version) => {
                let digest = version.fingerprint().digest;
                let same = known.is_some_and(|known| known.fingerprint().digest == digest);
                // A source may also not notice that nothing changed.
                if same && self.random.random_bool(0.8) {
                    Retrieved::Unchanged
                } else {
                    Retrieved::Version(version)
                }
            }
            State::Absent => Retrieved::NotFound,
            State::Refused => Retrieved::Refused("nobody may read it".into()),
            State::Failing => Retrieved::Failed("it cannot be read now".into()),
        };
        let life = self.life(host);
        let delay = self.between(0, self.plan.source_ms);
        self.schedule(delay, Event::Retrieved { host, life, ticket, retrieved });
    }

    pub(super) fn hand_in_retrieved(&mut self, host: Host, ticket: u64, retrieved: Retrieved) {
        let Host::Server(place) = host else {
            return;
        };
        self.trace.got(self.now, &self.servers[place].name, "source", &(ticket, &retrieved));
        self.with_server(place, |machine, now| machine.handle_retrieved(now, ticket, retrieved));
        // Left over if the machine had no more use for it.
        self.servers[place].opened.remove(&ticket);
    }
}
