//! Clients by their ids, found in one step however many there are.

use crate::wire::ClientId;
use hashbrown::HashMap;
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

/// Something by client.
pub(super) type Clients<T> = HashMap<ClientId, T, BuildHasherDefault<IdHasher>>;

/// The first `limit` ids behind `after`, in order. Looks at all of them: for people, not for
/// requests.
pub(super) fn ids_after<T>(
    clients: &Clients<T>,
    after: Option<ClientId>,
    limit: usize,
) -> Vec<ClientId> {
    let mut lowest = BinaryHeap::with_capacity(limit.min(clients.len()) + 1);
    for client in clients.keys().filter(|client| Some(**client) > after) {
        lowest.push(*client);
        if lowest.len() > limit {
            lowest.pop();
        }
    }
    lowest.into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_in_order_page_by_page() {
        let id = |number: u8| ClientId([number.wrapping_mul(77); 16]);
        let clients: Clients<()> = (0..100).map(|number| (id(number), ())).collect();
        let mut read = Vec::new();
        loop {
            let page = ids_after(&clients, read.last().copied(), 7);
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 7);
            read.extend(page);
        }
        assert_eq!(read.len(), 100);
        assert!(read.is_sorted());
    }
}
