//! The mirrors of all clients of one worker.
//!
//! A mirror is a dense array over the client's slots. An entry is two 32-bit handles, of a key and
//! of a version's fingerprint, which all mirrors of the worker share: eight bytes an entry, however
//! long the keys are and however many clients hold the same version.

use super::interner::{Handle, Interner};
use crate::wire::{Fingerprint, Key};

/// What one slot of a mirror holds.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    key: Option<Handle>,
    version: Option<Handle>,
}

const _: () = assert!(size_of::<Entry>() == 8, "design, section 5: about 8 bytes an entry");

/// A server's copy of one client's cache. It owns handles of its [`Store`], so it ends through
/// [`Store::clear`], not by being dropped.
#[derive(Debug, Default)]
pub struct Mirror {
    entries: Vec<Entry>,
    used: u32,
}

impl Mirror {
    /// Slots that hold a key.
    pub fn len(&self) -> usize {
        self.used as usize
    }

    /// Whether no slot holds a key.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }
}

/// What a slot holds, spelt out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// The key that the client last named for the slot.
    pub key: &'a Key,
    /// The version that the client was last told to hold, if any.
    pub version: Option<&'a Fingerprint>,
}

/// Keys and fingerprints that the mirrors of one worker share.
#[derive(Debug)]
pub struct Store {
    keys: Interner<Key>,
    versions: Interner<Fingerprint>,
}

impl Default for Store {
    fn default() -> Self {
        Self { keys: Interner::new(), versions: Interner::new() }
    }
}

impl Store {
    /// What the mirror knows of a slot.
    pub fn held(&self, mirror: &Mirror, slot: u64) -> Option<Held<'_>> {
        let entry = mirror.entries.get(usize::try_from(slot).ok()?)?;
        let key = self.keys.value(entry.key?);
        Some(Held { key, version: entry.version.map(|version| self.versions.value(version)) })
    }

    /// Puts a key and a version, or no version, in a slot. The caller has bounded `slot`.
    pub fn set(
        &mut self,
        mirror: &mut Mirror,
        slot: u64,
        key: &Key,
        version: Option<&Fingerprint>,
    ) {
        let slot = slot as usize;
        if mirror.entries.len() <= slot {
            mirror.entries.resize(slot + 1, Entry::default());
        }
        // Acquired before the old ones are released, so that a value that stays is not made anew.
        let key = Some(self.keys.acquire(key));
        let version = version.map(|version| self.versions.acquire(version));
        let old = std::mem::replace(&mut mirror.entries[slot], Entry { key, version });
        mirror.used += u32::from(old.key.is_none());
        self.release(old);
    }

    /// Empties a mirror.
    pub fn clear(&mut self, mirror: &mut Mirror) {
        for entry in std::mem::take(mirror).entries {
            self.release(entry);
        }
    }

    /// Every slot that holds a key, in order.
    pub fn entries<'a>(&'a self, mirror: &'a Mirror) -> impl Iterator<Item = (u64, Held<'a>)> {
        self.entries_from(mirror, 0)
    }

    /// The same, from one slot on.
    pub fn entries_from<'a>(
        &'a self,
        mirror: &'a Mirror,
        first: u64,
    ) -> impl Iterator<Item = (u64, Held<'a>)> {
        let slots = first..mirror.entries.len() as u64;
        slots.filter_map(|slot| Some((slot, self.held(mirror, slot)?)))
    }

    /// Distinct keys, and distinct fingerprints, that mirrors hold.
    pub fn shared_records(&self) -> (usize, usize) {
        (self.keys.len(), self.versions.len())
    }

    fn release(&mut self, entry: Entry) {
        if let Some(key) = entry.key {
            self.keys.release(key);
        }
        if let Some(version) = entry.version {
            self.versions.release(version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::types::fingerprint;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(number: u8) -> Key {
        format!("/{number}").parse().unwrap()
    }

    proptest! {
        #[test]
        fn a_mirror_is_a_map_and_leaks_nothing(
            changes in prop::collection::vec(
                (0u8..2, 0u64..9, 0u8..5, prop::option::of(0u8..5)),
                0..99,
            )
        ) {
            let mut store = Store::default();
            let mut mirrors = [Mirror::default(), Mirror::default()];
            let mut models = [BTreeMap::new(), BTreeMap::new()];
            for (client, slot, named, version) in changes {
                let client = usize::from(client);
                let version = version.map(|bytes| fingerprint(b"", &[bytes]));
                store.set(&mut mirrors[client], slot, &key(named), version.as_ref());
                models[client].insert(slot, (key(named), version));
            }
            for (mirror, model) in mirrors.iter().zip(&models) {
                let found: BTreeMap<_, _> = store
                    .entries(mirror)
                    .map(|(slot, held)| (slot, (held.key.clone(), held.version.copied())))
                    .collect();
                prop_assert_eq!(&found, model);
                prop_assert_eq!(mirror.len(), model.len());
            }
            mirrors.iter_mut().for_each(|mirror| store.clear(mirror));
            prop_assert_eq!(store.shared_records(), (0, 0));
        }
    }
}
