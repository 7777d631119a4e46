//! The mirrors of all clients of one worker.
//!
//! A mirror is a dense array over the client's slots. An entry is two handles of 28 bits, of a key
//! and of a version's fingerprint, which all mirrors of the worker share: seven bytes an entry,
//! however long the keys are and however many clients hold the same version. What the allocator
//! and room to grow add makes it eight.

use super::interner::{HANDLE_BITS, Handle, Interner};
use crate::wire::{Fingerprint, Key};

/// What one slot of a mirror holds, packed: the key's handle, and above it the version's.
#[derive(Clone, Copy, Debug, Default)]
struct Entry([u8; 7]);

const _: () = assert!(2 * HANDLE_BITS as usize == 8 * size_of::<Entry>());

impl Entry {
    fn new(key: Option<Handle>, version: Option<Handle>) -> Self {
        let number = |handle: Option<Handle>| handle.map_or(0, |handle| handle.number().into());
        let packed: u64 = number(version) << HANDLE_BITS | number(key);
        let mut bytes = [0; 7];
        bytes.copy_from_slice(&packed.to_le_bytes()[..7]);
        Self(bytes)
    }

    fn key(self) -> Option<Handle> {
        Handle::from_number(self.packed() as u32 & ((1 << HANDLE_BITS) - 1))
    }

    fn version(self) -> Option<Handle> {
        Handle::from_number((self.packed() >> HANDLE_BITS) as u32)
    }

    fn packed(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..7].copy_from_slice(&self.0);
        u64::from_le_bytes(bytes)
    }
}

/// A server's copy of one client's cache. It owns handles of its [`Store`], so it ends through
/// [`Store::clear`], not by being dropped.
#[derive(Debug, Default)]
pub struct Mirror {
    /// By slot; those behind the last slot in use are empty.
    entries: Box<[Entry]>,
}

impl Mirror {
    /// Slots that hold a key. Looks at all: for people.
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.key().is_some()).count()
    }

    /// Whether no slot holds a key.
    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| entry.key().is_none())
    }

    /// Bytes of memory that its entries take.
    pub fn bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>()
    }

    /// Makes room for so many slots, and few more.
    fn grow(&mut self, slots: usize) {
        let mut entries = std::mem::take(&mut self.entries).into_vec();
        let room = room_for(slots);
        entries.reserve_exact(room - entries.len());
        entries.resize(room, Entry::default());
        self.entries = entries.into_boxed_slice();
    }
}

/// How many entries fit the memory that the allocator gives when so many are asked for. It has four
/// sizes from a power of two to the next one, and multiples of 16 bytes below 128; the room between
/// what is asked for and such a size would be lost.
fn room_for(slots: usize) -> usize {
    let bytes = slots * size_of::<Entry>();
    let step = (bytes.next_power_of_two() / 8).max(16);
    bytes.next_multiple_of(step) / size_of::<Entry>()
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
    /// Bytes of all mirrors' entries.
    entry_bytes: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self { keys: Interner::new(), versions: Interner::new(), entry_bytes: 0 }
    }
}

impl Store {
    /// What the mirror knows of a slot.
    pub fn held(&self, mirror: &Mirror, slot: u64) -> Option<Held<'_>> {
        let entry = mirror.entries.get(usize::try_from(slot).ok()?)?;
        let key = self.keys.value(entry.key()?);
        Some(Held { key, version: entry.version().map(|version| self.versions.value(version)) })
    }

    /// Puts a key and a version, or no version, in a slot. The caller has bounded `slot`. Should
    /// there be no handle left for a new value, the mirror does without: that slot is unknown to
    /// it then, or what it holds.
    pub fn set(
        &mut self,
        mirror: &mut Mirror,
        slot: u64,
        key: &Key,
        version: Option<&Fingerprint>,
    ) {
        let slot = slot as usize;
        if mirror.entries.len() <= slot {
            self.entry_bytes -= mirror.bytes();
            mirror.grow(slot + 1);
            self.entry_bytes += mirror.bytes();
        }
        // Acquired before the old ones are released, so that a value that stays is not made anew.
        let key = self.keys.acquire(key);
        let version = version.filter(|_| key.is_some());
        let version = version.and_then(|version| self.versions.acquire(version));
        let old = std::mem::replace(&mut mirror.entries[slot], Entry::new(key, version));
        self.release(old);
    }

    /// Empties a mirror.
    pub fn clear(&mut self, mirror: &mut Mirror) {
        self.entry_bytes -= mirror.bytes();
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

    /// Bytes of memory that all mirrors take, and the records that they share, roughly.
    pub fn bytes(&self) -> usize {
        self.entry_bytes + self.keys.bytes() + self.versions.bytes()
    }

    /// Distinct keys, and distinct fingerprints, that mirrors hold.
    pub fn shared_records(&self) -> (usize, usize) {
        (self.keys.len(), self.versions.len())
    }

    fn release(&mut self, entry: Entry) {
        if let Some(key) = entry.key() {
            self.keys.release(key);
        }
        if let Some(version) = entry.version() {
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

    #[test]
    fn entries_take_eight_bytes_with_what_the_allocator_adds() {
        let block = |slots: usize| room_for(slots) * size_of::<Entry>();
        assert_eq!([1, 2, 3, 16, 64].map(room_for), [2, 2, 4, 16, 64]);
        let mut total = (0, 0);
        for slots in 1..5_000 {
            // A size that the allocator has, less than an entry apart.
            assert!(room_for(slots) >= slots);
            assert!(block(slots) <= (slots * 7 * 5 / 4).next_multiple_of(16), "{slots}");
            assert_eq!(room_for(room_for(slots)), room_for(slots), "{slots}");
            total = (total.0 + slots, total.1 + block(slots) + 6);
        }
        assert!(total.1 <= 8 * total.0, "{total:?}");
    }

    #[test]
    fn the_highest_handles_fit_an_entry() {
        let highest = Handle::from_number((1 << HANDLE_BITS) - 1);
        for (key, version) in [(highest, None), (None, highest), (highest, highest)] {
            let entry = Entry::new(key, version);
            assert_eq!((entry.key(), entry.version()), (key, version));
        }
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
            prop_assert_eq!((store.shared_records(), store.bytes()), ((0, 0), 0));
        }
    }
}
