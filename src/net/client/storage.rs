//! Moves items between the client machine and its directory, off the event loop.
//!
//! Writes happen one batch at a time. What changes while one is being written waits, at most one
//! change a slot, so that no more can pile up than the cache holds. A disk that cannot be written
//! costs a warning; the item then stays in memory.

use super::cache_directory::CacheDirectory;
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
    /// These versions are on disk.
    Persisted(Vec<(u32, Tag)>),
    /// The bytes of a slot's item, if they could be read.
    Loaded(u32, Option<Bytes>),
}

/// Changes that wait to be written; `None` removes what is in the slot.
#[derive(Default)]
struct Changes {
    slots: BTreeMap<u32, Option<Item>>,
    token: Option<Bytes>,
}

struct Written {
    persisted: Vec<(u32, Tag)>,
    failed: Option<io::Error>,
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
            persisted = Self::written(&mut self.writing, &mut self.warned) => {
                Event::Persisted(persisted)
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
    ) -> Vec<(u32, Tag)> {
        let Some(handle) = writing else {
            return pending().await;
        };
        let result = handle.await;
        *writing = None;
        let Written { persisted, failed } =
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        if let Some(why) = failed.filter(|_| !std::mem::replace(warned, true)) {
            tracing::warn!("the cache cannot be written: {why}; going on in memory");
        }
        persisted
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
        let mut written = Written { persisted: Vec::new(), failed: None };
        for (slot, item) in self.slots {
            let result = match &item {
                Some(item) => directory.store(slot, item),
                None => directory.remove(slot),
            };
            match (result, item) {
                (Ok(()), Some(item)) => {
                    written.persisted.push((slot, item.key.tag(&item.fingerprint.digest)));
                }
                (Ok(()), None) => {}
                (Err(why), _) => written.failed = Some(why),
            }
        }
        if let Some(Err(why)) = self.token.map(|token| directory.store_token(&token)) {
            written.failed = Some(why);
        }
        written
    }
}
