//! Many slots in one frame: BATCH asks about them, its reply says which are unchanged, INVENTORY
//! tells a server that has forgotten what the client holds.

use super::body::Body;
use super::reply::{Outcome, Reply};
use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_PAYLOAD, Shape};
use crate::wire::lane::MAX_SLOTS;
use crate::wire::types::{Digest, Fingerprint, Key, MAX_KEY, Tag};
use bytes::{Buf, Bytes};

/// The first version of the protocol that has BATCH, INVENTORY and DELTA.
pub const BATCH_VERSION: u64 = 3;
/// Slots that one BATCH asks about, at the most.
pub const MAX_BATCH: u64 = 4096;
/// Ranges of slots in one BATCH, at the most.
const MAX_RANGES: u64 = 1024;
/// Bytes of what one BATCH brings besides the word that the rest is unchanged, at the most. What
/// does not fit is asked for by itself.
pub const MAX_BATCH_REST: u64 = 16 << 20;
/// Entries of one INVENTORY, at the most.
pub const MAX_INVENTORY: u64 = 256;
/// Longest entry of an INVENTORY.
const MAX_INVENTORY_ENTRY: usize = 4 + 2 + MAX_KEY + 16 + 4 + 8;

const _: () = assert!(MAX_RANGES as usize * (4 + 2) + 16 <= MAX_PAYLOAD, "a BATCH fits a frame");
const _: () = assert!(MAX_INVENTORY_ENTRY + 16 <= MAX_PAYLOAD, "one entry fits a frame");

/// Slots that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// The first.
    pub first: u64,
    /// How many; at least one.
    pub count: u64,
}

/// Asks which of many slots are unchanged. New in version 3 of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Chosen by the client, unique among its unanswered requests.
    pub request_id: u64,
    /// The slots, in order, each once.
    ranges: Vec<SlotRange>,
}

impl Batch {
    /// Asks about as many of `slots` as one frame can; they must come in order, each once.
    pub fn of_slots(request_id: u64, slots: impl IntoIterator<Item = u64>) -> Self {
        let (mut ranges, mut total): (Vec<SlotRange>, _) = (Vec::new(), 0);
        for slot in slots {
            if total == MAX_BATCH {
                break;
            }
            let full = ranges.len() as u64 == MAX_RANGES;
            match ranges.last_mut() {
                Some(range) if range.first + range.count == slot => range.count += 1,
                _ if full => break,
                _ => ranges.push(SlotRange { first: slot, count: 1 }),
            }
            total += 1;
        }
        Self { request_id, ranges }
    }

    /// How many slots it asks about.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|range| range.count).sum()
    }

    /// The slots, in order.
    pub fn slots(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().flat_map(|range| range.first..range.first + range.count)
    }

    /// Writes the frame.
    ///
    /// # Panics
    /// If the slots are not in order, or too many.
    pub fn encode(&self) -> Frame {
        assert!(self.count() <= MAX_BATCH, "{} slots in a batch", self.count());
        Frame::build(FrameType::Batch, MAX_PAYLOAD, |out| {
            put::varint(out, self.request_id);
            put::limited(out, self.ranges.len() as u64, MAX_RANGES);
            let mut end = 0;
            for range in &self.ranges {
                let gap = range.first.checked_sub(end).expect("slots are in order");
                put::varint(out, gap);
                put::varint(out, range.count);
                end = range.first + range.count;
            }
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let invalid = |why| Err(DecodeError::Invalid { what: "slot range", why });
        let request_id = reader.varint("request id", MAX_VARINT)?;
        let count = reader.varint("count of slot ranges", MAX_RANGES)?;
        if count == 0 {
            return invalid("there is none");
        }
        let (mut ranges, mut end, mut total) = (Vec::new(), 0, 0);
        for place in 0..count {
            let gap = reader.varint("gap before slots", MAX_SLOTS)?;
            let count = reader.varint("count of slots", MAX_BATCH)?;
            if count == 0 {
                return invalid("it is empty");
            }
            if gap == 0 && place > 0 {
                return invalid("it touches the one before");
            }
            let first = end + gap;
            end = first + count;
            total += count;
            if end > MAX_SLOTS {
                let (what, limit) = ("end of slots", MAX_SLOTS);
                return Err(DecodeError::AboveLimit { what, found: end, limit });
            }
            if total > MAX_BATCH {
                let (what, limit) = ("slots of a batch", MAX_BATCH);
                return Err(DecodeError::AboveLimit { what, found: total, limit });
            }
            ranges.push(SlotRange { first, count });
        }
        reader.finish("BATCH")?;
        Ok(Self { request_id, ranges })
    }
}

/// Which slots of a batch are unchanged, one bit each in the order of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchanged(Bytes);

impl Unchanged {
    /// From one answer for each slot.
    pub fn new(answers: impl ExactSizeIterator<Item = bool>) -> Self {
        let mut bits = vec![0; answers.len().div_ceil(8)];
        for (place, answer) in answers.enumerate() {
            bits[place / 8] |= u8::from(answer) << (place % 8);
        }
        Self(bits.into())
    }

    /// Whether the slot at this place of the batch is unchanged.
    pub fn contains(&self, place: usize) -> bool {
        self.0.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1)
    }

    /// Whether it speaks of so many slots.
    pub fn is_for(&self, count: u64) -> bool {
        let padding = (count as usize..self.0.len() * 8).any(|place| self.contains(place));
        self.0.len() as u64 == count.div_ceil(8) && !padding
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self(reader.bytes("bitmap", (MAX_BATCH / 8) as usize)?))
    }
}

