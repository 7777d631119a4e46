//! What the client holds: items in numbered slots.
//!
//! A key is bound to a slot when it is first asked for, and the first request tells the server so.
//! Giving the slot to another key *is* the eviction, which the mirrors see in the same frame. So
//! the cache has no more to agree with anybody than its own numbering, dense from 0.
//!
//! A slot is busy while a request for it is on its way, else idle (it holds an item, and may be
//! evicted) or free (nothing, and no key is bound to it). Which idle slot goes first: see `order`.
//! What has been written to disk may leave memory before it is evicted: see `disk`.

mod disk;
mod order;
mod view;

use super::types::{Item, Output};
use crate::wire::{Digest, Fingerprint, HeaderBlock, Key, Tag};
use bytes::Bytes;
use disk::OnDisk;
use hashbrown::HashMap;
use order::Rank;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What an item costs beside its bytes: its place in the cache, its file's header.
const ITEM_OVERHEAD: u64 = 128;

/// The digest of no version, by which a client says that it holds none: the item comes whole.
pub(super) const HOLDS_NOTHING: Digest = Digest([0; 16]);

/// An item that the client holds.
pub(super) struct Held {
    pub(super) headers: HeaderBlock,
    pub(super) fingerprint: Fingerprint,
    /// Computed from the client's own key and its own bytes' digest, never taken from a reply.
    pub(super) tag: Tag,
    /// Not there while the item is on disk only.
    pub(super) bytes: Option<Bytes>,
    on_disk: OnDisk,
    cost: u64,
}

/// A numbered place.
#[derive(Default)]
pub(super) struct Slot {
    /// The key that was bound last; stays when the slot is freed.
    key: Option<Key>,
    held: Option<Held>,
    /// The request that makes the slot busy.
    request: Option<usize>,
    rank: Rank,
    /// The session in which the server last showed that it knows the slot's key.
    named_in: u64,
    /// The session in which the server last confirmed the version that is held.
    confirmed_in: u64,
    /// Whether the key was asked for in this slot, so that a mirror may have a version of it.
    asked: bool,
}

/// What of the cache may be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Slots are numbered below this.
    pub(super) slots: u64,
    /// Whether a slot may change its key.
    pub(super) may_evict: bool,
}

pub(super) struct Cache {
    slots: Vec<Slot>,
    by_key: HashMap<Key, u32>,
    free: BTreeSet<u32>,
    /// Idle slots, those that go first in front.
    idle: BTreeMap<Rank, u32>,
    /// Those of them whose bytes are in memory and need not be: they are on disk, or cannot be.
    droppable: BTreeMap<Rank, u32>,
    uses: u64,
    cost: u64,
    /// What of it belongs to items that were asked for again.
    often_cost: u64,
    memory: u64,
    evictions: u64,
    max_cost: u64,
    max_memory: u64,
    persist: bool,
}

impl Cache {
    pub(super) fn new(max_cost: u64, max_memory: u64, persist: bool) -> Self {
        Self {
            slots: Vec::new(),
            by_key: HashMap::new(),
            free: BTreeSet::new(),
            idle: BTreeMap::new(),
            droppable: BTreeMap::new(),
            uses: 0,
            cost: 0,
            often_cost: 0,
            memory: 0,
            evictions: 0,
            max_cost,
            max_memory,
            persist,
        }
    }

    /// Binds a key to a slot, or finds the one it is bound to, and makes it busy. `None` where
    /// there is no room.
    pub(super) fn bind(
        &mut self,
        key: &Key,
        request: usize,
        room: Room,
        out: &mut VecDeque<Output>,
    ) -> Option<u32> {
        let number = match self.by_key.get(key) {
            Some(number) if u64::from(*number) < room.slots => *number,
            Some(_) => return None,
            None => {
                let number = self.vacancy(room, out)?;
                let slot = &mut self.slots[number as usize];
                if slot.key.as_ref() != Some(key) {
                    *slot = Slot { key: Some(key.clone()), ..Slot::default() };
                }
                self.by_key.insert(key.clone(), number);
                number
            }
        };
        let slot = &mut self.slots[number as usize];
        assert!(slot.request.is_none(), "slot {number} has a request already");
        slot.request = Some(request);
        self.idle.remove(&slot.rank);
        self.droppable.remove(&slot.rank);
        self.note_use(number);
        Some(number)
    }

    /// A slot that no key is bound to.
    fn vacancy(&mut self, room: Room, out: &mut VecDeque<Output>) -> Option<u32> {
        if let Some(number) = self.free.first().copied().filter(|n| u64::from(*n) < room.slots) {
            self.free.remove(&number);
            return Some(number);
        }
        if (self.slots.len() as u64) < room.slots {
            self.slots.push(Slot::default());
            return Some(self.slots.len() as u32 - 1);
        }
        if !room.may_evict {
            return None;
        }
        let number = *self.idle.first_key_value()?.1;
        self.evict(number, out);
        Some(number)
    }

    /// Ends the request of a slot.
    pub(super) fn release(&mut self, number: u32, out: &mut VecDeque<Output>) {
        let slot = &mut self.slots[number as usize];
        assert!(slot.request.take().is_some(), "slot {number} is released once");
        if slot.held.is_some() {
            self.rest(number);
            self.trim_memory(out);
        } else {
            let key = slot.key.as_ref().expect("a busy slot has a key");
            self.by_key.remove(key);
            self.forget_often(number);
            self.free.insert(number);
        }
    }

