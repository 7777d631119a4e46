//! What the server said, and whether it can be true.
//!
//! Nothing is handed out before its tag was compared with the one computed here. The tag covers
//! versions only: that an item does *not* exist, or may not be read, is believed only in reply to a
//! request that carried the key, because a drifted mirror may have another key in the slot.

use super::delta::DeltaHead;
use super::request::{Head, Stage};
use super::{Client, Error, Output, Reply, ReplyKind};
use crate::node::Fault;
use crate::wire::lane::{Body, ErrorCode, Outcome, Reply as LaneReply};
use crate::wire::types::fingerprint;
use crate::wire::{Fingerprint, Frame, FrameType, HeaderBlock, Tag, Time};
use bytes::Bytes;
use std::time::Duration;

/// Replies in a row that may not match the tag of their bytes.
const MAX_MISMATCHES: u32 = 3;
/// Times that a request may go wrong otherwise and be asked again.
pub(super) const MAX_SETBACKS: u32 = 5;
/// The wait after the first such time; it doubles each time.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(50);
/// The shortest wait before a full pool is asked again, whatever it says itself.
pub(super) const SHORTEST_BUSY_WAIT: Duration = Duration::from_millis(10);

impl Client {
    /// A frame came on the lane.
    pub fn handle_lane_frame(&mut self, frame: &Frame, now: Time) {
        if !self.session.is_open() {
            return;
        }
        self.heard(now);
        if let Err(why) = self.lane_frame(frame, now) {
            return self.handle_violation(&why, now);
        }
        self.send();
        self.end_drain(now);
    }

    fn lane_frame(&mut self, frame: &Frame, now: Time) -> Result<(), String> {
        match frame.kind() {
            FrameType::Assigned => return self.assigned(frame),
            FrameType::UseCached
            | FrameType::Full
            | FrameType::NotFound
            | FrameType::UnknownSlot
            | FrameType::Busy
            | FrameType::FateUnknown
            | FrameType::Error
            | FrameType::CallReply => {}
            FrameType::Delta | FrameType::BatchReply | FrameType::Noted
                if self.session.may_know_batches() => {}
            other => return Err(format!("{other:?} has no place on a lane")),
        }
        let LaneReply { request_id, outcome } =
            LaneReply::decode(frame).map_err(|error| error.to_string())?;
        if let Some(ticket) = self.calls.find(request_id) {
            self.session.note_answer();
            self.call_reply(ticket, outcome, frame.bytes().len(), now);
            return Ok(());
        }
        if self.inventory.is_asked(request_id) {
            self.inventory_reply(&outcome);
            return Ok(());
        }
        if self.requests.batches.contains(request_id) {
            self.session.note_answer();
            self.batch_reply(request_id, outcome, frame.bytes().len(), now);
            return Ok(());
        }
        let Some(index) = self.requests.find(request_id) else {
            self.requests.forget_abandoned(request_id);
            self.count_stray(request_id);
            return Ok(());
        };
        self.requests[index].wire_bytes += frame.bytes().len() as u64;
        self.session.note_answer();
        match (&self.requests[index].stage, outcome) {
            (Stage::Asked { keyed, .. }, outcome) => self.reply(index, *keyed, outcome, now),
            // The server was lost in the middle of the body.
            (_, Outcome::Error { code: ErrorCode::Unavailable, .. }) => {
                self.broken_body(index, now);
            }
            (_, _) => self.statistics.unknown_replies += 1,
        }
        Ok(())
    }

    pub(super) fn count_stray(&mut self, request_id: u64) {
        if self.requests.was_issued(request_id) {
            self.statistics.late_replies += 1;
        } else {
            self.statistics.unknown_replies += 1;
        }
    }

