//! What comes back: each answer is checked before it counts.

use super::{Asked, Broken, End, Filler, Pending};
use crate::load::bodies::{Body, BodyStream, Head};
use crate::load::frames::{self, RawBody, RawFrame, RawFull};
use crate::load::session::Message;
use crate::load::slots::Ask;
use crate::load::tally::{FailureKind, ReplyKind};
use crate::wire::lane::{BodyStart, ErrorCode, Outcome, Reply};
use crate::wire::types::fingerprint;
use crate::wire::{Frame, FrameType};
use bytes::{Buf, Bytes};
use std::rc::Rc;
use std::time::Duration;

/// Of so many whole items that look right, the bytes of one are checked.
const CHECK_EVERY: u32 = 64;
/// How long a request waits that found no room before the run.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often requests of one connection may find no room before the run.
const RETRIES: u32 = 100;

const USE_CACHED: u8 = FrameType::UseCached as u8;
const FULL: u8 = FrameType::Full as u8;
const ASSIGNED: u8 = FrameType::Assigned as u8;

impl Filler<'_> {
    /// Takes the next bytes of the lane. Frames are read where they lie, but for one that two
    /// chunks share.
    pub(super) fn read(&mut self, chunk: &[u8]) -> Result<(), Broken> {
        if self.rest.is_empty() {
            let used = self.read_frames(chunk)?;
            self.rest.extend_from_slice(&chunk[used..]);
            return Ok(());
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(chunk);
        let used = self.read_frames(&rest)?;
        rest.advance(used);
        self.rest = rest;
        Ok(())
    }

    /// Takes all whole frames. Returns how many bytes they have.
    fn read_frames(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some(raw) = frames::first_frame(&bytes[used..]).map_err(violation)? {
            self.answer(&raw, &bytes[used..used + raw.size])?;
            used += raw.size;
        }
        Ok(used)
    }

    fn answer(&mut self, raw: &RawFrame<'_>, whole: &[u8]) -> Result<(), Broken> {
        if raw.kind == ASSIGNED {
            // Who services the client is nothing that a load depends on; the session's are kept.
            return Ok(());
        }
        let read = frames::request_id(raw.payload);
        let (id, rest) = read.ok_or_else(|| violation("a reply has no request id"))?;
        let Some(position) = self.position(id) else {
            self.shared.stray(FailureKind::UnknownRequest, self.now);
            return Ok(());
        };
        match raw.kind {
            USE_CACHED => {
                let tag = frames::use_cached(rest);
                let tag = tag.ok_or_else(|| violation("USE_CACHED is malformed"))?;
                let asked = self.asked(position);
                let (slot, is_right) = (asked.slot, asked.ask == Ask::Same);
                let outcome = match is_right {
                    true => self.holdings.slots.unchanged(slot, tag),
                    false => Err(FailureKind::WrongReply),
                };
                self.settle(position, outcome.map(|()| ReplyKind::UseCached))
            }
            FULL => {
                let full = frames::full(rest).ok_or_else(|| violation("FULL is malformed"))?;
                self.full(position, &full)
            }
            _ => self.other(position, whole),
        }
    }

    /// The position of a request in flight.
    fn position(&self, id: u64) -> Option<usize> {
        let place = usize::try_from(id / 4).ok()?;
        let position = self.positions.get(place)?;
        let is_in_flight = position.asked.is_some() && u64::from(position.generation) == id % 4;
        is_in_flight.then_some(place)
    }

    fn asked(&mut self, position: usize) -> &mut Asked {
        self.positions[position].asked.as_mut().expect("Self::position found it in flight")
    }

    fn full(&mut self, position: usize, full: &RawFull<'_>) -> Result<(), Broken> {
        let (length, is_unmirrored) = match full.body {
            RawBody::Inline(bytes) => (bytes.len() as u64, false),
            RawBody::Stream(length) => (length, false),
            RawBody::Unmirrored(length) => (length, true),
        };
        let slot = self.asked(position).slot;
        let is_filling = self.asked(position).ask == Ask::Fill;
        self.holdings.full = self.holdings.full.wrapping_add(1);
        let is_checked = is_filling
            || is_unmirrored
            || self.holdings.full.is_multiple_of(CHECK_EVERY)
            || self.holdings.slots.is_unknown(slot, full.tag, length);
        if let RawBody::Inline(bytes) = full.body {
            let found = is_checked.then(|| fingerprint(full.headers, bytes));
            let outcome = self.holdings.slots.received(slot, full.tag, found);
            return self.settle(position, outcome.map(|()| ReplyKind::Full));
        }
        let headers = Bytes::copy_from_slice(full.headers);
        let head = Head { tag: full.tag, headers, length, is_unmirrored, is_checked };
        match self.asked(position).body.take().map(|body| *body) {
            None => self.asked(position).body = Some(Box::new(Pending::Head(head))),
            Some(Pending::Stream(stream)) => self.receive(position, head, stream),
            Some(Pending::Head(_) | Pending::Reading) => return Err(violation("FULL came twice")),
        }
        Ok(())
    }

    /// A body of which head and stream are there is read beside the lane.
    fn receive(&mut self, position: usize, head: Head, stream: BodyStream) {
        let state = &mut self.positions[position];
        let id = position as u64 * 4 + u64::from(state.generation);
        self.asked(position).body = Some(Box::new(Pending::Reading));
        let inbox = Rc::clone(self.inbox);
        self.lane.tasks.spawn_local(async move {
            let body = stream.receive(&head).await;
            inbox.put(Message::Received(id, body));
        });
        // Tasks that have ended are forgotten.
        while self.lane.tasks.try_join_next().is_some() {}
    }

    /// Anything that is rare.
    fn other(&mut self, position: usize, whole: &[u8]) -> Result<(), Broken> {
        let frame = Frame::parse(Bytes::copy_from_slice(whole), whole.len());
        let reply = frame.and_then(|frame| Reply::decode(&frame));
        let reply = reply.map_err(|why| violation(&why.to_string()))?;
        match reply.outcome {
            Outcome::UnknownSlot => self.ask_again(position),
            Outcome::NotFound => {
                self.refused(position, ReplyKind::NotFound, "there is no such item")
            }
            Outcome::Busy { .. } => self.refused(position, ReplyKind::Busy, "the pool is busy"),
            Outcome::Error { code: ErrorCode::Unavailable, text } => {
                self.refused(position, ReplyKind::Error, &text)
            }
            Outcome::Error { text, .. } => {
                self.holdings.retries = RETRIES;
                self.refused(position, ReplyKind::Error, &text)
            }
            Outcome::UseCached { .. }
            | Outcome::Full { .. }
            | Outcome::Delta { .. }
            | Outcome::Batch { .. }
            | Outcome::Noted
            | Outcome::Http(_)
            | Outcome::Called { .. }
            | Outcome::FateUnknown => self.settle(position, Err(FailureKind::WrongReply)),
        }
    }

    /// The mirror does not know the slot, or means another key: the same again, with the key.
    fn ask_again(&mut self, position: usize) -> Result<(), Broken> {
        let asked = self.asked(position);
        if asked.is_named {
            return self.settle(position, Err(FailureKind::WrongReply));
        }
        let (slot, planned) = (asked.slot, asked.planned);
        // What is new stays new; a New that were asked again would be another new one.
        let ask = if asked.ask == Ask::New { Ask::Changed } else { asked.ask };
        self.holdings.slots.forget_name(slot);
        self.shared.note(|tally| tally.asked_again += 1);
        self.ask(position, slot, ask, planned);
        Ok(())
    }

    /// An answer that is none. During the run it counts; before, what may pass is tried again.
    fn refused(&mut self, position: usize, kind: ReplyKind, why: &str) -> Result<(), Broken> {
        let (slot, ask) = (self.asked(position).slot, self.asked(position).ask);
        if ask != Ask::Fill {
            return self.settle(position, Ok(kind));
        }
        self.holdings.retries += 1;
        if kind == ReplyKind::NotFound || self.holdings.retries > RETRIES {
            return Err(hopeless(format!("{}: {why}", self.holdings.slots.key(slot))));
        }
        let inbox = Rc::clone(self.inbox);
        self.lane.tasks.spawn_local(async move {
            tokio::time::sleep(RETRY_PAUSE).await;
            inbox.put(Message::Retry(position));
        });
        Ok(())
    }

    fn settle(
        &mut self,
        position: usize,
        outcome: Result<ReplyKind, FailureKind>,
    ) -> Result<(), Broken> {
        let is_mistaken = matches!(outcome, Err(FailureKind::WrongTag | FailureKind::WrongBytes));
        if is_mistaken && !self.asked(position).is_named {
            // An alternate that answered first may not know yet what the slot stands for now. Any
            // client asks again then, by the key.
            return self.ask_again(position);
        }
        let asked = self.positions[position].asked.take();
        let asked = asked.expect("only requests in flight are settled");
        self.free.push_back(position);
        if asked.ask != Ask::Fill {
            self.shared.settle(asked.planned, self.now, outcome);
        } else if let Err(kind) = outcome {
            let key = self.holdings.slots.key(asked.slot);
            return Err(hopeless(format!("{key}: the answer is wrong: {}", kind.name())));
        }
        Ok(())
    }

    /// What comes from beside the lane.
    pub(super) fn take(&mut self, message: Message) -> Result<(), Broken> {
        match message {
            Message::Body(start, stream) => self.body_begins(&start, stream),
            Message::Received(id, body) => {
                if let Some(position) = self.position(id) {
                    return self.body_ends(position, body);
                }
                Ok(())
            }
            Message::Retry(position) => {
                // A peer that answered twice may have settled it meanwhile.
                let asked = self.positions[position].asked.as_ref();
                if let Some(slot) = asked.filter(|it| it.ask == Ask::Fill).map(|it| it.slot) {
                    self.holdings.slots.forget_name(slot);
                    self.ask(position, slot, Ask::Fill, self.now);
                }
                Ok(())
            }
            Message::Leave => {
                self.is_leaving = true;
                Ok(())
            }
            Message::Violation(why) => Err(violation(&why)),
        }
    }

    fn body_begins(&mut self, start: &BodyStart, stream: BodyStream) -> Result<(), Broken> {
        if start.offset != 0 {
            return Err(violation("a body does not start at its start"));
        }
        let Some(position) = self.position(start.request_id) else {
            self.shared.stray(FailureKind::UnknownRequest, self.now);
            return Ok(());
        };
        match self.asked(position).body.take().map(|body| *body) {
            None => self.asked(position).body = Some(Box::new(Pending::Stream(stream))),
            Some(Pending::Head(head)) => self.receive(position, head, stream),
            Some(Pending::Stream(_) | Pending::Reading) => {
                return Err(violation("a body came twice"));
            }
        }
        Ok(())
    }

    fn body_ends(&mut self, position: usize, body: Option<Body>) -> Result<(), Broken> {
        let slot = self.asked(position).slot;
        let outcome = match body {
            Some(Body { tag, found }) => self.holdings.slots.received(slot, tag, found),
            None => Err(FailureKind::BrokenBody),
        };
        self.settle(position, outcome.map(|()| ReplyKind::Full))
    }
}

/// The peer broke the protocol.
fn violation(why: &str) -> Broken {
    (FailureKind::Protocol, End::Lost(format!("it breaks the protocol: {why}")))
}

fn hopeless(why: String) -> Broken {
    (FailureKind::WrongReply, End::Hopeless(why))
}