/// Collects what stands for all versions that a batch calls unchanged: BLAKE3, first 128 bits, over
/// slot (u32) and tag of each, in the order of the batch.
#[derive(Default)]
pub struct UnchangedHash(blake3::Hasher);

impl UnchangedHash {
    /// The version in this slot is unchanged.
    pub fn add(&mut self, slot: u64, tag: &Tag) {
        let slot = u32::try_from(slot).expect("slots are bounded");
        self.0.update(&slot.to_be_bytes()).update(&tag.0);
    }

    /// The hash over all that was added.
    pub fn finish(&self) -> Digest {
        let hash = self.0.finalize();
        Digest(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }
}

/// Reads what a batch brings: replies whose request id is the slot, one behind the other. A body
/// that a reply announces follows it at once.
#[derive(Clone, Debug)]
pub struct BatchRest(Bytes);

impl BatchRest {
    /// Starts at the first of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The next reply, and its body if it has one outside its frame.
    ///
    /// # Errors
    /// Bytes that are not such replies. There is nothing more to read behind them.
    pub fn next_reply(&mut self) -> Result<Option<(Reply, Option<Bytes>)>, DecodeError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let truncated = |what| DecodeError::Truncated { what };
        let shape = Shape::peek(&self.0, MAX_PAYLOAD)?.ok_or(truncated("frame"))?;
        if shape.total > self.0.len() {
            return Err(truncated("frame"));
        }
        let frame = Frame::parse(self.0.split_to(shape.total), MAX_PAYLOAD)?;
        let reply = Reply::decode(&frame)?;
        let body = match &reply.outcome {
            Outcome::Full { body, .. } | Outcome::Delta { body, .. } => body,
            Outcome::NotFound | Outcome::UnknownSlot | Outcome::Error { .. } => {
                return Ok(Some((reply, None)));
            }
            _ => {
                let found = frame.kind() as u64;
                return Err(DecodeError::Unknown { what: "reply in a batch", found });
            }
        };
        match *body {
            Body::Inline(_) => Ok(Some((reply, None))),
            Body::Stream { length } if length <= self.0.remaining() as u64 => {
                let body = self.0.split_to(length as usize);
                Ok(Some((reply, Some(body))))
            }
            Body::Stream { .. } => Err(truncated("body")),
            Body::Unmirrored { .. } => {
                let found = frame.kind() as u64;
                Err(DecodeError::Unknown { what: "body in a batch", found })
            }
        }
    }
}

/// One item that the client holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryEntry {
    /// Where.
    pub slot: u64,
    /// Its key.
    pub key: Key,
    /// Its version.
    pub version: Fingerprint,
}

