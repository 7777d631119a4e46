//! Which host gets what a connection brings.

use super::cluster::World;
use super::network::{ACCEPTOR, Chunk, ConnectionId, DIALLER, Host, Stream};

impl World {
    /// Hands over all chunks of a stream that have arrived.
    pub(super) fn pump(&mut self, id: ConnectionId, to: usize, stream: Stream) {
        while let Some(connection) = self.connections.get(&id) {
            let host = connection.ends[to].host;
            if let Host::Router(place) = host
                && !self.router_reads(place, id, stream)
            {
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
            (Host::Router(place), Stream::Body(_), chunk) => {
                self.router_body(place, id, stream, chunk);
            }
            (Host::Client(place), Stream::Body(_), Chunk::Finish) => {
                self.client_body(place, id, stream, true);
            }
            (Host::Client(place), Stream::Body(_), Chunk::Reset) => {
                self.client_body(place, id, stream, false);
            }
            (_, _, Chunk::Bytes(bytes)) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.flow(to, stream).received.extend_from_slice(&bytes);
                }
                match (host, stream) {
                    // Taken whole at its end.
                    (Host::Client(_) | Host::Caller(_), Stream::Body(_)) => {}
                    (Host::Server(place), _) => self.server_received(place, id),
                    (Host::Router(place), _) => self.router_received(place, id, to, stream),
                    (Host::Client(place), _) => self.client_received(place, id, stream),
                    (Host::Caller(place), _) => self.caller_received(place, id, stream),
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
            Host::Router(place) => self.router_link_up(place, id, to),
            Host::Client(place) => self.client_connected(place, id),
            Host::Caller(place) => self.caller_connected(place, id),
        }
    }

    /// The acceptor has a new connection.
    pub(super) fn handle_accepted(&mut self, id: ConnectionId, from: Host, to: Host) {
        match to {
            Host::Server(place) => self.server_accepted(place, id, from),
            Host::Router(place) => self.router_accepted(place, id),
            Host::Client(_) | Host::Caller(_) => unreachable!("nobody dials a client"),
        }
    }

    /// An end hears that its connection is gone, or gives it up.
    pub(super) fn handle_closed(&mut self, id: ConnectionId, end: usize) {
        let Some(connection) = self.connections.get(&id).filter(|it| it.ends[end].open) else {
            return;
        };
        let (own, peer) = (connection.ends[end].host, connection.ends[1 - end].host);
        self.trace.line(self.now, || format!("{own:?} lost connection {id} to {peer:?}"));
        self.give_up(id, end);
        match own {
            Host::Server(place) => self.server_lost(place, id, end, peer),
            Host::Router(place) => self.router_lost(place, id, end, peer),
            Host::Client(place) => self.client_lost(place, id),
            Host::Caller(place) => self.caller_lost(place, id),
        }
        debug_assert!(end == DIALLER || end == ACCEPTOR);
    }
}
