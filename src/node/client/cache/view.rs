//! What the cache holds, for those who look.

use super::Cache;
use crate::wire::{Fingerprint, Key};

impl Cache {
    /// The slot to which a key is bound.
    pub(in crate::node::client) fn slot_of(&self, key: &Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// What idle slots hold, from one slot on.
    pub(in crate::node::client) fn idle_items(
        &self,
        first: u32,
    ) -> impl Iterator<Item = (u32, &Key, Fingerprint)> + '_ {
        let slots = (first..).zip(&self.slots[self.slots.len().min(first as usize)..]);
        let idle = slots.filter(|(_, slot)| slot.request.is_none());
        idle.filter_map(|(number, slot)| {
            Some((number, slot.key.as_ref()?, slot.held.as_ref()?.fingerprint))
        })
    }

    /// The keys of all items that are held, in the order of their slots.
    pub(in crate::node::client) fn held_keys(&self) -> impl Iterator<Item = &Key> + '_ {
        let held = self.slots.iter().filter(|slot| slot.held.is_some());
        held.filter_map(|slot| slot.key.as_ref())
    }

    /// Items that are held, and what they cost against the budget.
    pub(in crate::node::client) fn size(&self) -> (usize, u64) {
        (self.slots.iter().filter(|slot| slot.held.is_some()).count(), self.cost)
    }

    pub(in crate::node::client) fn evictions(&self) -> u64 {
        self.evictions
    }
}
