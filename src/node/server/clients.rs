//! Clients by their ids, found in one step however many there are.
//!
//! What is kept of a client stands in a chunk of a fixed size, at a place that stays its own until
//! it goes. The tables by which it is found hold places only. There are several, so that none takes
//! long to grow.

use super::places::Places;
use crate::wire::ClientId;
use hashbrown::HashMap;
use std::cell::Cell;
use std::collections::BinaryHeap;
use std::hash::{BuildHasherDefault, Hasher};

/// Takes an id for its own hash: routers draw ids at random.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // The last eight bytes: the first ones decide which worker owns the client, so that those
        // of one worker's clients have something in common.
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_ne_bytes(*last);
        }
    }
}

/// Something about few clients, by their ids.
pub(super) type ById<T> = HashMap<ClientId, T, BuildHasherDefault<IdHasher>>;

/// Bytes of a chunk, but for a rest: a size of which the allocator wastes nothing. (With 8,192
/// clients to a chunk it was 17 bytes a client.)
const CHUNK_BYTES: usize = 64 << 10;
/// A power of two, so that a table is chosen by bits.
const TABLES: usize = 64;
/// Bits of a place that say where in its chunk it is.
const CHUNK_BITS: u32 = 10;
const MAX_CHUNKS: usize = 1 << (u32::BITS - CHUNK_BITS);

/// Where a client stands. Another client may have the place later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    fn new(chunk: usize, at: usize) -> Self {
        assert!(chunk < MAX_CHUNKS, "so many clients do not fit in memory");
        Self((chunk as u32) << CHUNK_BITS | at as u32)
    }

    /// The chunk, and where in it.
    #[inline]
    fn split(self) -> (usize, usize) {
        ((self.0 >> CHUNK_BITS) as usize, (self.0 & ((1 << CHUNK_BITS) - 1)) as usize)
    }
}

#[derive(Debug)]
enum Slot<T> {
    Taken(ClientId, T),
    /// With the place that becomes the first vacant one when this one is taken.
    Vacant(Option<Place>),
}

/// Something about every client.
#[derive(Debug)]
pub(super) struct Clients<T> {
    /// All of them but the last are full, of taken or vacant slots.
    chunks: Vec<Vec<Slot<T>>>,
    vacant: Option<Place>,
    tables: Box<[Places]>,
    len: usize,
    /// The one that was asked for last, and is likely to be asked for again.
    last: Cell<Place>,
}

impl<T> Default for Clients<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            vacant: None,
            tables: (0..TABLES).map(|_| Places::default()).collect(),
            len: 0,
            last: Cell::new(Place(0)),
        }
    }
}

/// The number of a client's table, and its hash there: bits of the second half, since the first one
/// decides which worker owns the client.
#[inline]
fn table_and_hash(client: &ClientId) -> (usize, u32) {
    let [_, second] = client.halves();
    ((second >> 32) as usize % TABLES, second as u32)
}

impl<T> Clients<T> {
    /// Clients in a chunk.
    const CHUNK: usize = {
        let fit = CHUNK_BYTES / size_of::<Slot<T>>();
        if fit < 1 << CHUNK_BITS { fit } else { 1 << CHUNK_BITS }
    };

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where a client stands.
    #[inline]
    pub(super) fn place(&self, client: &ClientId) -> Option<Place> {
        let last = self.last.get();
        if self.at(last, client).is_some() {
            return Some(last);
        }
        self.look_up(client)
    }

    fn look_up(&self, client: &ClientId) -> Option<Place> {
        let (table, hash) = table_and_hash(client);
        let wanted = |number| self.at(Place(number), client).is_some();
        let place = self.tables[table].find(hash, wanted).map(Place)?;
        self.last.set(place);
        Some(place)
    }

    /// What is kept of a client, if it stands at that place.
    #[inline]
    fn at(&self, place: Place, client: &ClientId) -> Option<&T> {
        match self.slot(place)? {
            Slot::Taken(id, value) if id == client => Some(value),
            _ => None,
        }
    }

    #[inline]
    fn slot(&self, place: Place) -> Option<&Slot<T>> {
        let (chunk, at) = place.split();
        self.chunks.get(chunk)?.get(at)
    }

    #[inline]
    fn slot_mut(&mut self, place: Place) -> Option<&mut Slot<T>> {
        let (chunk, at) = place.split();
        self.chunks.get_mut(chunk)?.get_mut(at)
    }

    /// Who stands at a place, if somebody does.
    #[inline]
    pub(super) fn at_mut(&mut self, place: Place) -> Option<(ClientId, &mut T)> {
        match self.slot_mut(place)? {
            Slot::Taken(client, value) => Some((*client, value)),
            Slot::Vacant(_) => None,
        }
    }

    pub(super) fn contains_key(&self, client: &ClientId) -> bool {
        self.place(client).is_some()
    }

