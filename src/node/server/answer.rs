//! The reply to a request, once the fresh version is known, and what the mirror holds then.

use super::{ClientRole, Link, Output, Pending, Record, Server};
use crate::mirror::{Known, Verdict, decide};
use crate::node::Fault;
use crate::wire::backplane::{Resume, UseCachedBy};
use crate::wire::frame::MAX_INLINE_BODY;
use crate::wire::lane::{Body, ErrorCode, Outcome, Reply};
use crate::wire::{ClientId, Digest, Fingerprint, Tag, Time};
use bytes::Bytes;
use std::sync::Arc;

/// The fresh version of an item.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub(super) known: Arc<Known>,
    pub(super) tag: Tag,
    /// Its bytes, if they are at hand without looking.
    pub(super) body: Option<Bytes>,
    /// The version that was current before, if its bytes were at hand then: they may have made room
    /// for these.
    pub(super) before: Option<(Digest, Bytes)>,
}

impl Server {
    /// The fresh version is known: decides by mirror and validator, has the mirror hold that
    /// version, and replies. What is to be sent and not at hand is retrieved first, or made first
    /// if it is a difference.
    pub(super) fn finish_with_version(&mut self, now: Time, pending: Pending, mut fresh: Fresh) {
        let print = *fresh.known.fingerprint();
        let Some((verdict, stale)) = self.judge(&pending, &print) else {
            return;
        };
        if let Some(by) = verdict.use_cached.filter(|_| pending.resume.is_none()) {
            self.settle_mirror(&pending, &print, (&verdict, stale));
            return self.reply_pending(&pending, Outcome::UseCached { tag: fresh.tag }, Some(by));
        }
        if fresh.body.is_none() {
            fresh.body = self.items.payload(&print.digest);
        }
        let Some(body) = fresh.body.clone() else {
            return self.retrieve_whole(now, pending);
        };
        if let Some(resume) = pending.resume {
            self.settle_mirror(&pending, &print, (&verdict, stale));
            return self.reply_with_rest(&pending, &fresh, body, resume);
        }
        let Some((pending, difference)) = self.difference(pending, verdict.holds, &fresh, &body)
        else {
            // It is being made.
            return;
        };
        let outgoing = difference.as_ref().map_or(body.len(), |(_, delta)| delta.len());
        if !self.has_room_in_batch(&pending, outgoing) {
            return self.leave_out(&pending);
        }
        self.settle_mirror(&pending, &print, (&verdict, stale));
        let (tag, headers) = (fresh.tag, fresh.known.headers().clone());
        match difference {
            Some((base, delta)) => {
                let outcome =
                    |body| Outcome::Delta { tag, base, headers, length: print.length, body };
                self.reply_with_body(&pending, outcome, delta);
            }
            None => {
                self.reply_with_body(&pending, |body| Outcome::Full { tag, headers, body }, body)
            }
        }
    }

    /// What mirror and validator say, and whether the mirror does not hold the fresh version of the
    /// request's key.
    fn judge(&self, pending: &Pending, fresh: &Fingerprint) -> Option<(Verdict, bool)> {
        let record = self.clients.get(&pending.client)?;
        let held = self.store.held(&record.mirror, pending.slot);
        let held = held.filter(|held| held.key == &pending.key);
        let version = held.and_then(|held| held.version);
        let mut verdict = decide(version, &pending.validator, fresh);
        if self.config.planted.is(Fault::DeltaFromMirror) {
            verdict.holds = version.map(|version| version.digest);
        }
        Some((verdict, held.is_some() && version != Some(fresh)))
    }

    /// Has the mirror hold what the client will hold once it has the reply.
    fn settle_mirror(
        &mut self,
        pending: &Pending,
        fresh: &Fingerprint,
        (verdict, stale): (&Verdict, bool),
    ) {
        self.counters.drifted_entries += u64::from(verdict.drifted);
        if stale && !pending.standby {
            self.set_mirror(pending, Some(fresh));
        }
    }