    pub(super) fn reply(&mut self, index: usize, keyed: bool, outcome: Outcome, now: Time) {
        match outcome {
            Outcome::Delta { tag, base, headers, length, body } => {
                let head = DeltaHead { base, length };
                self.delta(index, (tag, headers), head, body, now);
            }
            Outcome::UseCached { tag } => self.use_cached(index, tag),
            Outcome::Full { tag, headers, body } => self.full(index, tag, headers, body, now),
            Outcome::NotFound if keyed => {
                let slot = self.slot(index);
                self.cache.discard(slot, &mut self.outputs);
                self.finish(index, Err(Error::NotFound));
            }
            Outcome::Busy { retry_after_ms } => self.busy(index, retry_after_ms, now),
            Outcome::Error { code: ErrorCode::Unavailable, text } => {
                self.set_back(index, Error::Failed { code: ErrorCode::Unavailable, text }, now);
            }
            Outcome::Error { code, text } if keyed => {
                let text = printable(&text);
                self.finish(index, Err(Error::Failed { code, text }));
            }
            // Said of whatever key the mirror has in that slot, if it has one.
            Outcome::NotFound | Outcome::Error { .. } | Outcome::UnknownSlot if !keyed => {
                let slot = self.slot(index);
                // Others of its slots are not known either, if it has forgotten this one.
                if outcome == Outcome::UnknownSlot {
                    self.inventory.want(now);
                }
                self.cache.doubt(slot);
                self.requests[index].needs_key = true;
                self.ask_again(index);
            }
            // A get has no fate that matters, and a slot that came with its key is known.
            Outcome::NotFound
            | Outcome::Error { .. }
            | Outcome::UnknownSlot
            | Outcome::Http(_)
            | Outcome::Called { .. }
            | Outcome::Batch { .. }
            | Outcome::Noted
            | Outcome::FateUnknown => {
                let text = "the reply makes no sense for this request".to_owned();
                self.set_back(index, Error::Failed { code: ErrorCode::Unavailable, text }, now);
            }
        }
    }

    pub(super) fn use_cached(&mut self, index: usize, tag: Tag) {
        let slot = self.slot(index);
        let Some(held) = self.cache.held(slot) else {
            return self.mismatch(index);
        };
        if held.tag != tag && !self.config.planted.is(Fault::NoTagCheck) {
            return self.mismatch(index);
        }
        self.cache.confirm(slot, self.session.number());
        self.statistics.use_cached += 1;
        if self.cache.held(slot).is_some_and(|held| held.bytes.is_some()) {
            return self.hand_out_held(index, slot);
        }
        self.requests.set_stage(index, Stage::Loading { delta: None });
        self.outputs.push_back(Output::Load { slot });
    }

    fn hand_out_held(&mut self, index: usize, slot: u32) {
        let held = self.cache.held(slot).expect("the caller checked that it is held");
        let reply = Reply {
            bytes: held.bytes.clone().expect("the caller checked that the bytes are there"),
            headers: held.headers.clone(),
            kind: ReplyKind::UseCached,
            version: held.tag,
            fingerprint: held.fingerprint,
            details: Default::default(),
        };
        self.finish(index, Ok(reply));
    }

    /// The bytes of an item were read from disk, or could not be.
    pub fn handle_loaded(&mut self, slot: u32, bytes: Option<Bytes>) {
        let Some(index) = self.cache.request(slot) else {
            return;
        };
        let Stage::Loading { delta } = &mut self.requests[index].stage else {
            return;
        };
        let delta = delta.take();
        if self.cache.loaded(slot, bytes, &mut self.outputs) {
            match delta {
                Some(delta) => self.apply(index, *delta),
                None => self.hand_out_held(index, slot),
            }
        } else {
            self.statistics.damaged_items += 1;
            self.ask_again(index);
        }
        self.send();
    }

    fn full(&mut self, index: usize, tag: Tag, headers: HeaderBlock, body: Body, now: Time) {
        let (length, limit) = (body.length(), self.config.max_body);
        if length > limit {
            let slot = self.slot(index);
            self.cache.doubt(slot);
            return self.finish(index, Err(Error::TooLarge { length, limit }));
        }
        let tag = match body {
            // A slice of the frame would keep alive whatever was read with it.
            Body::Inline(bytes) => {
                let (bytes, how) = (Bytes::copy_from_slice(&bytes), (ReplyKind::Full, true));
                return self.accept(index, tag, &headers, bytes, how);
            }
            Body::Stream { .. } => Some(tag),
            Body::Unmirrored { .. } => None,
        };
        self.receive(index, Head { headers, length, tag, delta: None }, now);
    }

