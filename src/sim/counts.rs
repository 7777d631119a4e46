//! What happened in a story, where that is worth counting.

use super::cluster::World;
use super::network::Host;

/// How often things happened of which a story need not have any, but many stories must have some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Versions that clients got as differences.
    pub deltas: u64,
    /// Slots that clients were told are unchanged, many at once.
    pub batched_unchanged: u64,
    /// Items that clients told servers of, because they had forgotten them.
    pub listed_items: u64,
    /// Items that a server found unchanged, and retrieved whole because their bytes were gone.
    pub retrieved_again: u64,
    /// Answers to clients that speak HTTP, of those that said that nothing changed...
    pub not_modified: u64,
    /// ...and others.
    pub http_answers: u64,
    /// Requests that such clients took back.
    pub taken_back: u64,
}

impl Counts {
    /// Adds what happened in another story.
    pub fn add(&mut self, other: &Self) {
        self.deltas += other.deltas;
        self.batched_unchanged += other.batched_unchanged;
        self.listed_items += other.listed_items;
        self.retrieved_again += other.retrieved_again;
        self.not_modified += other.not_modified;
        self.http_answers += other.http_answers;
        self.taken_back += other.taken_back;
    }
}

impl World {
    /// Adds what the processes counted that run now.
    pub(super) fn count_processes(&mut self) {
        self.hosts().collect::<Vec<_>>().into_iter().for_each(|host| self.count_process(host));
    }

    pub(super) fn count_process(&mut self, host: Host) {
        match host {
            Host::Server(place) => {
                let workers = self.servers[place].workers.iter();
                let unchanged = workers.map(|it| it.machine.view().counters.batched_unchanged);
                self.counts.batched_unchanged += unchanged.sum::<u64>();
            }
            Host::Client(place) => {
                if let Some(machine) = &self.clients[place].machine {
                    let statistics = machine.statistics();
                    self.counts.deltas += statistics.deltas;
                    self.counts.listed_items += statistics.listed_items;
                }
            }
            Host::Router(_) | Host::Caller(_) | Host::Browser(_) => {}
        }
    }
}
