//! The table as its users see it.

use super::entry::Entry;
use super::id::{Id, SHARDS};
use super::pointer::{Guard, pin};
use super::shard::Shard;
use crate::wire::ClientId;
use std::fmt;

/// Who services whom: all clients of a process, shared by its workers by reference.
///
/// A read takes the same few steps whatever the writers do, and neither waits, repeats nor
/// allocates. Writers of one client or of one shard may have to try again, but never because
/// another one stands still. A change holds for every read that starts after it has returned, on
/// any thread.
///
/// Reads and writes *pin* the thread (crossbeam's epochs), which keeps what they look at from being
/// freed. A [`Reader`] does that once for many reads, and is what a loop should read through.
pub struct Table {
    shards: Box<[Shard]>,
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::new()).collect() }
    }

    /// Pins the thread for the reads of one turn of a loop. Held for longer, it keeps memory from
    /// being freed that growing shards have left; it never holds up a writer.
    pub fn reader(&self) -> Reader<'_> {
        Reader { table: self, guard: pin() }
    }

    /// What is known of a client. Almost as cheap as [`Reader::get`] while the thread has a reader.
    /// Without one, each call pins, and a call in some hundred frees what others have left.
    pub fn get(&self, client: &ClientId) -> Option<Entry> {
        self.reader().get(client)
    }

    /// Takes an entry whatever is known, and gives what was.
    pub fn set(&self, client: ClientId, entry: Entry) -> Option<Entry> {
        self.update(client, |_| Some(entry)).0
    }

    /// Changes what is known of a client to what `change` makes of it, in one step: no other change
    /// comes between. `None` leaves all as it is. Gives what was known before, and what is after.
    ///
    /// `change` is called again where another writer was faster; the last call counts.
    pub fn update(
        &self,
        client: ClientId,
        change: impl FnMut(Option<Entry>) -> Option<Entry>,
    ) -> (Option<Entry>, Option<Entry>) {
        let (shard, id) = Id::new(&client);
        self.shards[shard].update(id, change)
    }

    /// Forgets a client, and gives what was known.
    pub fn remove(&self, client: &ClientId) -> Option<Entry> {
        self.remove_if(client, |_| true)
    }

    /// Forgets a client if `condition` holds for what is known of it, in one step. Gives what was
    /// removed. `condition` may be called again, as in [`Table::update`].
    pub fn remove_if(
        &self,
        client: &ClientId,
        condition: impl FnMut(Entry) -> bool,
    ) -> Option<Entry> {
        let (shard, id) = Id::new(client);
        self.shards[shard].remove_if(id, condition)
    }

    /// Clients that are known. Those that come or go at this moment may be counted or not.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.size().0).sum()
    }

    /// Whether no client is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that the table holds, without what was replaced and is not freed yet, and
    /// without what the allocator adds.
    pub fn bytes(&self) -> usize {
        let shards: usize = self.shards.iter().map(|shard| shard.size().1).sum();
        size_of::<Self>() + size_of_val(&*self.shards) + shards
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A thread's right to read a [`Table`], for one turn of its loop. It always reads what is there
/// now, never an old picture.
pub struct Reader<'a> {
    table: &'a Table,
    guard: Guard,
}

impl Reader<'_> {
    /// What is known of a client.
    #[inline]
    pub fn get(&self, client: &ClientId) -> Option<Entry> {
        let (shard, id) = Id::new(client);
        self.table.shards[shard].get(id, &self.guard)
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}
