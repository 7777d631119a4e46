//! What a server makes of BATCH and INVENTORY: what it should, and what it should not.

use super::deltas::empty_delta;
use super::*;
use crate::wire::frame::MAX_INLINE_BODY;
use crate::wire::lane::{Unchanged, UnchangedHash};

/// A BATCH_REPLY that says nothing.
pub(super) fn nothing_is_unchanged() -> Outcome {
    Draft::default().finish(Body::Inline(Bytes::new()))
}

/// A BATCH_REPLY before it is written.
#[derive(Default)]
struct Draft {
    bits: Vec<bool>,
    /// What the hash is made of.
    named: Vec<(u64, Tag)>,
    entries: Vec<(u64, Outcome)>,
}

impl Draft {
    fn finish(&self, rest: Body) -> Outcome {
        let mut hash = UnchangedHash::default();
        self.named.iter().for_each(|(slot, tag)| hash.add(*slot, tag));
        let unchanged = Unchanged::new(self.bits.iter().copied());
        Outcome::Batch { unchanged, hash: hash.finish(), rest }
    }
}

impl World {
    pub(super) fn answer_batch(&mut self, batch: &Batch) -> Outcome {
        if self.chance(8) {
            return self.answer_beside();
        }
        let mut draft = Draft::default();
        for slot in batch.slots() {
            let (same, said) = self.decide_in_batch(slot);
            draft.bits.push(same.is_some());
            draft.named.extend(same.map(|tag| (slot, tag)));
            draft.entries.extend(said.map(|outcome| (slot, outcome)));
        }
        if self.random.random() {
            draft.entries.shuffle(&mut self.random);
        }
        if self.chance(40) {
            self.spoil_batch(batch, &mut draft);
        }
        let mut rest = self.write_entries(&draft.entries);
        if self.chance(5) {
            self.note("batch: a body cut short");
            rest.truncate(rest.len() / 2);
        }
        if self.chance(5) {
            self.note("batch: a body too long");
            rest.extend([0x21, 1, 7]);
        }
        let rest = Bytes::from(rest);
        let rest = match rest.len() > MAX_INLINE_BODY || self.chance(30) {
            true => {
                self.note("batch: streamed");
                self.stream(batch.request_id, rest)
            }
            false => Body::Inline(rest),
        };
        draft.finish(rest)
    }

    /// What is no answer to a batch.
    fn answer_beside(&mut self) -> Outcome {
        self.note("batch: no answer to it");
        let other = self.any_key();
        let tag = other.tag(&crate::wire::Digest([7; 16]));
        match self.random.random_range(0..10) {
            0 => Outcome::Busy { retry_after_ms: 5 },
            1 => Outcome::error(ErrorCode::NotSupported, "no batches"),
            2 => Outcome::error(ErrorCode::Malformed, "no such slots"),
            3 => Outcome::UnknownSlot,
            4 => Outcome::NotFound,
            5 => Outcome::UseCached { tag },
            6 => Outcome::Noted,
            7 => empty_delta(),
            8 => Outcome::FateUnknown,
            _ => Outcome::error(ErrorCode::Unavailable, ""),
        }
    }

    /// The decision that servers make of a slot: unchanged, or what is said of it, or neither.
    fn decide_in_batch(&mut self, slot: u64) -> (Option<Tag>, Option<Outcome>) {
        let Some((key, held)) = self.mirror.get(&slot).cloned() else {
            self.note("batch: unknown");
            return (None, Some(Outcome::UnknownSlot));
        };
        let Some(fresh) = self.fresh(&key).cloned() else {
            return (None, None);
        };
        let digest = fresh.fingerprint().digest;
        let tag = key.tag(&digest);
        if held.as_ref().is_some_and(|held| held.fingerprint().digest == digest) {
            self.note("batch: unchanged");
            return (Some(tag), None);
        }
        if self.chance(10) {
            self.note("batch: left out");
            return (None, None);
        }
        self.note("batch: changed");
        self.mirror.insert(slot, (key, Some(fresh.clone())));
        (None, Some(self.bring(tag, held, &fresh)))
    }

