//! A client's disk: what the machine wrote, in order, of which a crash may lose the end.

use crate::node::client::{Item, Saved, SavedItem};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Writes that a crash may still lose.
const LOSABLE: usize = 8;

#[derive(Clone, Debug)]
enum Write {
    Store(u32, Item),
    Remove(u32),
    Token(Bytes),
}

#[derive(Clone, Debug, Default)]
struct Contents {
    token: Option<Bytes>,
    /// With the number of the write, which is the order of use.
    items: BTreeMap<u32, (u64, Item)>,
    writes: u64,
}

impl Contents {
    fn apply(&mut self, write: Write) {
        self.writes += 1;
        match write {
            Write::Store(slot, item) => drop(self.items.insert(slot, (self.writes, item))),
            Write::Remove(slot) => drop(self.items.remove(&slot)),
            Write::Token(token) => self.token = Some(token),
        }
    }
}

/// A disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    settled: Contents,
    recent: Vec<Write>,
    all: Contents,
}

impl Disk {
    fn write(&mut self, write: Write) {
        self.all.apply(write.clone());
        self.recent.push(write);
        if self.recent.len() > LOSABLE {
            self.settled.apply(self.recent.remove(0));
        }
    }

    pub(super) fn store(&mut self, slot: u32, item: Item) {
        self.write(Write::Store(slot, item));
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.write(Write::Remove(slot));
    }

    pub(super) fn set_token(&mut self, token: Bytes) {
        self.write(Write::Token(token));
    }

    /// A crash: the last writes never reached the disk.
    pub(super) fn lose_tail(&mut self, writes: usize) {
        self.recent.truncate(self.recent.len().saturating_sub(writes));
        self.all = self.settled.clone();
        for write in &self.recent {
            self.all.apply(write.clone());
        }
    }

    /// The bytes in a slot.
    pub(super) fn read(&self, slot: u32) -> Option<Bytes> {
        self.all.items.get(&slot).map(|(_, item)| item.bytes.clone())
    }

    /// What a process that starts finds.
    pub(super) fn saved(&self) -> Saved {
        let mut items: Vec<_> = self.all.items.iter().collect();
        items.sort_by_key(|(_, (written, _))| *written);
        let saved = |(slot, (_, item)): (&u32, &(u64, Item))| SavedItem {
            slot: *slot,
            key: item.key.clone(),
            headers: item.headers.clone(),
            fingerprint: item.fingerprint,
        };
        Saved { token: self.all.token.clone(), items: items.into_iter().map(saved).collect() }
    }
}