    /// The body of a reply is to come on its own stream, or has come.
    pub(super) fn receive(&mut self, index: usize, head: Head, now: Time) {
        let Stage::Asked { id, body, .. } = &mut self.requests[index].stage else {
            unreachable!("the caller looked for a request that was asked");
        };
        let (id, early) = (*id, body.take());
        self.requests.set_stage(index, Stage::Receiving { id, head });
        if let Some(bytes) = early {
            self.complete(index, bytes, now);
        }
    }

    /// Hands out a version that came, whole or as a difference, if it is what its tag says.
    pub(super) fn accept(
        &mut self,
        index: usize,
        tag: Tag,
        headers: &HeaderBlock,
        bytes: Bytes,
        (kind, keep): (ReplyKind, bool),
    ) {
        let print: Fingerprint = fingerprint(headers.as_bytes(), &bytes);
        let right = self.requests[index].key.tag(&print.digest) == tag;
        if !right && !self.is_gullible(kind) {
            self.requests[index].needs_whole = kind == ReplyKind::Delta;
            return self.mismatch(index);
        }
        let headers = HeaderBlock::parse(Bytes::copy_from_slice(headers.as_bytes()));
        let headers = headers.expect("it was parsed before");
        let slot = self.slot(index);
        if keep {
            self.cache.store(slot, (&headers, &bytes), (print, tag), &mut self.outputs);
            self.cache.confirm(slot, self.session.number());
        } else {
            self.cache.discard(slot, &mut self.outputs);
        }
        match kind {
            ReplyKind::Delta => self.statistics.deltas += 1,
            _ => self.statistics.full += 1,
        }
        let details = Default::default();
        let reply = Reply { bytes, headers, kind, version: tag, fingerprint: print, details };
        self.finish(index, Ok(reply));
    }

    /// What the server meant is not what is at hand: ask again so that no misunderstanding is left.
    pub(super) fn mismatch(&mut self, index: usize) {
        self.statistics.tag_mismatches += 1;
        let slot = self.slot(index);
        self.cache.doubt(slot);
        let request = &mut self.requests[index];
        request.mismatches += 1;
        (request.needs_key, request.needs_strong) = (true, true);
        match request.mismatches {
            rounds @ MAX_MISMATCHES.. => self.finish(index, Err(Error::Unverified { rounds })),
            _ => self.ask_again(index),
        }
    }

    fn busy(&mut self, index: usize, retry_after_ms: u64, now: Time) {
        let retry_after = Duration::from_millis(retry_after_ms);
        if !self.config.retry_busy {
            return self.finish(index, Err(Error::Busy { retry_after }));
        }
        self.wait(index, now + retry_after.max(SHORTEST_BUSY_WAIT));
    }

    /// Asks again a little later; a few times, then the request fails with `error`.
    pub(super) fn set_back(&mut self, index: usize, error: Error, now: Time) {
        let request = &mut self.requests[index];
        request.setbacks += 1;
        let setbacks = request.setbacks;
        let slot = self.slot(index);
        self.cache.doubt(slot);
        if setbacks >= MAX_SETBACKS {
            return self.finish(index, Err(error));
        }
        let wait = self.session.jitter(FIRST_RETRY * (1 << (setbacks - 1)));
        self.wait(index, now + wait);
    }

    fn wait(&mut self, index: usize, until: Time) {
        self.requests.set_stage(index, Stage::Waiting { until });
        self.drop_if_unwanted(index);
    }

    /// Puts a request back into the queue, where it keeps its old place.
    pub(super) fn ask_again(&mut self, index: usize) {
        self.requests.set_stage(index, Stage::Queued);
        self.drop_if_unwanted(index);
    }

    fn drop_if_unwanted(&mut self, index: usize) {
        if self.requests[index].waiting().next().is_none() {
            self.drop_request(index);
        }
    }

    fn slot(&self, index: usize) -> u32 {
        self.requests[index].slot.expect("a request that was asked has a slot")
    }
}

/// A text from a peer, without what could take over a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
