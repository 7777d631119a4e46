//! Moves items between the client machine and its directory, off the event loop.
//!
//! Writes happen one batch at a time. What changes while one is being written waits, at most one
//! change a slot, so that no more can pile up than the cache holds. What takes up less than before
//! is written first, so that the files never take up more than the budget and one item. A disk that
//! cannot be written costs one warning; the item then stays in memory, while there is room.

use super::cache_directory::{CacheDirectory, file_size};
use crate::node::client::Item;
use crate::wire::Tag;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io;
use std::sync::Arc;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

/// Items that are read at one time.
const MAX_LOADS: usize = 4;

/// What the disk has done.
pub(super) enum Event {
    /// These versions were written, or could not be.
    Written(Vec<(u32, Tag, bool)>),
    /// The bytes of a slot's item, if they could be read.
    Loaded(u32, Option<Bytes>),
}

/// Changes that wait to be written; `None` removes what is in the slot.
#[derive(Default)]
struct Changes {
    slots: BTreeMap<u32, Option<Item>>,
    token: Option<Bytes>,
}

#[derive(Default)]
struct Written {
    /// Whether they are on disk now.
    versions: Vec<(u32, Tag, bool)>,
    why: Option<io::Error>,
}

/// A directory at work, or none.
#[derive(Default)]
pub(super) struct Storage {
    directory: Option<Arc<CacheDirectory>>,
    changes: Changes,
    writing: Option<JoinHandle<Written>>,
    loading: JoinSet<(u32, Option<Bytes>)>,
    /// Slots whose items are to be read; each belongs to a request that waits for it.
    to_load: VecDeque<u32>,
    warned: bool,
}

impl Storage {
    pub(super) fn new(directory: CacheDirectory) -> Self {
        Self { directory: Some(Arc::new(directory)), ..Self::default() }
    }

    pub(super) fn store(&mut self, slot: u32, item: Item) {
        self.changes.slots.insert(slot, Some(item));
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.changes.slots.insert(slot, None);
    }

    pub(super) fn store_token(&mut self, token: Bytes) {
        self.changes.token = Some(token);
    }

    /// Reads an item, in its turn.
    pub(super) fn load(&mut self, slot: u32) {
        self.to_load.push_back(slot);
    }

    /// Starts to read what is to be read, as much as may be at one time.
    fn read(&mut self) {
        while self.loading.len() < MAX_LOADS {
            let Some(slot) = self.to_load.pop_front() else {
                return;
            };
            let directory = self.directory.clone();
            self.loading.spawn_blocking(move || {
                let bytes = directory.ok_or_else(|| io::Error::other("there is no directory"));
                let bytes = bytes.and_then(|directory| directory.load(slot));
                let bytes = bytes.inspect_err(|why| tracing::warn!("cached item {slot}: {why}"));
                (slot, bytes.ok())
            });
        }
    }

    /// Starts to write what waits, unless something is being written.
    fn write(&mut self) {
        let idle = self.changes.slots.is_empty() && self.changes.token.is_none();
        let Some(directory) = self.directory.clone().filter(|_| !idle && self.writing.is_none())
        else {
            return;
        };
        let changes = std::mem::take(&mut self.changes);
        self.writing = Some(spawn_blocking(move || changes.write(&directory)));
    }

    /// The next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        self.write();
        self.read();
        tokio::select! {
            versions = Self::written(&mut self.writing, &mut self.warned) => {
                Event::Written(versions)
            }
            Some(loaded) = self.loading.join_next() => match loaded {
                Ok((slot, bytes)) => Event::Loaded(slot, bytes),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
        }
    }

    async fn written(
        writing: &mut Option<JoinHandle<Written>>,
        warned: &mut bool,
    ) -> Vec<(u32, Tag, bool)> {
        let Some(handle) = writing else {
            return pending().await;
        };
        let result = handle.await;
        *writing = None;
        let Written { versions, why } =
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        if let Some(why) = why.filter(|_| !std::mem::replace(warned, true)) {
            tracing::warn!("the cache cannot be written: {why}; going on in memory");
        }
        versions
    }

