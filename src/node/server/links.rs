//! Sending over links, and what is spoken over them.

use super::{Link, Output, Server};
use crate::wire::backplane::Message;
use crate::wire::session::OLDEST_VERSION;
use crate::wire::{ClientId, Name};

impl Server {
    pub(super) fn send(&mut self, to: &Link, message: Message) {
        self.outputs.push_back(Output::Send { to: to.clone(), message: Box::new(message) });
    }

    /// Sends to the worker that owns the client on another server.
    pub(super) fn send_to_owner(&mut self, name: &Name, client: &ClientId, message: Message) {
        let worker = client.owner(self.workers_of(name));
        self.send(&Link::Server(name.clone(), worker), message);
    }

    /// Sends to all workers of another server.
    pub(super) fn send_to_server(&mut self, name: &Name, message: &Message) {
        for worker in 0..self.workers_of(name) {
            self.send(&Link::Server(name.clone(), worker), message.clone());
        }
    }

    /// The protocol version that is spoken over a link.
    pub(super) fn version_of(&self, link: &Link) -> u64 {
        let known = match link {
            Link::Router(_) => self.routers.get(link).copied(),
            Link::Server(name, _) => Some(self.version_with(name)),
        };
        known.unwrap_or(OLDEST_VERSION)
    }

    /// The protocol version that is spoken with another server.
    pub(super) fn version_with(&self, name: &Name) -> u64 {
        self.peers.get(name).map_or(OLDEST_VERSION, |peer| peer.version)
    }

    pub(super) fn workers_of(&self, name: &Name) -> u64 {
        self.peers.get(name).map_or(1, |peer| peer.workers)
    }
}
