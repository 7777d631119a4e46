//! What one connection holds, as far as an answer is checked by it: versions, without their bytes.

use super::config::Claim;
use super::frames::write_get;
use super::tally::FailureKind;
use crate::wire::lane::Validator;
use crate::wire::types::MAX_KEY;
use crate::wire::{Digest, Fingerprint, Key, Tag};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

/// Keys that are made up from one key, before the first of them is used again: the target's memory
/// is not what is measured.
const FRESH_KEYS: u32 = 4_096;
/// Most bytes that making up adds to a key.
const MADE_UP: usize = "?fresh=4096".len();

/// How an item is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// For the first time, before the run.
    Fill,
    /// The client holds it.
    Same,
    /// The client says that it holds another version.
    Changed,
    /// By another key than the slot had.
    New,
}

/// A version, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    tag: Tag,
    fingerprint: Fingerprint,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    held: Option<Held>,
    /// Distinguishes keys that are made up from the same one; 0 is that one itself.
    fresh: u32,
    /// Whether the mirror should know the key.
    is_named: bool,
}

/// The slots of one connection.
pub(super) struct Slots {
    keys: Arc<[Key]>,
    slots: Vec<Slot>,
    /// The last version of each key, whatever the slot and the made-up part of the key.
    known: Vec<Option<Fingerprint>>,
    last_fresh: u32,
    scratch: BytesMut,
}

impl Slots {
    /// A slot for each key, and as many more as it takes to have `in_flight` requests in different
    /// slots.
    pub(super) fn new(keys: Arc<[Key]>, in_flight: usize) -> Self {
        let slots = vec![Slot::default(); keys.len().max(in_flight)];
        let known = vec![None; keys.len()];
        Self { keys, slots, known, last_fresh: 0, scratch: BytesMut::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Writes the request. Returns whether it names the key.
    pub(super) fn ask(
        &mut self,
        out: &mut BytesMut,
        request_id: u64,
        place: usize,
        ask: Ask,
        claim: Claim,
    ) -> bool {
        if ask == Ask::New && self.key(place).as_bytes().len() + MADE_UP <= MAX_KEY {
            self.last_fresh = self.last_fresh % FRESH_KEYS + 1;
            self.slots[place] = Slot { fresh: self.last_fresh, ..Slot::default() };
        }
        let slot = self.slots[place];
        // Nobody has the version that this names: it gets the whole item, whatever the mirror says.
        const NOTHING: Validator = Validator::Strong { crc: 0, digest: Digest([0; 16]) };
        let validator = match (ask, slot.held) {
            (Ask::Same, Some(Held { fingerprint, .. })) => match claim {
                Claim::None => Validator::None,
                Claim::Crc => Validator::Crc { crc: fingerprint.crc, length: fingerprint.length },
                Claim::Strong => {
                    Validator::Strong { crc: fingerprint.crc, digest: fingerprint.digest }
                }
            },
            _ => NOTHING,
        };
        if slot.is_named {
            write_get(out, request_id, place as u64, None, &validator);
        } else {
            let key = self.key_bytes(place);
            write_get(out, request_id, place as u64, Some(&key), &validator);
            self.scratch = key;
        }
        // From this request on the mirror knows the key.
        self.slots[place].is_named = true;
        !slot.is_named
    }

    /// The mirror turned out not to know the slot.
    pub(super) fn forget_name(&mut self, place: usize) {
        self.slots[place].is_named = false;
    }

    /// Whether the slot has a version that can be called unchanged.
    pub(super) fn holds(&self, place: usize) -> bool {
        self.slots[place].held.is_some()
    }

    /// The key of a slot, for people.
    pub(super) fn key(&self, place: usize) -> &Key {
        &self.keys[place % self.keys.len()]
    }

    /// Checks that the version which is called unchanged is the one that the slot has.
    pub(super) fn unchanged(&self, place: usize, tag: Tag) -> Result<(), FailureKind> {
        match self.slots[place].held {
            Some(held) if held.tag == tag => Ok(()),
            _ => Err(FailureKind::WrongTag),
        }
    }

    /// Whether a whole item is not the version that is known, so that only its bytes can tell
    /// whether it is right.
    pub(super) fn is_unknown(&self, place: usize, tag: Tag, length: u64) -> bool {
        let expected = self.expected(place);
        !expected.is_some_and(|held| held.tag == tag && held.fingerprint.length == length)
    }

    /// Takes a whole item; `found` is what was computed from its headers and bytes, which may only
    /// be missing where the version [is known](Self::is_unknown).
    pub(super) fn received(
        &mut self,
        place: usize,
        tag: Tag,
        found: Option<Fingerprint>,
    ) -> Result<(), FailureKind> {
        let held = match found {
            Some(fingerprint) if self.tag(place, &fingerprint) == tag => {
                Some(Held { tag, fingerprint })
            }
            Some(_) => None,
            None => self.expected(place).filter(|held| held.tag == tag),
        };
        self.slots[place].held = held;
        let held = held.ok_or(FailureKind::WrongBytes)?;
        let key = place % self.keys.len();
        self.known[key] = Some(held.fingerprint);
        Ok(())
    }

    /// The version that a whole item should be.
    fn expected(&self, place: usize) -> Option<Held> {
        self.slots[place].held.or_else(|| {
            let fingerprint = self.known[place % self.keys.len()]?;
            Some(Held { tag: self.tag(place, &fingerprint), fingerprint })
        })
    }

    fn tag(&self, place: usize, fingerprint: &Fingerprint) -> Tag {
        if self.slots[place].fresh == 0 {
            return self.key(place).tag(&fingerprint.digest);
        }
        let mut key = BytesMut::new();
        made_up(&mut key, self.key(place), self.slots[place].fresh);
        Key::new(key.freeze()).map_or(Tag([0; 16]), |key| key.tag(&fingerprint.digest))
    }

    /// The key of a slot, made-up part included, in the scratch buffer.
    fn key_bytes(&mut self, place: usize) -> BytesMut {
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        made_up(&mut out, &self.keys[place % self.keys.len()], self.slots[place].fresh);
        out
    }
}

/// Writes a key with a query that distinguishes it, or the key itself.
fn made_up(out: &mut BytesMut, key: &Key, fresh: u32) {
    out.put_slice(key.as_bytes());
    if fresh > 0 {
        out.put_u8(if key.as_bytes().contains(&b'?') { b'&' } else { b'?' });
        out.put_slice(b"fresh=");
        out.put_slice(fresh.to_string().as_bytes());
    }
}

/// A key with a query that distinguishes it from others of the same item.
pub(super) fn with_query(key: &Key, number: usize) -> Option<Key> {
    let mark = if key.as_str().contains('?') { '&' } else { '?' };
    Key::new(Bytes::from(format!("{key}{mark}{number}"))).ok()
}
