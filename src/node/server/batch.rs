//! Many slots in one request.
//!
//! Each slot of a BATCH is decided like a GET that says nothing of the client's copy. What is
//! unchanged is a bit in the reply, and all that is called so is named by one hash; what has
//! changed travels in the reply's body. What does not fit there, or cannot be told in a few bytes,
//! is left out: neither bit nor body speak of it, the mirror stays as it was, and the client asks
//! for it by itself.

use super::serve::malformed;
use super::{Link, Output, Pending, Server};
use crate::node::Fault;
use crate::wire::backplane::{Forward, How, Message};
use crate::wire::frame::MAX_INLINE_BODY;
use crate::wire::gather::Gather;
use crate::wire::lane::{
    Batch, Body, Get, MAX_BATCH_REST, Outcome, Reply, Unchanged, UnchangedHash, Validator,
};
use crate::wire::{ClientId, Tag, Time};
use bytes::Bytes;

/// What a reply costs in a batch beside its bytes, at the most: frame, tags, header block.
const ENTRY: u64 = 8 * 1024;

/// Slots of all batches that may wait for their items; a client that is told that there are too
/// many asks for its items one by one.
pub(super) const MAX_OPEN_SLOTS: usize = 65_536;
/// When it may come with a batch again.
const BUSY_RETRY_MS: u64 = 100;

/// A place in a batch: which batch, and which of its slots.
pub(super) type Place = (u64, usize);

/// What became of a slot.
#[derive(Debug)]
enum Settled {
    /// Nothing yet.
    Open,
    /// The client's copy is good.
    Unchanged(Tag),
    /// This is to be said of it.
    Changed(Outcome, Option<Bytes>),
    /// The client is to ask for it by itself.
    LeftOut,
}

/// A batch between its frame and its reply.
#[derive(Debug)]
pub(super) struct PendingBatch {
    link: Link,
    request_id: u64,
    client: ClientId,
    asked: Option<(u64, u64)>,
    inner_id: u64,
    slots: Vec<(u64, Settled)>,
    open: usize,
    /// Bytes that are to travel in the reply's body, at the most.
    rest: u64,
}

impl Server {
    pub(super) fn serve_batch(
        &mut self,
        now: Time,
        link: &Link,
        forward: &Forward,
        inner_id: u64,
        asked: Option<(u64, u64)>,
    ) {
        let (request_id, client) = (forward.request_id, forward.client);
        let batch = match self.read_batch(forward) {
            Ok(batch) => batch,
            Err(outcome) => {
                let reply = Reply { request_id: inner_id, outcome };
                return self.send_reply(link, (request_id, &client, asked), reply, None);
            }
        };
        self.open_slots += batch.count() as usize;
        self.counters.batches += 1;
        self.last_batch += 1;
        let number = self.last_batch;
        let settled: Vec<_> = batch.slots().map(|slot| (slot, Settled::Open)).collect();
        self.batches.insert(
            number,
            PendingBatch {
                link: link.clone(),
                request_id,
                client,
                asked,
                inner_id,
                open: settled.len(),
                slots: settled,
                rest: 0,
            },
        );
        for (place, slot) in batch.slots().enumerate() {
            let place = (number, place);
            let get = Get { request_id: inner_id, slot, key: None, validator: Validator::None };
            if let Some((_, tag)) = self.current_copy(now, &client, &get) {
                self.settle_in_batch(place, Outcome::UseCached { tag }, None);
            } else if let Some(key) = self.resolve_key(forward, &get) {
                let pending = Pending {
                    batch: Some(place),
                    ..Pending::new(now, link, forward, (inner_id, asked), (slot, key))
                };
                self.find_fresh(now, pending);
            } else {
                self.settle_in_batch(place, Outcome::UnknownSlot, None);
            }
        }
    }

    /// The batch, if it can be served now, or what is to be answered.
    fn read_batch(&self, forward: &Forward) -> Result<Batch, Outcome> {
        let batch = Batch::decode(forward.inner.payload()).map_err(malformed)?;
        // They ascend.
        batch.slots().last().map_or(Ok(()), |slot| self.check_slot(slot))?;
        let known = |slot| {
            let record = self.clients.get(&forward.client);
            record.is_some_and(|record| self.store.held(&record.mirror, slot).is_some())
        };
        // What an alternate does not know, the primary may: this must not stand for its answer.
        if forward.how == How::Standby && !batch.slots().all(known) {
            return Err(Outcome::UnknownSlot);
        }
        if self.open_slots + batch.count() as usize > MAX_OPEN_SLOTS {
            return Err(Outcome::Busy { retry_after_ms: BUSY_RETRY_MS });
        }
        Ok(batch)
    }

