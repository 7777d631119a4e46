//! Payloads that an alternate lacks.
//!
//! MIRROR names the version that a client holds, not its bytes. They are not needed to say
//! use-cached; but only who has them can send a difference, after a takeover too. So an alternate
//! gets them in the background: from its own source, if that still has this version, else piece by
//! piece from the primary. Few at one time, at a bounded rate, and nobody waits for them.

use super::{Link, Output, Retrieval, Server};
use crate::mirror::delta;
use crate::wire::backplane::{MAX_PULLED, Message, PULL_VERSION};
use crate::wire::{ClientId, Digest, Fingerprint, Key, Name, Time};
use bytes::{Bytes, BytesMut};
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;
use std::time::Duration;

/// Versions that wait to be fetched. Of more the bytes stay where they are.
const MAX_WANTED: usize = 4096;
/// Versions that are fetched at one time.
const MAX_ACTIVE: usize = 4;
/// So many bytes may be begun in one interval...
const BYTES_IN_INTERVAL: u64 = 512 << 10;
/// ...which is this long.
const INTERVAL: Duration = Duration::from_millis(10);
/// A primary that does not send the next piece for so long has better things to do.
const PATIENCE: Duration = Duration::from_secs(5);

/// A version whose bytes are to be here.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    version: Fingerprint,
    key: Key,
    /// Who has them, because it told of them...
    primary: Name,
    /// ...for this client.
    client: ClientId,
}

/// A version that comes from the primary.
#[derive(Debug)]
struct Pull {
    wanted: Wanted,
    received: BytesMut,
    heard: Time,
}

/// What is to come, and what is coming.
#[derive(Debug, Default)]
pub(super) struct Prefetches {
    wanted: VecDeque<Wanted>,
    /// The versions in `wanted`, or on their way.
    listed: HashSet<Digest>,
    /// How many the source is asked for.
    asked: usize,
    pulls: HashMap<u64, Pull>,
    last_number: u64,
    credit: u64,
    due: Time,
}

impl Server {
    /// An entry of a mirror that is kept here names a version.
    pub(super) fn want_payload(&mut self, client: ClientId, key: &Key, version: &Fingerprint) {
        let useful = usize::try_from(version.length).is_ok_and(delta::fits);
        let list = &mut self.prefetches;
        if !useful || list.wanted.len() >= MAX_WANTED || list.listed.contains(&version.digest) {
            return;
        }
        let Some(record) = self.clients.get(&client) else {
            return;
        };
        if !self.items.has_payload(&version.digest) {
            list.listed.insert(version.digest);
            let primary = self.names.name(record.primary()).clone();
            let (version, key) = (*version, key.detached());
            list.wanted.push_back(Wanted { version, key, primary, client });
        }
    }

    pub(super) fn turn_prefetches(&mut self, now: Time) {
        if now < self.prefetches.due {
            return;
        }
        self.prefetches.due = now + INTERVAL;
        self.prefetches.credit = BYTES_IN_INTERVAL;
        let late = |pull: &Pull| now.since(pull.heard) >= PATIENCE;
        self.give_up_pulls(|pull| late(pull));
        self.fetch_more(now);
    }

    /// When [`turn_prefetches`](Self::turn_prefetches) has something to do.
    pub(super) fn prefetches_due(&self) -> Time {
        let idle = self.prefetches.wanted.is_empty() && self.prefetches.pulls.is_empty();
        if idle { Time::from_micros(u64::MAX) } else { self.prefetches.due }
    }

    fn fetch_more(&mut self, now: Time) {
        while self.prefetches.credit > 0
            && self.prefetches.asked + self.prefetches.pulls.len() < MAX_ACTIVE
            && let Some(wanted) = self.prefetches.wanted.pop_front()
        {
            let digest = wanted.version.digest;
            if self.items.has_payload(&digest) {
                self.prefetches.listed.remove(&digest);
                continue;
            }
            let list = &mut self.prefetches;
            list.credit = list.credit.saturating_sub(wanted.version.length);
            list.asked += 1;
            // Of a version that is known without its bytes the bytes are wanted.
            let known = self.items.known(&wanted.key);
            let known = known.filter(|known| known.fingerprint().digest != digest);
            let key = wanted.key.clone();
            let ticket = self.retrievals.insert(Retrieval {
                key: key.clone(),
                asked_at: now,
                known: known.clone(),
                waiters: Vec::new(),
                wanted: Some(wanted),
            });
            self.outputs.push_back(Output::Retrieve { ticket: ticket as u64, key, known });
        }
    }

