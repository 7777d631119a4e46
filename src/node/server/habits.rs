//! How the answers of an HTTP origin differ, and under what names they are kept.

use crate::http::vary::{VaryNames, variant};
use crate::wire::http::{Fields, HttpRequest};
use crate::wire::{Key, Time};
use hashbrown::HashMap;

/// Items of which is known how their variants differ, at the most; then all of it is forgotten,
/// which costs the origin a request for each.
const MAX_HABITS: usize = 65_536;

/// How the answers for one item differ, as its origin said last.
#[derive(Clone, Debug, Default)]
pub(super) struct Habit {
    /// The fields of requests by which they do.
    pub(super) vary: VaryNames,
    /// Counts the requests that may have changed the item: variants from before are not found.
    pub(super) generation: u64,
    /// Until then they count as not to be shared: there is nothing to wait for together.
    pub(super) private_until: Time,
}

/// What is known of the items of an HTTP origin beside their versions.
#[derive(Debug, Default)]
pub(super) struct Habits {
    known: HashMap<Key, Habit>,
    /// Where generations begin: above all that were forgotten.
    first_generation: u64,
}

impl Habits {
    pub(super) fn of(&self, item: &Key) -> Habit {
        let unknown = || Habit { generation: self.first_generation, ..Habit::default() };
        self.known.get(item).cloned().unwrap_or_else(unknown)
    }

    pub(super) fn change(&mut self, item: &Key, change: impl FnOnce(&mut Habit)) {
        if self.known.len() >= MAX_HABITS && !self.known.contains_key(item) {
            self.known.clear();
            self.first_generation += 1 << 32;
        }
        let unknown = self.of(item);
        change(self.known.entry(item.detached()).or_insert(unknown));
    }
}

/// The name of an item: HTTP origins may have another one for each host and scheme.
pub(super) fn item_of(key: &Key, request: &HttpRequest) -> Key {
    key.variant(&variant(
        &VaryNames::default(),
        &Fields::default(),
        request.scheme,
        &request.authority,
    ))
}

pub(super) fn name_of(item: &Key, habit: &Habit, request: &HttpRequest) -> Key {
    if habit.generation == 0 && habit.vary.is_empty() {
        return item.clone();
    }
    let mut name = variant(&habit.vary, &request.fields, request.scheme, &request.authority);
    for (byte, mixed) in name.iter_mut().zip(habit.generation.to_le_bytes()) {
        *byte ^= mixed;
    }
    item.variant(&name)
}