    /// Goes on with a body that broke off at another server, if it is of this version.
    fn reply_with_rest(
        &mut self,
        pending: &Pending,
        fresh: &Fresh,
        body: Bytes,
        Resume { offset, tag: wanted }: Resume,
    ) {
        let same = fresh.tag == wanted || self.config.planted.is(Fault::ResumesAnyVersion);
        let length = body.len() as u64;
        if !same || offset > length || body.len() <= MAX_INLINE_BODY {
            let text = "the item has changed since its body began";
            return self.reply_pending(pending, Outcome::error(ErrorCode::Unavailable, text), None);
        }
        let (headers, announced) = (fresh.known.headers().clone(), Body::Stream { length });
        self.reply_pending(pending, Outcome::Full { tag: wanted, headers, body: announced }, None);
        self.send_body(pending, body.slice(offset as usize..), offset);
    }

    pub(super) fn send_body(&mut self, pending: &Pending, rest: Bytes, offset: u64) {
        self.outputs.push_back(Output::SendBody {
            to: pending.link.clone(),
            request_id: pending.request_id,
            offset,
            pieces: vec![rest],
        });
    }

    /// Replies with bytes, in the frame if they fit.
    fn reply_with_body(
        &mut self,
        pending: &Pending,
        outcome: impl FnOnce(Body) -> Outcome,
        bytes: Bytes,
    ) {
        if bytes.len() <= MAX_INLINE_BODY {
            return self.reply_pending(pending, outcome(Body::Inline(bytes)), None);
        }
        let outcome = outcome(Body::Stream { length: bytes.len() as u64 });
        if let Some(place) = pending.batch {
            return self.settle_in_batch(place, outcome, Some(bytes));
        }
        self.reply_pending(pending, outcome, None);
        self.send_body(pending, bytes, 0);
    }

    /// The client will hold nothing in the slot once it has this reply.
    pub(super) fn forget_version(&mut self, pending: &Pending, bound: bool) {
        if bound && !pending.standby {
            self.set_mirror(pending, None);
        }
    }

    /// No version came for a slot: its key, which may be new, is still to be known at the
    /// alternate.
    pub(super) fn replicate_binding(&mut self, pending: &Pending) {
        let mirrored = !pending.standby && pending.http.is_none();
        let record = self.clients.get(&pending.client).filter(|_| mirrored);
        let held = record.and_then(|record| self.store.held(&record.mirror, pending.slot));
        if held.is_some_and(|held| held.key == &pending.key && held.version.is_none()) {
            self.replicate(&pending.client, pending.slot, &pending.key, None);
        }
    }

    fn set_mirror(&mut self, pending: &Pending, version: Option<&Fingerprint>) {
        let Some(record) = self.clients.get_mut(&pending.client) else {
            return;
        };
        self.store.set(&mut record.mirror, pending.slot, &pending.key, version);
        self.replicate(&pending.client, pending.slot, &pending.key, version);
    }

    pub(super) fn reply_pending(
        &mut self,
        pending: &Pending,
        outcome: Outcome,
        by: Option<UseCachedBy>,
    ) {
        if let Some(place) = pending.batch {
            return self.settle_in_batch(place, outcome, None);
        }
        let asked = (pending.request_id, &pending.client, pending.asked);
        self.send_reply(&pending.link, asked, Reply { request_id: pending.inner_id, outcome }, by);
    }

    /// Counts a reply on its way to a router, with the assignment where the router's is another.
    pub(super) fn send_reply(
        &mut self,
        to: &Link,
        (request_id, client, asked): (u64, &ClientId, Option<(u64, u64)>),
        reply: Reply,
        by: Option<UseCachedBy>,
    ) {
        let differs = |record: &&Record| {
            record.role == ClientRole::Primary && asked != Some(record.counters())
        };
        let record = self.clients.get(client).filter(differs);
        let assignment = record.map(|record| record.assignment(&self.config.name, &self.names));
        let to = to.clone();
        if let (Outcome::UseCached { tag }, Some(by), None) = (&reply.outcome, by, &assignment) {
            let (inner_id, tag) = (reply.request_id, *tag);
            return self.outputs.push_back(Output::UseCached { to, request_id, by, inner_id, tag });
        }
        let (assignment, reply) = (assignment.map(Box::new), Box::new(reply));
        self.outputs.push_back(Output::Reply { to, request_id, assignment, by, reply });
    }
}
