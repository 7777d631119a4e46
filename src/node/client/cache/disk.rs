//! What of the cache is on disk too, and may therefore leave memory. What cannot be written has no
//! other place than memory, and so no more of it is kept than memory is allowed.

use super::{Cache, Held, Slot, cost};
use crate::node::client::types::{Output, SavedItem};
use crate::wire::Tag;
use crate::wire::types::fingerprint;
use bytes::Bytes;
use std::collections::VecDeque;

/// Whether an item is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnDisk {
    /// It is on its way there.
    NotYet,
    Yes,
    /// It could not be written.
    Never,
}

impl Held {
    /// Whether its bytes are in memory and need not be.
    pub(super) fn is_droppable(&self) -> bool {
        self.on_disk != OnDisk::NotYet && self.bytes.is_some()
    }
}

impl Cache {
    /// Takes over an item that is on disk. A slot at or above `max_slots`, or one that is taken, is
    /// refused; a key that comes twice stays where it comes last.
    pub(in crate::node::client) fn restore(
        &mut self,
        saved: SavedItem,
        max_slots: u64,
        out: &mut VecDeque<Output>,
    ) {
        let SavedItem { slot: number, key, headers, fingerprint } = saved;
        let cost = cost(&key, &headers, &fingerprint);
        if u64::from(number) >= max_slots || cost > self.max_cost {
            return self.emit_removed(number, out);
        }
        while self.slots.len() <= number as usize {
            self.free.insert(self.slots.len() as u32);
            self.slots.push(Slot::default());
        }
        if !self.free.remove(&number) {
            return;
        }
        if let Some(older) = self.by_key.get(&key).copied() {
            self.evict(older, out);
            self.free.insert(older);
        }
        self.make_room(cost, out);
        let tag = key.tag(&fingerprint.digest);
        let held = Held { headers, fingerprint, tag, bytes: None, on_disk: OnDisk::Yes, cost };
        self.by_key.insert(key.clone(), number);
        self.cost += cost;
        let slot = &mut self.slots[number as usize];
        (slot.key, slot.held, slot.asked) = (Some(key), Some(held), true);
        self.rest(number);
    }

    /// Takes the bytes of an item off the disk, if they are what they should be; otherwise the item
    /// is dropped.
    pub(in crate::node::client) fn loaded(
        &mut self,
        number: u32,
        bytes: Option<Bytes>,
        out: &mut VecDeque<Output>,
    ) -> bool {
        let Some(held) = self.slots[number as usize].held.as_mut() else {
            return false;
        };
        let sound = bytes.filter(|bytes| {
            let found = fingerprint(held.headers.as_bytes(), bytes);
            found == held.fingerprint
        });
        let Some(bytes) = sound else {
            self.discard(number, out);
            return false;
        };
        self.memory += bytes.len() as u64;
        held.bytes = Some(bytes);
        self.trim_memory(out);
        true
    }

    /// Learns that a version is on disk, or that it could not be written.
    pub(in crate::node::client) fn written(
        &mut self,
        number: u32,
        tag: Tag,
        on_disk: bool,
        out: &mut VecDeque<Output>,
    ) {
        let Some(slot) = self.slots.get_mut(number as usize) else {
            return;
        };
        let Some(held) = slot.held.as_mut().filter(|held| held.tag == tag) else {
            return;
        };
        held.on_disk = if on_disk { OnDisk::Yes } else { OnDisk::Never };
        if slot.request.is_none() && held.is_droppable() {
            self.droppable.insert(slot.rank, number);
        }
        self.trim_memory(out);
    }

    /// Lets go of bytes that are on disk too, and of whole items that cannot be there.
    pub(in crate::node::client) fn trim_memory(&mut self, out: &mut VecDeque<Output>) {
        while self.memory > self.max_memory {
            let Some((_, number)) = self.droppable.pop_first() else {
                return;
            };
            let held = self.slots[number as usize].held.as_mut();
            let held = held.expect("what is droppable is there");
            if held.on_disk == OnDisk::Never {
                self.evict(number, out);
                self.free.insert(number);
                continue;
            }
            let bytes = held.bytes.take().expect("what is droppable is in memory");
            self.memory -= bytes.len() as u64;
        }
    }
}
