//! A version that comes as a difference to the one that is held.
//!
//! The bytes that come out are checked like any others: by the tag of the client's own key and of
//! what it is about to hand out. A difference that leads nowhere costs a round trip, in which the
//! client says that it holds nothing.

use super::request::Stage;
use super::{Client, Error, Output, ReplyKind};
use crate::mirror::delta;
use crate::node::Fault;
use crate::wire::lane::Body;
use crate::wire::{Digest, HeaderBlock, Tag, Time};
use bytes::Bytes;

/// A difference, and what it leads to.
#[derive(Clone, Debug)]
pub(super) struct Delta {
    pub(super) tag: Tag,
    pub(super) base: Digest,
    pub(super) headers: HeaderBlock,
    pub(super) length: u64,
    pub(super) bytes: Bytes,
}

/// What a DELTA says before its body.
#[derive(Clone, Debug)]
pub(super) struct DeltaHead {
    pub(super) base: Digest,
    pub(super) length: u64,
}

impl Client {
    /// A DELTA came.
    pub(super) fn delta(
        &mut self,
        index: usize,
        (tag, headers): (Tag, HeaderBlock),
        head: DeltaHead,
        body: Body,
        now: Time,
    ) {
        let DeltaHead { base, length } = head;
        let limit = self.config.max_body;
        if length > limit {
            return self.too_large(index, length);
        }
        if self.held_digest(index) != Some(base) {
            return self.mismatch(index);
        }
        match body {
            // A slice of the frame would keep alive whatever was read with it.
            Body::Inline(bytes) => {
                let bytes = Bytes::copy_from_slice(&bytes);
                self.apply(index, Delta { tag, base, headers, length, bytes });
            }
            body => {
                let (length, delta) = (body.length(), Some(DeltaHead { base, length }));
                if length > limit {
                    return self.too_large(index, length);
                }
                self.receive(
                    index,
                    super::request::Head { headers, length, tag: Some(tag), delta },
                    now,
                );
            }
        }
    }

    fn too_large(&mut self, index: usize, length: u64) {
        let limit = self.config.max_body;
        if let Some(slot) = self.requests[index].slot {
            self.cache.doubt(slot);
        }
        self.finish(index, Err(Error::TooLarge { length, limit }));
    }

    fn held_digest(&self, index: usize) -> Option<Digest> {
        let held = self.cache.held(self.requests[index].slot?)?;
        Some(held.fingerprint.digest)
    }

    /// Whether a mistake is planted that takes replies of this kind at their word.
    pub(super) fn is_gullible(&self, kind: ReplyKind) -> bool {
        let of_delta = kind == ReplyKind::Delta && self.config.planted.is(Fault::NoDeltaCheck);
        of_delta || self.config.planted.is(Fault::NoTagCheck)
    }

    /// Makes the version that a difference leads to, once the bytes that are held are in memory.
    pub(super) fn apply(&mut self, index: usize, delta: Delta) {
        let slot = self.requests[index].slot;
        let held = slot.and_then(|slot| self.cache.held(slot));
        let Some(held) = held.filter(|held| held.fingerprint.digest == delta.base) else {
            return self.mismatch(index);
        };
        let Some(old) = held.bytes.clone() else {
            let slot = slot.expect("an item is held in a slot");
            self.requests.set_stage(index, Stage::Loading { delta: Some(Box::new(delta)) });
            return self.outputs.push_back(Output::Load { slot });
        };
        // What is longer than memory can hold was refused with the frame.
        let length = usize::try_from(delta.length).unwrap_or(usize::MAX);
        match delta::decode(&old, &delta.bytes, length) {
            Ok(bytes) => {
                let (tag, headers) = (delta.tag, &delta.headers);
                self.accept(index, tag, headers, bytes, (ReplyKind::Delta, true));
            }
            Err(_) => {
                self.requests[index].needs_whole = true;
                self.mismatch(index);
            }
        }
    }
}