    /// The source has answered, and what it has is kept.
    pub(super) fn prefetched(&mut self, now: Time, wanted: Wanted) {
        self.prefetches.asked -= 1;
        let digest = wanted.version.digest;
        if self.items.has_payload(&digest) {
            self.counters.prefetched += 1;
            self.prefetches.listed.remove(&digest);
        } else if self.version_with(&wanted.primary) >= PULL_VERSION {
            let list = &mut self.prefetches;
            list.last_number += 1;
            let number = list.last_number;
            let (primary, client) = (wanted.primary.clone(), wanted.client);
            list.pulls.insert(number, Pull { wanted, received: BytesMut::new(), heard: now });
            let message = Message::Pull { number, digest, offset: 0 };
            self.send_to_owner(&primary, &client, message);
        } else {
            self.prefetches.listed.remove(&digest);
        }
        self.fetch_more(now);
    }

    /// An alternate wants the bytes of a version.
    pub(super) fn handle_pull(&mut self, from: &Link, number: u64, digest: &Digest, offset: u64) {
        let bytes = self.items.payload(digest);
        let bytes = bytes.filter(|bytes| offset <= bytes.len() as u64).map(|bytes| {
            let first = offset as usize;
            bytes.slice(first..bytes.len().min(first + MAX_PULLED))
        });
        self.send(from, Message::Pulled { number, offset, bytes });
    }

    /// The primary has sent some bytes of a version.
    pub(super) fn handle_pulled(
        &mut self,
        now: Time,
        from: &Name,
        (number, offset): (u64, u64),
        bytes: Option<Bytes>,
    ) {
        let pulls = &mut self.prefetches.pulls;
        let Some(pull) = pulls.get_mut(&number).filter(|pull| pull.wanted.primary == *from) else {
            return;
        };
        let received = pull.received.len() as u64;
        let room = pull.wanted.version.length - received;
        let bytes = bytes.filter(|bytes| offset == received && bytes.len() as u64 <= room);
        let Some(bytes) = bytes else {
            return self.end_pull(now, number);
        };
        pull.heard = now;
        pull.received.extend_from_slice(&bytes);
        if bytes.len() < MAX_PULLED {
            return self.end_pull(now, number);
        }
        let (digest, client) = (pull.wanted.version.digest, pull.wanted.client);
        let message = Message::Pull { number, digest, offset: pull.received.len() as u64 };
        self.send_to_owner(from, &client, message);
    }

    /// Keeps what has come, if it is what was wanted. The digest is over headers too, which are not
    /// known here; a client that gets a difference to other bytes finds out.
    fn end_pull(&mut self, now: Time, number: u64) {
        let Some(Pull { wanted, received, .. }) = self.prefetches.pulls.remove(&number) else {
            return;
        };
        self.prefetches.listed.remove(&wanted.version.digest);
        let found = (received.len() as u64, crc32fast::hash(&received));
        if found == (wanted.version.length, wanted.version.crc) {
            self.counters.pulled += 1;
            self.items.keep_payload(&wanted.version.digest, &received.freeze());
        }
        self.fetch_more(now);
    }

    /// The link to a server is gone, and what it was to send is lost.
    pub(super) fn lose_pulls(&mut self, from: &Name) {
        self.give_up_pulls(|pull| pull.wanted.primary == *from);
    }

    fn give_up_pulls(&mut self, which: impl Fn(&Pull) -> bool) {
        let Prefetches { pulls, listed, .. } = &mut self.prefetches;
        pulls.retain(|_, pull| {
            let keep = !which(pull);
            if !keep {
                listed.remove(&pull.wanted.version.digest);
            }
            keep
        });
    }
}
