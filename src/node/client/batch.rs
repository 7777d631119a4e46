//! Asking about many slots in one frame.
//!
//! Gets that may be batched, for items that the client holds, leave together in one BATCH. Its
//! reply says which of them are unchanged, and brings the others as far as they fit. The client
//! checks one hash over the tags of all that it is to use; if that is not its own, it asks for each
//! by itself, as for whatever the reply leaves open. So a batch can save round trips and never
//! costs an answer.

use super::Client;
use super::cache::Room;
use super::request::Stage;
use crate::node::Fault;
use crate::wire::lane::{
    Batch, BatchRest, Body, ErrorCode, MAX_BATCH, MAX_BATCH_REST, Outcome, Unchanged, UnchangedHash,
};
use crate::wire::{Digest, Tag, Time};
use bytes::Bytes;
use hashbrown::HashMap;

/// Fewer items are asked for one by one.
const LEAST: usize = 2;

/// A slot of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    slot: u64,
    /// The version that the client held when it asked.
    tag: Tag,
    /// The request that waits for it; none once it was given up.
    request: Option<usize>,
}

/// What a reply says before its body has come.
#[derive(Debug)]
struct BatchHead {
    unchanged: Unchanged,
    hash: Digest,
    length: u64,
}

/// A batch that has not been answered.
#[derive(Debug)]
struct Open {
    members: Vec<Member>,
    head: Option<BatchHead>,
    /// Its body, should that come before the frame that speaks of it.
    early: Option<Bytes>,
}

/// The batches that have not been answered, by the id of their frames.
#[derive(Debug, Default)]
pub(super) struct Batches {
    open: HashMap<u64, Open>,
    /// The session in which the router or a server knew no batches.
    refused_in: u64,
}

impl Batches {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether a batch was sent under this id.
    pub(super) fn contains(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    /// A request does not wait for its batch any more. Returns whether none does now: then the
    /// batch is given up, and its reply will come too late.
    pub(super) fn forget(&mut self, id: u64, request: usize) -> bool {
        let Some(open) = self.open.get_mut(&id) else {
            return false;
        };
        for member in open.members.iter_mut().filter(|it| it.request == Some(request)) {
            member.request = None;
        }
        let given_up = open.members.iter().all(|member| member.request.is_none());
        let unanswered = open.head.is_none();
        if given_up {
            self.open.remove(&id);
        }
        given_up && unanswered
    }

    /// The session is gone.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// How many bytes may follow the BODY frame of a batch.
    pub(super) fn body_limit(&self, id: u64) -> Option<u64> {
        let open = self.open.get(&id)?;
        Some(open.head.as_ref().map_or(MAX_BATCH_REST, |head| head.length))
    }
}

impl Client {
    /// Sends a batch of what may be batched. `false` if there is none to send.
    pub(super) fn send_batch(&mut self, room: Room) -> bool {
        let refused = self.requests.batches.refused_in == self.session.number();
        if !self.session.knows_batches() || !self.session.is_ready() || refused {
            return false;
        }
        let indexes = self.requests.batchable(MAX_BATCH as usize);
        let slots = indexes.into_iter().filter_map(|index| self.batch_member(index, room));
        let mut members: Vec<_> = slots.collect();
        if members.len() < LEAST {
            return false;
        }
        members.sort_unstable_by_key(|member| member.slot);
        let id = self.requests.fresh_id();
        let batch = Batch::of_slots(id, members.iter().map(|member| member.slot));
        // The others go with the next one.
        for member in members.split_off(batch.count() as usize) {
            member.request.into_iter().for_each(|index| self.requests.want_batch(index));
        }
        self.bind_members(&members, room);
        let frame = batch.encode();
        for index in members.iter().filter_map(|member| member.request) {
            let request = &mut self.requests[index];
            request.attempts += 1;
            request.validator = Some(super::ValidatorKind::None);
            self.requests.set_stage(index, Stage::Batched { id });
        }
        let open = Open { members, head: None, early: None };
        self.requests.batches.open.insert(id, open);
        self.count_batch_bytes(id, frame.bytes().len());
        self.outputs.push_back(super::Output::SendLane(frame));
        true
    }

    /// The slot of a request that can be asked about without its key, and which version is there.
    fn batch_member(&self, index: usize, room: Room) -> Option<Member> {
        let request = &self.requests[index];
        // What is not held has to be asked for with its key.
        let slot = request.slot.or_else(|| self.cache.slot_of(&request.key));
        let slot = slot.filter(|slot| u64::from(*slot) < room.slots)?;
        let tag = self.cache.held(slot)?.tag;
        Some(Member { slot: u64::from(slot), tag, request: Some(index) })
    }

    /// Makes the slots of a batch busy: only now, for a slot that is kept for what is not sent yet
    /// keeps others from being sent.
    fn bind_members(&mut self, members: &[Member], room: Room) {
        for index in members.iter().filter_map(|member| member.request) {
            let request = &mut self.requests[index];
            if request.slot.is_none() {
                request.slot = self.cache.bind(&request.key, index, room, &mut self.outputs);
            }
        }
    }

    /// A reply to a batch came, which is no error.
    pub(super) fn batch_reply(&mut self, id: u64, outcome: Outcome, size: usize, now: Time) {
        self.count_batch_bytes(id, size);
        let Some(open) = self.requests.batches.open.get_mut(&id) else {
            return;
        };
        let (unchanged, hash, rest) = match outcome {
            Outcome::Batch { unchanged, hash, rest } if open.head.is_none() => {
                (unchanged, hash, rest)
            }
            Outcome::Error { code: ErrorCode::NotSupported, .. } => {
                self.requests.batches.refused_in = self.session.number();
                return self.break_batch(id);
            }
            _ => return self.break_batch(id),
        };
        let length = rest.length();
        if !unchanged.is_for(open.members.len() as u64) || length > MAX_BATCH_REST {
            return self.break_batch(id);
        }
        let bytes = match rest {
            Body::Inline(bytes) => Some(bytes),
            _ => open.early.take(),
        };
        open.head = Some(BatchHead { unchanged, hash, length });
        if let Some(bytes) = bytes {
            self.complete_batch(id, bytes, now);
        }
    }