    /// Writes everything that still waits, and lets go of the directory.
    pub(super) async fn finish(mut self) {
        loop {
            self.write();
            if self.writing.is_none() {
                break;
            }
            Self::written(&mut self.writing, &mut self.warned).await;
        }
        while self.loading.join_next().await.is_some() {}
    }
}

impl Changes {
    fn write(self, directory: &CacheDirectory) -> Written {
        let mut written = Written::default();
        for (slot, item) in in_order(self.slots, |slot| directory.size(slot)) {
            let result = match &item {
                Some(item) => directory.store(slot, item),
                None => directory.remove(slot),
            };
            let tag = item.map(|item| item.key.tag(&item.fingerprint.digest));
            written.versions.extend(tag.map(|tag| (slot, tag, result.is_ok())));
            written.why = result.err().or(written.why);
        }
        if let Some(Err(why)) = self.token.map(|token| directory.store_token(&token)) {
            written.why = Some(why);
        }
        written
    }
}

/// Changes in the order in which they are made: files that go or shrink first. Both what was there
/// before and what will be there after all is done is within the budget; so what lies between is.
fn in_order(
    slots: BTreeMap<u32, Option<Item>>,
    size: impl Fn(u32) -> u64,
) -> Vec<(u32, Option<Item>)> {
    let mut slots: Vec<_> = slots.into_iter().collect();
    slots.sort_by_cached_key(|(slot, item)| {
        let after = item.as_ref().map_or(0, |item| file_size(*slot, item));
        i128::from(after) - i128::from(size(*slot))
    });
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HeaderBlock;
    use crate::wire::types::fingerprint;
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    fn item(size: usize) -> Item {
        let (headers, bytes) = (HeaderBlock::default(), Bytes::from(vec![7; size]));
        let fingerprint = fingerprint(headers.as_bytes(), &bytes);
        Item { key: "/item".parse().unwrap(), headers, fingerprint, bytes }
    }

    fn changes(sizes: &BTreeMap<u32, Option<usize>>) -> Changes {
        let slots = sizes.iter().map(|(slot, size)| (*slot, size.map(item))).collect();
        Changes { slots, token: None }
    }

    proptest! {
        /// Whatever is written over whatever: between two changes, no more lies there than before
        /// all of them or after all of them.
        #[test]
        fn files_never_take_up_more_than_before_or_after(
            before in btree_map(0..12_u32, 0..3_000_usize, 0..12),
            sizes in btree_map(0..12_u32, proptest::option::of(0..3_000_usize), 0..12),
        ) {
            let files = before.iter().map(|(slot, size)| (*slot, file_size(*slot, &item(*size))));
            let before: BTreeMap<u32, u64> = files.collect();
            let mut sizes_now = before.clone();
            let sum = |sizes: &BTreeMap<u32, u64>| sizes.values().sum::<u64>();
            let mut sums = vec![sum(&sizes_now)];
            let size = |slot| before.get(&slot).copied().unwrap_or_default();
            for (slot, item) in in_order(changes(&sizes).slots, size) {
                match item {
                    Some(item) => drop(sizes_now.insert(slot, file_size(slot, &item))),
                    None => drop(sizes_now.remove(&slot)),
                }
                sums.push(sum(&sizes_now));
            }
            let limit = sums[0].max(*sums.last().unwrap());
            prop_assert!(sums.iter().all(|sum| *sum <= limit), "{sums:?}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_told_and_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (directory, ..) = CacheDirectory::open(place.path()).unwrap();
        let items = place.path().join("items");
        // No file takes the place of a directory that is not empty.
        std::fs::create_dir_all(items.join("1/x")).unwrap();
        std::fs::create_dir_all(place.path().join("token/x")).unwrap();
        let mut changes = changes(&BTreeMap::from([(0, Some(5)), (1, Some(6)), (2, None)]));
        changes.token = Some(Bytes::from("token"));
        let written = changes.write(&directory);
        let tags = |size| item(size).key.tag(&item(size).fingerprint.digest);
        assert_eq!(written.versions, [(0, tags(5), true), (1, tags(6), false)]);
        assert!(written.why.is_some());
        let names = std::fs::read_dir(items).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["0", "1"]);
        let names = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap());
        assert_eq!(names.filter(|entry| entry.file_name() != "token").count(), 2, "lock, items");
    }
}