/// Tells a server what the client holds. New in version 3 of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Chosen by the client, unique among its unanswered requests.
    pub request_id: u64,
    /// What it holds.
    pub entries: Vec<InventoryEntry>,
}

impl Inventory {
    /// Whether one more entry fits a frame with `entries`.
    pub fn has_room(entries: &[InventoryEntry]) -> bool {
        let size =
            |entry: &InventoryEntry| MAX_INVENTORY_ENTRY - MAX_KEY + entry.key.as_bytes().len();
        let used: usize = entries.iter().map(size).sum();
        (entries.len() as u64) < MAX_INVENTORY && used + MAX_INVENTORY_ENTRY + 16 <= MAX_PAYLOAD
    }

    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(FrameType::Inventory, MAX_PAYLOAD, |out| {
            put::varint(out, self.request_id);
            put::limited(out, self.entries.len() as u64, MAX_INVENTORY);
            for entry in &self.entries {
                put::limited(out, entry.slot, MAX_SLOTS - 1);
                entry.key.encode(out);
                entry.version.encode(out);
            }
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let request_id = reader.varint("request id", MAX_VARINT)?;
        let count = reader.varint("count of items", MAX_INVENTORY)?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(InventoryEntry {
                slot: reader.varint("slot", MAX_SLOTS - 1)?,
                key: Key::decode(&mut reader)?,
                version: Fingerprint::decode(&mut reader)?,
            });
        }
        reader.finish("INVENTORY")?;
        Ok(Self { request_id, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HeaderBlock;
    use crate::wire::gather::Gather;

    #[test]
    fn a_batch_takes_as_many_slots_as_fit() {
        let of = |slots: &[u64]| Batch::of_slots(7, slots.iter().copied());
        assert_eq!(of(&[0, 1, 2, 5]).ranges.len(), 2);
        assert_eq!(of(&[3, 4, 9]).slots().collect::<Vec<_>>(), [3, 4, 9]);
        assert_eq!(Batch::of_slots(1, 0..2 * MAX_BATCH).count(), MAX_BATCH);
        let scattered = Batch::of_slots(1, (0..2 * MAX_RANGES).map(|slot| slot * 900));
        assert_eq!(scattered.count(), MAX_RANGES);
        assert_eq!(Batch::decode(scattered.encode().payload()), Ok(scattered));
    }

    #[test]
    fn a_bitmap_is_for_one_number_of_slots() {
        let answers = [true, false, true, true, false, false, false, false, true];
        let unchanged = Unchanged::new(answers.into_iter());
        assert!((0..9).all(|place| unchanged.contains(place) == answers[place]));
        assert!(unchanged.is_for(9) && unchanged.is_for(10), "a bit that is not set says nothing");
        assert!(!unchanged.is_for(8) && !unchanged.is_for(17) && !unchanged.contains(1000));
        assert!(!Unchanged::new([true; 8].into_iter()).is_for(7), "it speaks of an eighth slot");
    }

    #[test]
    fn what_a_batch_brings_is_read_piece_by_piece() {
        let (tag, headers) = (Tag([1; 16]), HeaderBlock::default());
        let body = Bytes::from(vec![7; 20_000]);
        let stream = Body::Stream { length: body.len() as u64 };
        let full = Reply { request_id: 3, outcome: Outcome::Full { tag, headers, body: stream } };
        let gone = Reply { request_id: 9, outcome: Outcome::NotFound };
        let mut out = Gather::default();
        out.push(&full.encode());
        out.share(body.clone());
        out.push(&gone.encode());
        let mut pieces = Vec::new();
        out.take(&mut pieces);
        let bytes = Bytes::from(pieces.concat());
        let mut rest = BatchRest::new(bytes.clone());
        assert_eq!(rest.next_reply(), Ok(Some((full, Some(body)))));
        assert_eq!(rest.next_reply(), Ok(Some((gone, None))));
        assert_eq!(rest.next_reply(), Ok(None));
        let mut cut = BatchRest::new(bytes.slice(..10_000));
        assert_eq!(cut.next_reply(), Err(DecodeError::Truncated { what: "body" }));
    }
}
