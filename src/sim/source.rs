//! The source that all servers ask, and its memory of every state that every item ever had.
//!
//! Among the versions of a key are CRC twins (equal length, equal CRC, other bytes), versions that
//! come back after another one, and versions that another key has too.

use super::plan::pick;
use super::versions::{TWIN_MASK, make, twin};
use crate::mirror::{Freshness, Lease, Version};
use crate::wire::{Digest, Fingerprint, HeaderBlock, Key, Time};
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// In one of so many stories the source gives leases: told by the seed itself, not drawn.
const LEASING_SEEDS: u64 = 8;

/// What sort of item a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A few bytes, or none.
    Tiny,
    /// Fits a frame.
    Inline,
    /// Has a stream of its own.
    Streamed,
    /// Is not kept by servers.
    Unmirrored,
    /// May not be shared among clients.
    Private,
    /// Is made anew for each who asks.
    Unique,
    /// Never changes.
    Fixed,
}

impl Kind {
    /// Whether a client that has the newest version is told so.
    pub(super) fn is_mirrored(self) -> bool {
        !matches!(self, Self::Unmirrored | Self::Unique)
    }

    /// Whether servers keep it, or tell what it is before they send it.
    pub(super) fn is_kept(self) -> bool {
        self != Self::Unmirrored
    }
}

/// What a key names at a moment.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// This.
    Present(Arc<Version>),
    /// Nothing.
    Absent,
    /// Something that nobody may read.
    Refused,
    /// Something that cannot be read now.
    Failing,
}

#[derive(Debug)]
struct Item {
    kind: Kind,
    /// Every state with the moment at which it began.
    history: Vec<(Time, State)>,
    versions: u64,
}

/// The items.
#[derive(Debug)]
pub(super) struct Source {
    keys: Vec<Key>,
    items: BTreeMap<Key, Item>,
    /// When the bytes of [`Kind::Unique`] items were made.
    made: BTreeMap<(Key, Digest), (Time, Arc<Version>)>,
    /// What servers were promised of each key, where the source gives promises that it takes back.
    leases: Option<BTreeMap<Key, Lease>>,
}

