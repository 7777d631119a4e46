//! What all workers of one server count together.
//!
//! A server's threshold and capacity are of the whole server, and so is its status. Its workers own
//! their clients alone, and share these numbers; they are touched when a client comes or goes,
//! never by a request.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One server's counts. Shared by its workers.
#[derive(Debug, Default)]
pub struct Tally {
    primary_clients: AtomicU64,
    alternate_clients: AtomicU64,
    handed_on_clients: AtomicU64,
    must_served_clients: AtomicU64,
    released_clients: AtomicU64,
    taken_over_clients: AtomicU64,
    handed_over_clients: AtomicU64,
    forgotten_clients: AtomicU64,
    returning_workers: AtomicU64,
    draining_workers: AtomicU64,
    status_sequence: AtomicU64,
}

/// Which count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Clients serviced.
    Primary,
    /// Clients that would be taken over.
    Alternate,
    /// Clients handed on to a second server.
    HandedOn,
    /// Clients taken because they must be served.
    MustServed,
    /// Clients dropped because they had been taken over.
    Released,
    /// Clients taken over from other servers.
    TakenOver,
    /// Clients given to their alternates while the server drained.
    HandedOver,
    /// Clients forgotten because they had asked for nothing for long.
    Forgotten,
    /// Workers that are back after a pause.
    Returning,
    /// Workers that give their clients away.
    Draining,
}

impl Tally {
    /// One number, as it is now.
    pub fn read(&self, count: Count) -> u64 {
        self.of(count).load(Relaxed)
    }

    /// One more.
    pub fn increase(&self, count: Count) {
        self.of(count).fetch_add(1, Relaxed);
    }

    /// Replaces what a worker last said of its own share by what it says now.
    pub fn correct(&self, count: Count, said: u64, now: u64) {
        // Wrapping: what others said stays in the sum.
        self.of(count).fetch_add(now.wrapping_sub(said), Relaxed);
    }

    /// One more client as primary, if there are fewer than `limit`: two workers cannot both take
    /// the last place.
    pub fn take_place(&self, limit: u64) -> bool {
        let more = |count: u64| (count < limit).then_some(count + 1);
        self.primary_clients.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// The number of the next status.
    pub fn next_status(&self) -> u64 {
        self.status_sequence.fetch_add(1, Relaxed) + 1
    }

    fn of(&self, count: Count) -> &AtomicU64 {
        match count {
            Count::Primary => &self.primary_clients,
            Count::Alternate => &self.alternate_clients,
            Count::HandedOn => &self.handed_on_clients,
            Count::MustServed => &self.must_served_clients,
            Count::Released => &self.released_clients,
            Count::TakenOver => &self.taken_over_clients,
            Count::HandedOver => &self.handed_over_clients,
            Count::Forgotten => &self.forgotten_clients,
            Count::Returning => &self.returning_workers,
            Count::Draining => &self.draining_workers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_the_places_and_correct_only_their_own() {
        let tally = Tally::default();
        assert!((0..3).all(|_| tally.take_place(3)) && !tally.take_place(3));
        tally.correct(Count::Primary, 2, 0);
        assert_eq!(tally.read(Count::Primary), 1);
        assert!(tally.take_place(3));
        tally.correct(Count::Alternate, 0, 7);
        tally.correct(Count::Alternate, 7, 5);
        assert_eq!(tally.read(Count::Alternate), 5);
    }
}
