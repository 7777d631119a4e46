//! Who dials whom.

use super::cluster::World;
use super::events::Event;
use super::network::Host;
use std::time::Duration;

impl World {
    /// How many workers dial from a host that runs.
    pub(super) fn workers_of(&self, host: Host) -> usize {
        match host {
            Host::Server(place) => self.servers[place].workers.len(),
            Host::Router(place) => self.routers[place].workers.len(),
            Host::Client(_) | Host::Caller(_) | Host::Browser(_) => 0,
        }
    }

    /// Has every worker dial every server but its own.
    pub(super) fn dial_all_servers(&mut self, from: Host) {
        for place in 0..self.servers.len() {
            for worker in 0..self.workers_of(from) {
                if Host::Server(place) != from {
                    self.schedule_dial(from, worker, Host::Server(place), Duration::ZERO);
                }
            }
        }
    }

    pub(super) fn schedule_dial(&mut self, from: Host, worker: usize, to: Host, delay: Duration) {
        let life = self.life(from);
        self.schedule(delay, Event::Dial { from, life, worker, to });
    }
}
