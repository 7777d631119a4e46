//! The reply to a request, once the fresh version is known, and what the mirror holds then.

use super::{ClientRole, Link, Output, Pending, Record, Server};
use crate::mirror::{Version, decide};
use crate::node::Fault;
use crate::wire::backplane::{Resume, UseCachedBy};
use crate::wire::frame::MAX_INLINE_BODY;
use crate::wire::lane::{Body, ErrorCode, Outcome, Reply};
use crate::wire::{ClientId, Fingerprint, Tag};
use std::sync::Arc;

impl Server {
    /// The fresh version is known: decides by mirror and validator, has the mirror hold that
    /// version, and replies.
    pub(super) fn finish_with_version(
        &mut self,
        pending: &Pending,
        fresh: &Arc<Version>,
        tag: Tag,
    ) {
        let Some(record) = self.clients.get_mut(&pending.client) else {
            return;
        };
        let held = self.store.held(&record.mirror, pending.slot);
        let held = held.filter(|held| held.key == &pending.key);
        let version = held.and_then(|held| held.version);
        let verdict = decide(version, &pending.validator, fresh.fingerprint());
        self.counters.drifted_entries += u64::from(verdict.drifted);
        let stale = held.is_some() && version != Some(fresh.fingerprint());
        if stale && !pending.standby {
            self.set_mirror(pending, Some(fresh.fingerprint()));
        }
        match pending.resume {
            None => self.reply_with_version(pending, fresh, tag, verdict.use_cached),
            Some(resume) => self.reply_with_rest(pending, fresh, tag, resume),
        }
    }

    /// Goes on with a body that broke off at another server, if it is of this version.
    pub(super) fn reply_with_rest(
        &mut self,
        pending: &Pending,
        version: &Arc<Version>,
        tag: Tag,
        Resume { offset, tag: wanted }: Resume,
    ) {
        let same = tag == wanted || self.config.planted.is(Fault::ResumesAnyVersion);
        let length = version.body().len() as u64;
        if !same || offset > length || version.body().len() <= MAX_INLINE_BODY {
            let text = "the item has changed since its body began";
            return self.reply_pending(pending, Outcome::error(ErrorCode::Unavailable, text), None);
        }
        let (headers, body) = (version.headers().clone(), Body::Stream { length });
        self.reply_pending(pending, Outcome::Full { tag: wanted, headers, body }, None);
        self.send_body(pending, version, offset);
    }

    pub(super) fn send_body(&mut self, pending: &Pending, version: &Arc<Version>, offset: u64) {
        self.outputs.push_back(Output::SendBody {
            to: pending.link.clone(),
            request_id: pending.request_id,
            version: Arc::clone(version),
            offset,
        });
    }

    pub(super) fn reply_with_version(
        &mut self,
        pending: &Pending,
        version: &Arc<Version>,
        tag: Tag,
        by: Option<UseCachedBy>,
    ) {
        if by.is_some() {
            return self.reply_pending(pending, Outcome::UseCached { tag }, by);
        }
        let inline = version.body().len() <= MAX_INLINE_BODY;
        let body = if inline {
            Body::Inline(version.body().clone())
        } else {
            Body::Stream { length: version.body().len() as u64 }
        };
        let headers = version.headers().clone();
        self.reply_pending(pending, Outcome::Full { tag, headers, body }, None);
        if !inline {
            self.send_body(pending, version, 0);
        }
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
        let record = self.clients.get(&pending.client).filter(|_| !pending.standby);
        let held = record.and_then(|record| self.store.held(&record.mirror, pending.slot));
        if held.is_some_and(|held| held.key == &pending.key && held.version.is_none()) {
            self.replicate(&pending.client, pending.slot, &pending.key, None);
        }
    }

    pub(super) fn set_mirror(&mut self, pending: &Pending, version: Option<&Fingerprint>) {
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