    #[inline]
    pub(super) fn get(&self, client: &ClientId) -> Option<&T> {
        match self.at(self.last.get(), client) {
            Some(value) => Some(value),
            None => self.at(self.look_up(client)?, client),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, client: &ClientId) -> Option<&mut T> {
        let place = self.place(client)?;
        self.at_mut(place).map(|(_, value)| value)
    }

    /// Puts something in a client's place, or gives it one; what was there comes back.
    ///
    /// # Panics
    /// If there are some billion clients, whose records alone take more than 100 GB.
    pub(super) fn insert(&mut self, client: ClientId, value: T) -> Option<T> {
        if let Some(known) = self.get_mut(&client) {
            return Some(std::mem::replace(known, value));
        }
        let taken = Slot::Taken(client, value);
        let place = match self.vacant {
            Some(place) => {
                let slot = self.slot_mut(place).expect("vacant places are in chunks");
                if let Slot::Vacant(next) = std::mem::replace(slot, taken) {
                    self.vacant = next;
                }
                place
            }
            None => self.append(taken),
        };
        let (table, hash) = table_and_hash(&client);
        self.tables[table].insert(hash, place.0);
        self.len += 1;
        self.last.set(place);
        None
    }

    fn append(&mut self, slot: Slot<T>) -> Place {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == Self::CHUNK) {
            self.chunks.push(Vec::with_capacity(Self::CHUNK));
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let place = Place::new(number, chunk.len());
        chunk.push(slot);
        place
    }

    /// Takes a client away. The next new one gets its place.
    pub(super) fn remove(&mut self, client: &ClientId) -> Option<T> {
        let place = self.place(client)?;
        let (table, hash) = table_and_hash(client);
        let found = self.tables[table].remove(hash, place.0);
        assert!(found, "whoever has a place is in a table");
        let vacant = Slot::Vacant(self.vacant.replace(place));
        self.len -= 1;
        match std::mem::replace(self.slot_mut(place)?, vacant) {
            Slot::Taken(_, value) => Some(value),
            Slot::Vacant(_) => None,
        }
    }

    /// All of them, in the order of their places.
    /// Those who stand at the next `count` places, each time others.
    pub(super) fn sample(
        &self,
        hand: &mut u32,
        count: u32,
    ) -> impl Iterator<Item = (&ClientId, &T)> {
        let places = self.chunks.iter().map(Vec::len).sum::<usize>() as u32;
        let first = *hand % places.max(1);
        *hand = first.wrapping_add(count);
        let some = (first..places.min(first + count)).filter_map(|place| self.slot(Place(place)));
        some.filter_map(|slot| match slot {
            Slot::Taken(client, value) => Some((client, value)),
            Slot::Vacant(_) => None,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ClientId, &T)> {
        self.chunks.iter().flatten().filter_map(|slot| match slot {
            Slot::Taken(client, value) => Some((client, value)),
            Slot::Vacant(_) => None,
        })
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ClientId> {
        self.iter().map(|(client, _)| client)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten().filter_map(|slot| match slot {
            Slot::Taken(_, value) => Some(value),
            Slot::Vacant(_) => None,
        })
    }

    /// The first `limit` ids behind `after`, in order. Looks at all of them: for people, not for
    /// requests.
    pub(super) fn ids_after(&self, after: Option<ClientId>, limit: usize) -> Vec<ClientId> {
        let mut lowest = BinaryHeap::with_capacity(limit.min(self.len()) + 1);
        for client in self.keys().filter(|client| Some(**client) > after) {
            lowest.push(*client);
            if lowest.len() > limit {
                lowest.pop();
            }
        }
        lowest.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn id(number: u8) -> ClientId {
        ClientId([number.wrapping_mul(77); 16])
    }

    #[test]
    fn ids_come_in_order_page_by_page() {
        let mut clients = Clients::default();
        (0..100).for_each(|number| assert!(clients.insert(id(number), ()).is_none()));
        let mut read = Vec::new();
        loop {
            let page = clients.ids_after(read.last().copied(), 7);
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 7);
            read.extend(page);
        }
        assert_eq!(read.len(), 100);
        assert!(read.is_sorted());
    }

    #[test]
    fn a_place_is_kept_over_chunks_and_given_to_the_next_one() {
        let id = |number: u32| ClientId(u128::from(number).to_be_bytes());
        let mut clients = Clients::default();
        let count = 3 * Clients::<u32>::CHUNK as u32;
        (0..count).for_each(|number| assert_eq!(clients.insert(id(number), number), None));
        let places: Vec<_> = (0..count).map(|number| clients.place(&id(number))).collect();
        for gone in (0..count).step_by(2) {
            assert_eq!(clients.remove(&id(gone)), Some(gone));
            assert_eq!(clients.insert(id(count + gone), gone), None);
            assert_eq!(clients.place(&id(count + gone)), places[gone as usize]);
        }
        assert_eq!((clients.len(), clients.chunks.len()), (count as usize, 3));
        for stays in (1..count).step_by(2) {
            assert_eq!(clients.place(&id(stays)), places[stays as usize]);
        }
    }

    proptest! {
        #[test]
        fn clients_are_a_map(steps in prop::collection::vec((0u8..40, 0u8..4, 0u32..9), 0..300)) {
            let (mut clients, mut model) = (Clients::default(), BTreeMap::new());
            for (number, what, value) in steps {
                let client = id(number);
                match what {
                    0 => prop_assert_eq!(clients.remove(&client), model.remove(&client)),
                    1 => prop_assert_eq!(clients.get(&client), model.get(&client)),
                    _ => {
                        let before = clients.insert(client, value);
                        prop_assert_eq!(before, model.insert(client, value));
                    }
                }
                prop_assert_eq!(clients.len(), model.len());
                let found: BTreeMap<_, _> = clients.iter().map(|(id, it)| (*id, *it)).collect();
                prop_assert_eq!(&found, &model);
            }
        }
    }
}