    /// Whether so many bytes more can travel in the body of the batch that a request is part of.
    pub(super) fn has_room_in_batch(&self, pending: &Pending, bytes: usize) -> bool {
        let Some((number, _)) = pending.batch else {
            return true;
        };
        let batch = self.batches.get(&number);
        batch.is_some_and(|batch| batch.rest + ENTRY + bytes as u64 <= MAX_BATCH_REST)
    }

    /// A slot of a batch has its answer.
    pub(super) fn settle_in_batch(&mut self, place: Place, outcome: Outcome, body: Option<Bytes>) {
        let blind = self.config.planted.is(Fault::BlindBatch);
        self.settle(
            place,
            match outcome {
                Outcome::UseCached { tag } => Settled::Unchanged(tag),
                Outcome::Full { tag, .. } | Outcome::Delta { tag, .. } if blind => {
                    Settled::Unchanged(tag)
                }
                // Of errors only those are told that a client believes.
                Outcome::Full { .. } | Outcome::Delta { .. } | Outcome::UnknownSlot => {
                    Settled::Changed(outcome, body)
                }
                _ => Settled::LeftOut,
            },
        );
    }

    /// The client is to ask for the slot by itself, if this is one of a batch.
    pub(super) fn leave_out(&mut self, pending: &Pending) {
        if let Some(place) = pending.batch {
            self.settle(place, Settled::LeftOut);
        }
    }

    fn settle(&mut self, (number, place): Place, settled: Settled) {
        let Some(batch) = self.batches.get_mut(&number) else {
            return;
        };
        if let Settled::Changed(outcome, body) = &settled {
            let inline = match outcome {
                Outcome::Full { body: Body::Inline(bytes), .. }
                | Outcome::Delta { body: Body::Inline(bytes), .. } => bytes.len(),
                _ => 0,
            };
            batch.rest += ENTRY + (inline + body.as_ref().map_or(0, Bytes::len)) as u64;
        }
        batch.slots[place].1 = settled;
        batch.open -= 1;
        self.open_slots -= 1;
        if batch.open == 0
            && let Some(batch) = self.batches.remove(&number)
        {
            self.reply_to_batch(batch);
        }
    }

    /// The client is not served here any more.
    pub(super) fn refuse_batch(&mut self, (number, _): Place) {
        if let Some(batch) = self.batches.remove(&number) {
            self.open_slots -= batch.open;
            let known = self.known_assignment(&batch.client);
            let message = Message::NotOwner { request_id: batch.request_id, known };
            self.send(&batch.link, message);
        }
    }

    fn reply_to_batch(&mut self, batch: PendingBatch) {
        let mut hash = UnchangedHash::default();
        let mut rest = Gather::default();
        let is_unchanged = |(_, settled): &(u64, Settled)| matches!(settled, Settled::Unchanged(_));
        let unchanged = Unchanged::new(batch.slots.iter().map(is_unchanged));
        for (slot, settled) in batch.slots {
            match settled {
                Settled::Unchanged(tag) => {
                    self.counters.batched_unchanged += 1;
                    hash.add(slot, &tag);
                }
                Settled::Changed(outcome, body) => {
                    rest.push(&Reply { request_id: slot, outcome }.encode());
                    body.into_iter().for_each(|body| rest.share(body));
                }
                Settled::LeftOut | Settled::Open => {}
            }
        }
        let (length, mut pieces) = (rest.len(), Vec::new());
        rest.take(&mut pieces);
        let inline = length <= MAX_INLINE_BODY;
        let body = match inline {
            true => Body::Inline(pieces.concat().into()),
            false => Body::Stream { length: length as u64 },
        };
        let outcome = Outcome::Batch { unchanged, hash: hash.finish(), rest: body };
        let asked = (batch.request_id, &batch.client, batch.asked);
        let reply = Reply { request_id: batch.inner_id, outcome };
        self.send_reply(&batch.link, asked, reply, None);
        if !inline {
            let (to, request_id) = (batch.link, batch.request_id);
            self.outputs.push_back(Output::SendBody { to, request_id, offset: 0, pieces });
        }
    }
}
