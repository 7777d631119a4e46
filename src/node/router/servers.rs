//! What a router knows of the life of each server, by its place in the table's list of names.

use crate::assign::ServerIndex;
use crate::wire::Time;

/// What a router thinks of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    /// It answers.
    Healthy,
    /// It has been silent for a moment.
    Suspect,
    /// It is gone, or silent for too long.
    Down,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    /// Whether there are connections to all of its workers.
    pub(super) linked: bool,
    pub(super) state: HealthState,
    /// The protocol version that is spoken with it.
    pub(super) version: u64,
    /// When each of its workers was last heard of.
    pub(super) heard: Vec<Time>,
}

impl Server {
    /// When the worker that has been silent for the longest time was last heard of.
    pub(super) fn last_heard(&self) -> Time {
        self.heard.iter().copied().min().unwrap_or_default()
    }
}

/// All servers that this worker was ever linked to.
#[derive(Debug, Default)]
pub(super) struct Servers(Vec<Option<Server>>);

impl Servers {
    /// A server's connections were made.
    pub(super) fn link(&mut self, server: ServerIndex, workers: u64, version: u64, now: Time) {
        if self.0.len() <= server.get() {
            self.0.resize_with(server.get() + 1, || None);
        }
        let heard = vec![now; usize::try_from(workers.max(1)).unwrap_or(1)];
        let state = HealthState::Healthy;
        self.0[server.get()] = Some(Server { linked: true, state, version, heard });
    }

    pub(super) fn get(&self, server: ServerIndex) -> Option<&Server> {
        self.0.get(server.get())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, server: ServerIndex) -> Option<&mut Server> {
        self.0.get_mut(server.get())?.as_mut()
    }

    /// Whether a server can be asked.
    pub(super) fn is_usable(&self, server: ServerIndex) -> bool {
        self.get(server).is_some_and(|server| server.state != HealthState::Down)
    }

    /// How many workers a server had when it was last linked.
    pub(super) fn workers(&self, server: ServerIndex) -> u64 {
        self.get(server).map_or(1, |server| server.heard.len() as u64)
    }

    /// All of them, by their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ServerIndex, &Server)> {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(place, server)| Some((ServerIndex::new(place)?, server.as_ref()?)))
    }

    /// All of them, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ServerIndex, &mut Server)> {
        self.0
            .iter_mut()
            .enumerate()
            .filter_map(|(place, server)| Some((ServerIndex::new(place)?, server.as_mut()?)))
    }
}