impl Source {
    pub(super) fn new(random: &mut StdRng, keys: usize, now: Time) -> Self {
        let mut source =
            Self { keys: Vec::new(), items: BTreeMap::new(), made: BTreeMap::new(), leases: None };
        for number in 0..keys {
            let key: Key = format!("/item/{number}").parse().expect("a key");
            let kind = pick(
                random,
                &[
                    Kind::Tiny,
                    Kind::Tiny,
                    Kind::Inline,
                    Kind::Inline,
                    Kind::Streamed,
                    Kind::Unmirrored,
                    Kind::Private,
                    Kind::Unique,
                    Kind::Fixed,
                ],
            );
            source.items.insert(key.clone(), Item { kind, history: Vec::new(), versions: 0 });
            source.keys.push(key.clone());
            source.renew(random, &key, now);
        }
        source
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// In some stories every answer holds until the item changes.
    pub(super) fn leasing_for(mut self, seed: u64) -> Self {
        self.leases = (seed % LEASING_SEEDS == 1).then(BTreeMap::new);
        self
    }

    /// A promise that what is seen now holds, if the source gives any.
    pub(super) fn lease(&mut self, key: &Key) -> Option<Freshness> {
        let lease = self.leases.as_mut()?.entry(key.clone()).or_default();
        Some(Freshness::leased(Duration::MAX, lease.clone()))
    }

    pub(super) fn kind(&self, key: &Key) -> Kind {
        self.items.get(key).map_or(Kind::Tiny, |item| item.kind)
    }

    /// What the key names now.
    pub(super) fn state(&self, key: &Key) -> State {
        let newest = self.items.get(key).and_then(|item| item.history.last());
        newest.map_or(State::Absent, |(_, state)| state.clone())
    }

    /// A retrieval: unique items are made here.
    pub(super) fn look(&mut self, key: &Key, now: Time) -> State {
        let state = self.state(key);
        let (Kind::Unique, State::Present(version)) = (self.kind(key), &state) else {
            return state;
        };
        let number = self.made.len();
        let body = [version.body(), format!(" for reader {number}").as_bytes()].concat();
        let version = Version::new(version.headers().clone(), Bytes::from(body)).private();
        let (digest, version) = (version.fingerprint().digest, Arc::new(version));
        self.made.insert((key.clone(), digest), (now, Arc::clone(&version)));
        State::Present(version)
    }

    /// Changes one item in one way or another, unless it is one that never changes.
    pub(super) fn change(&mut self, random: &mut StdRng, now: Time) -> Key {
        let key = self.keys[random.random_range(0..self.keys.len())].clone();
        if self.kind(&key) == Kind::Fixed {
            return key;
        }
        match random.random_range(0..20) {
            0 => self.set(&key, State::Absent, now),
            1 => self.set(&key, State::Refused, now),
            2 => self.set(&key, State::Failing, now),
            _ => self.renew(random, &key, now),
        }
        key
    }

    /// Makes every item readable.
    pub(super) fn repair(&mut self, random: &mut StdRng, now: Time) {
        for key in self.keys.clone() {
            if !matches!(self.state(&key), State::Present(_)) {
                self.renew(random, &key, now);
            }
        }
    }

    /// Gives a key another version.
    fn renew(&mut self, random: &mut StdRng, key: &Key, now: Time) {
        let item = &self.items[key];
        let before: Vec<_> = item.history.iter().filter_map(|(_, state)| present(state)).collect();
        let version = match (before.last(), random.random_range(0..10)) {
            (Some(last), 0..5) if last.body().len() > TWIN_MASK.len() => twin(random, last),
            (Some(_), 5..7) => Arc::clone(before[random.random_range(0..before.len())]),
            _ => {
                let number = item.versions;
                self.items.get_mut(key).expect("it was found before").versions += 1;
                let kind = self.kind(key);
                // One in three has nothing of its key in it, so that other keys have it too.
                let own = if random.random_bool(0.3) { "/item" } else { key.as_str() };
                Arc::new(make(random, kind, own, number))
            }
        };
        let version = match self.kind(key) {
            Kind::Private if version.is_shareable() => Arc::new(Version::clone(&version).private()),
            _ => version,
        };
        self.set(key, State::Present(version), now);
    }

    fn set(&mut self, key: &Key, state: State, now: Time) {
        let item = self.items.get_mut(key).expect("only known keys are changed");
        item.history.push((now, state));
        if let Some(lease) = self.leases.as_mut().and_then(|leases| leases.remove(key)) {
            lease.revoke();
        }
    }

    /// Whether the key was in a state that `matches` at some moment from `since` to `now`.
    pub(super) fn was(
        &self,
        key: &Key,
        (since, now): (Time, Time),
        matches: impl Fn(&State) -> bool,
    ) -> bool {
        let Some(item) = self.items.get(key) else {
            return matches(&State::Absent);
        };
        // From the newest state back to the one that had begun when the span did.
        for (begin, state) in item.history.iter().rev() {
            if *begin <= now && matches(state) {
                return true;
            }
            if *begin < since {
                return false;
            }
        }
        false
    }

    /// Whether the key had a version that `matches` at some moment from `since` to `now`.
    pub(super) fn had_version(
        &self,
        key: &Key,
        span: (Time, Time),
        matches: impl Fn(&Version) -> bool,
    ) -> bool {
        if self.kind(key) == Kind::Unique {
            let of_key = self.made.iter().filter(|((made, _), _)| made == key);
            let mut in_time = of_key.filter(|(_, (made, _))| span.0 <= *made && *made <= span.1);
            return in_time.any(|(_, (_, version))| matches(version));
        }
        self.was(key, span, |state| present(state).is_some_and(|version| matches(version)))
    }

    /// Whether the key had these headers and bytes at some moment from `since` to `now`.
    pub(super) fn had(
        &self,
        key: &Key,
        span: (Time, Time),
        (headers, bytes): (&HeaderBlock, &Bytes),
    ) -> bool {
        if self.kind(key) == Kind::Unique {
            let print = crate::wire::types::fingerprint(headers.as_bytes(), bytes);
            let made = self.made.get(&(key.clone(), print.digest));
            return made.is_some_and(|(made, _)| span.0 <= *made && *made <= span.1);
        }
        self.had_version(key, span, |it| it.headers() == headers && it.body() == bytes)
    }

    /// Whether these ever were the bytes of an item. An unmirrored one's end with its tag.
    pub(super) fn ever_was_body(&self, bytes: &[u8]) -> bool {
        let untagged = &bytes[..bytes.len().saturating_sub(16)];
        self.items.values().any(|item| {
            item.history.iter().any(|(_, state)| {
                present(state).is_some_and(|version| {
                    let body = version.body();
                    let made_for_one = || {
                        let rest = bytes.strip_prefix(&body[..]);
                        rest.is_some_and(|rest| rest.starts_with(b" for reader "))
                    };
                    body == bytes || body == untagged || made_for_one()
                })
            })
        })
    }

    /// Any version that the key ever had.
    pub(super) fn any_version(&self, random: &mut StdRng, key: &Key) -> Option<Fingerprint> {
        let history = &self.items[key].history;
        let (_, state) = &history[random.random_range(0..history.len())];
        present(state).map(|version| *version.fingerprint())
    }

    /// Whether the key ever had a version with this digest.
    pub(super) fn ever_had(&self, key: &Key, digest: &Digest) -> bool {
        let Some(item) = self.items.get(key) else {
            return false;
        };
        self.made.contains_key(&(key.clone(), *digest))
            || item.history.iter().rev().any(|(_, state)| {
                present(state).is_some_and(|version| version.fingerprint().digest == *digest)
            })
    }
}

fn present(state: &State) -> Option<&Arc<Version>> {
    match state {
        State::Present(version) => Some(version),
        _ => None,
    }
}