    /// What a broken server or router may make of a reply to a batch. It does not forge tags.
    fn spoil_batch(&mut self, batch: &Batch, draft: &mut Draft) {
        let slots: Vec<_> = batch.slots().collect();
        let any = self.random.random_range(0..slots.len());
        let fresh_tag = |world: &Self, slot: &u64| {
            let (key, _) = world.mirror.get(slot)?;
            Some((*slot, key.tag(&world.fresh(key)?.fingerprint().digest)))
        };
        let what = match self.random.random_range(0..9) {
            0 => {
                draft.bits.fill(true);
                draft.named = slots.iter().filter_map(|slot| fresh_tag(self, slot)).collect();
                "batch: all called unchanged"
            }
            1 => {
                draft.bits[any] ^= true;
                let named = slots.iter().zip(&draft.bits).filter(|(_, bit)| **bit);
                draft.named = named.filter_map(|(slot, _)| fresh_tag(self, slot)).collect();
                "batch: a wrong bit"
            }
            2 => {
                draft.named.iter_mut().for_each(|(slot, _)| *slot += 1);
                "batch: the hash of other slots"
            }
            3 => {
                let length =
                    *[0, slots.len() + 1, slots.len() + 8, 4000].choose(&mut self.random).unwrap();
                draft.bits.resize(length, self.random.random());
                "batch: a bitmap of another length"
            }
            4 => {
                let busy = (0..70).filter(|slot| !slots.contains(slot)).collect::<Vec<_>>();
                let slot = *busy.choose(&mut self.random).unwrap();
                let said = self.bring_any();
                draft.entries.insert(0, (slot, said));
                "batch: a slot that was not asked for"
            }
            5 => {
                let said = self.bring_any();
                draft.entries.push((slots[any], said));
                "batch: of one slot more than once"
            }
            6 => {
                draft.entries = slots.iter().map(|slot| (*slot, Outcome::UnknownSlot)).collect();
                draft.bits.fill(false);
                draft.named.clear();
                "batch: all called unknown"
            }
            7 => {
                let said = [
                    Outcome::NotFound,
                    Outcome::error(ErrorCode::Refused, "no"),
                    Outcome::error(ErrorCode::Unavailable, ""),
                    Outcome::Busy { retry_after_ms: 1 },
                    Outcome::UseCached { tag: Tag([7; 16]) },
                    empty_delta(),
                ];
                let said = said.choose(&mut self.random).unwrap().clone();
                draft.entries.insert(0, (slots[any], said));
                "batch: what has no place in it"
            }
            _ => {
                let said: Vec<_> = slots.iter().map(|slot| (*slot, self.bring_any())).collect();
                draft.entries = said;
                "batch: other items"
            }
        };
        self.note(what);
    }

    /// Any item, as what it is.
    fn bring_any(&mut self) -> Outcome {
        let key = self.any_key();
        match self.fresh(&key).cloned() {
            Some(version) => {
                let tag = key.tag(&version.fingerprint().digest);
                self.bring(tag, Some(version.clone()), &version)
            }
            None => Outcome::NotFound,
        }
    }

    /// Replies one behind the other, bodies behind their frames where they do not fit, or by
    /// chance.
    fn write_entries(&mut self, entries: &[(u64, Outcome)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (slot, outcome) in entries {
            let mut outcome = outcome.clone();
            let mut behind = Bytes::new();
            if let Outcome::Full { body, .. } | Outcome::Delta { body, .. } = &mut outcome
                && let Body::Inline(bytes) = body
                && (bytes.len() > MAX_INLINE_BODY || self.chance(20))
            {
                behind = bytes.clone();
                *body = Body::Stream { length: behind.len() as u64 };
            }
            let frame = LaneReply { request_id: *slot, outcome }.encode();
            out.extend_from_slice(frame.bytes());
            out.extend_from_slice(&behind);
        }
        out
    }

    /// The mirror is made to say what the client says; or nothing comes of it.
    pub(super) fn answer_inventory(&mut self, inventory: &Inventory) -> Outcome {
        if self.chance(30) {
            self.note("inventory: refused");
            return match self.random.random_range(0..4) {
                0 => Outcome::error(ErrorCode::NotSupported, ""),
                1 => Outcome::error(ErrorCode::Unavailable, ""),
                2 => Outcome::Busy { retry_after_ms: 5 },
                _ => Outcome::UnknownSlot,
            };
        }
        assert!(!inventory.entries.is_empty(), "an inventory says something");
        for entry in &inventory.entries {
            let versions = self.source[&entry.key].iter().filter_map(|(_, it)| it.as_ref());
            let mut versions = versions.filter(|it| *it.fingerprint() == entry.version);
            let held = versions.next().expect("it held that once").clone();
            assert!(entry.slot < self.slots, "slot {}", entry.slot);
            self.mirror.insert(entry.slot, (entry.key.clone(), Some(held)));
            *self.played.entry("inventory: noted").or_default() += 1;
        }
        Outcome::Noted
    }
}