    /// The body of a batch came, whole.
    pub(super) fn batch_body(&mut self, id: u64, offset: u64, bytes: Bytes, now: Time) {
        self.count_batch_bytes(id, bytes.len());
        let Some(open) = self.requests.batches.open.get_mut(&id) else {
            return;
        };
        match &open.head {
            _ if offset != 0 => self.fail_batch_bodies(Some(id)),
            Some(_) => self.complete_batch(id, bytes, now),
            None => open.early = Some(bytes),
        }
    }

    /// Each request bears its share.
    fn count_batch_bytes(&mut self, id: u64, size: usize) {
        let open = self.requests.batches.open.get(&id);
        let members = open.map_or(&[][..], |open| &open.members);
        let waiting: Vec<_> = members.iter().filter_map(|member| member.request).collect();
        for (place, index) in waiting.iter().enumerate() {
            let share = size / waiting.len() + usize::from(place < size % waiting.len());
            self.requests[*index].wire_bytes += share as u64;
        }
    }

    fn complete_batch(&mut self, id: u64, bytes: Bytes, now: Time) {
        let Some(Open { members, head: Some(head), .. }) = self.requests.batches.open.remove(&id)
        else {
            return;
        };
        if bytes.len() as u64 != head.length {
            self.statistics.broken_bodies += 1;
            return self.ask_one_by_one(&members);
        }
        let (same, other): (Vec<_>, Vec<_>) =
            members.iter().enumerate().partition(|(place, _)| head.unchanged.contains(*place));
        let mut hash = UnchangedHash::default();
        same.iter().for_each(|(_, member)| hash.add(member.slot, &member.tag));
        let right = hash.finish() == head.hash || self.config.planted.is(Fault::NoHashCheck);
        self.statistics.tag_mismatches += u64::from(!right);
        for (index, tag) in same.iter().filter_map(|(_, it)| Some((it.request?, it.tag))) {
            match right {
                true => self.use_cached(index, tag),
                false => self.ask_surely(index),
            }
        }
        self.take_rest(bytes, other.into_iter().map(|(_, member)| *member).collect(), now);
    }

    /// Takes what a batch brought of the slots that are not unchanged.
    fn take_rest(&mut self, bytes: Bytes, mut members: Vec<Member>, now: Time) {
        let mut rest = BatchRest::new(bytes);
        // Bytes that cannot be read end it, and so does what nobody asked for: a body has room for
        // millions of such replies. Whatever they were to say is asked for.
        while let Ok(Some((reply, body))) = rest.next_reply() {
            let place = members.iter().position(|member| member.slot == reply.request_id);
            let Some(member) = place.map(|place| members.swap_remove(place)) else {
                self.statistics.unknown_replies += 1;
                break;
            };
            if let Some(index) = member.request {
                self.batched_outcome(index, reply.outcome, body, now);
            }
        }
        self.ask_one_by_one(&members);
    }

    fn batched_outcome(&mut self, index: usize, outcome: Outcome, bytes: Option<Bytes>, now: Time) {
        // What a reply announces has come with it.
        let inline = |bytes: Option<Bytes>| Body::Inline(bytes.unwrap_or_default());
        let outcome = match outcome {
            Outcome::Full { tag, headers, body: Body::Stream { .. } } => {
                Outcome::Full { tag, headers, body: inline(bytes) }
            }
            Outcome::Delta { tag, base, headers, length, body: Body::Stream { .. } } => {
                Outcome::Delta { tag, base, headers, length, body: inline(bytes) }
            }
            // The server does not know what it should: it is told, once all is asked for.
            Outcome::UnknownSlot => {
                self.inventory.want(now);
                Outcome::UnknownSlot
            }
            other => other,
        };
        self.reply(index, false, outcome, now);
    }

    /// A batch brought nothing.
    pub(super) fn break_batch(&mut self, id: u64) {
        if let Some(open) = self.requests.batches.open.remove(&id) {
            if open.head.is_some() {
                self.statistics.broken_bodies += 1;
            }
            self.ask_one_by_one(&open.members);
        }
    }

    /// Batches whose bodies broke off: the one under this id, or all that wait for one.
    pub(super) fn fail_batch_bodies(&mut self, id: Option<u64>) {
        let open = &self.requests.batches.open;
        let waiting = open.iter().filter(|(_, open)| open.head.is_some()).map(|(id, _)| *id);
        let mut broken: Vec<_> = match id {
            Some(id) => open.contains_key(&id).then_some(id).into_iter().collect(),
            None => waiting.collect(),
        };
        broken.sort_unstable();
        for id in broken {
            // Its frame may still come, and is late then.
            if self.requests.batches.open.get(&id).is_some_and(|open| open.head.is_none()) {
                self.requests.abandon_id(id);
            }
            self.break_batch(id);
        }
    }

    fn ask_one_by_one(&mut self, members: &[Member]) {
        for index in members.iter().filter_map(|member| member.request) {
            self.ask_again(index);
        }
    }

    /// Asks again so that no misunderstanding is left.
    fn ask_surely(&mut self, index: usize) {
        if let Some(slot) = self.requests[index].slot {
            self.cache.doubt(slot);
        }
        let request = &mut self.requests[index];
        (request.needs_key, request.needs_strong) = (true, true);
        self.ask_again(index);
    }
}