    /// Keeps an item in a busy slot, if it fits at all.
    pub(super) fn store(
        &mut self,
        number: u32,
        (headers, bytes): (&HeaderBlock, &Bytes),
        (fingerprint, tag): (Fingerprint, Tag),
        out: &mut VecDeque<Output>,
    ) {
        let key = self.key(number).clone();
        let cost = cost(&key, headers, &fingerprint);
        self.forget_item(number);
        self.make_room(cost, out);
        if self.cost + cost > self.max_cost {
            return self.emit_removed(number, out);
        }
        let held = Held {
            headers: headers.clone(),
            fingerprint,
            tag,
            bytes: Some(bytes.clone()),
            on_disk: OnDisk::NotYet,
            cost,
        };
        self.cost += cost;
        self.memory += bytes.len() as u64;
        self.slots[number as usize].held = Some(held);
        self.often_cost += if self.slots[number as usize].rank.often { cost } else { 0 };
        self.trim_memory(out);
        if self.persist {
            let (headers, bytes) = (headers.clone(), bytes.clone());
            let item = Item { key, headers, fingerprint, bytes };
            out.push_back(Output::Stored { slot: number, item });
        }
    }

    /// Drops the item of a busy slot.
    pub(super) fn discard(&mut self, number: u32, out: &mut VecDeque<Output>) {
        if self.forget_item(number) {
            self.emit_removed(number, out);
        }
    }

    /// Frees slots in their order until so much more fits; or none is left.
    fn make_room(&mut self, cost: u64, out: &mut VecDeque<Output>) {
        if cost > self.max_cost {
            return;
        }
        while self.cost + cost > self.max_cost {
            let Some((_, number)) = self.idle.first_key_value() else {
                return;
            };
            let number = *number;
            self.evict(number, out);
            self.free.insert(number);
        }
    }

    /// Unbinds the key of an idle slot, and drops its item.
    fn evict(&mut self, number: u32, out: &mut VecDeque<Output>) {
        let slot = &self.slots[number as usize];
        self.idle.remove(&slot.rank);
        self.droppable.remove(&slot.rank);
        self.by_key.remove(slot.key.as_ref().expect("an idle slot has a key"));
        self.forget_often(number);
        self.forget_item(number);
        self.evictions += 1;
        self.emit_removed(number, out);
    }

    fn forget_item(&mut self, number: u32) -> bool {
        let slot = &mut self.slots[number as usize];
        slot.confirmed_in = 0;
        let Some(held) = slot.held.take() else {
            return false;
        };
        self.cost -= held.cost;
        self.often_cost -= if slot.rank.often { held.cost } else { 0 };
        self.memory -= held.bytes.map_or(0, |bytes| bytes.len() as u64);
        true
    }

    /// Gives up all slots from `limit` on. None of them may be busy.
    pub(super) fn truncate(&mut self, limit: u64, out: &mut VecDeque<Output>) {
        for number in (0..self.slots.len() as u32).skip(limit as usize) {
            assert!(self.slots[number as usize].request.is_none(), "slot {number} is busy");
            if !self.free.remove(&number) {
                self.evict(number, out);
            }
        }
        self.slots.truncate(limit as usize);
    }

    fn emit_removed(&self, slot: u32, out: &mut VecDeque<Output>) {
        if self.persist {
            out.push_back(Output::Removed { slot });
        }
    }

    fn key(&self, number: u32) -> &Key {
        self.slots[number as usize].key.as_ref().expect("a bound slot has a key")
    }

    /// What a slot holds.
    pub(super) fn held(&self, number: u32) -> Option<&Held> {
        self.slots[number as usize].held.as_ref()
    }

    /// The request that makes a slot busy.
    pub(super) fn request(&self, number: u32) -> Option<usize> {
        self.slots.get(number as usize)?.request
    }

    /// Whether the key was asked for in this slot before; from now on it was.
    pub(super) fn ask(&mut self, number: u32) -> bool {
        std::mem::replace(&mut self.slots[number as usize].asked, true)
    }

    /// Notes that the server knows the slot's key, and that its version is the one held here.
    pub(super) fn confirm(&mut self, number: u32, session: u64) {
        let slot = &mut self.slots[number as usize];
        (slot.named_in, slot.confirmed_in) = (session, session);
    }

    /// Notes that it is not clear what the server knows.
    pub(super) fn doubt(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        (slot.named_in, slot.confirmed_in) = (0, 0);
    }

    /// Whether the server showed in this session that it knows the slot's key.
    pub(super) fn is_named(&self, number: u32, session: u64) -> bool {
        self.slots[number as usize].named_in == session
    }

    /// Whether the server confirmed in this session the version that is held.
    pub(super) fn is_confirmed(&self, number: u32, session: u64) -> bool {
        self.slots[number as usize].confirmed_in == session
    }
}

fn cost(key: &Key, headers: &HeaderBlock, fingerprint: &Fingerprint) -> u64 {
    let beside = key.as_bytes().len() + headers.as_bytes().len();
    fingerprint.length.saturating_add(beside as u64 + ITEM_OVERHEAD)
}
