//! What all workers of one router share.

use super::PoolIndex;
use super::pools::MAX_POOLS;
use crate::assign::{Entry, Names, Reader, ServerIndex, Table};
use crate::wire::ClientId;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The assignment table, the names that its entries stand for, and whose turn it is. Every worker's
/// every request reads the table, so that a takeover which one of them decided holds for all.
#[derive(Debug)]
pub struct Shared {
    pub(super) table: Table,
    pub(super) names: Names,
    /// Of each pool, the place of the server that the newest client was given, plus one; zero at
    /// first.
    cursors: [AtomicU32; MAX_POOLS],
    admissions: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            table: Table::default(),
            names: Names::default(),
            cursors: std::array::from_fn(|_| AtomicU32::default()),
            admissions: AtomicU64::default(),
        }
    }
}

impl Shared {
    /// The server that the newest client of a pool was given.
    pub(super) fn last_given(&self, pool: PoolIndex) -> Option<ServerIndex> {
        let cursor = self.cursors[pool].load(Relaxed);
        cursor.checked_sub(1).and_then(|place| ServerIndex::new(place as usize))
    }

    /// Gives `next` the turn after `last`; `false` if another worker was faster.
    pub(super) fn give(
        &self,
        pool: PoolIndex,
        last: Option<ServerIndex>,
        next: ServerIndex,
    ) -> bool {
        let cursor = |place: Option<ServerIndex>| place.map_or(0, |place| place.get() as u32 + 1);
        let (last, next) = (cursor(last), cursor(Some(next)));
        self.cursors[pool].compare_exchange(last, next, Relaxed, Relaxed).is_ok()
    }

    /// A number for a session that is admitted: a later one has a higher number, whichever worker
    /// admits it.
    pub(super) fn next_admission(&self) -> u64 {
        self.admissions.fetch_add(1, Relaxed) + 1
    }

    /// Makes reading the table cheaper for this thread while what it returns lives: for one turn of
    /// a loop.
    pub fn pin(&self) -> Reader<'_> {
        self.table.reader()
    }

    /// What the table knows of a client.
    pub fn entry(&self, client: &ClientId) -> Option<Entry> {
        self.table.get(client)
    }
}
