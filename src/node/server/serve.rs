//! A request from its frame to its reply.
//!
//! Every request asks the source; requests for one key that arrive in one turn of the loop, before
//! the source was asked, share the question. When the fresh version is known, the mirror and the
//! client's validator decide what goes out, and the mirror is made to hold that version, here first
//! and then at the alternate, before the reply leaves.

use super::{ClientRole, Link, Output, Pending, Record, Retrieval, Retrieved, Server};
use crate::mirror::{Version, decide};
use crate::node::Fault;
use crate::wire::backplane::{Forward, How, Message, UseCachedBy};
use crate::wire::frame::MAX_INLINE_BODY;
use crate::wire::lane::{Body, ErrorCode, Get, Outcome, Reply};
use crate::wire::{Fingerprint, Frame, FrameType, Key, Tag, Time};
use std::sync::Arc;
use std::time::Duration;

impl Server {
    /// Serves a request of a client whose mirror is here.
    pub(super) fn serve(&mut self, now: Time, link: &Link, forward: Forward) {
        let Ok(inner_id) = forward.inner.request_id() else {
            // The router has read the id of everything it forwards.
            return;
        };
        let standby = forward.how == How::Standby;
        let Some(record) = self.clients.get_mut(&forward.client) else {
            return;
        };
        if !standby {
            record.router = Some(link.clone());
        }
        let asked = (link.clone(), forward.request_id, forward.epoch.clone());
        let get = match Self::read_get(&forward.inner) {
            Ok(get) => get,
            Err(outcome) => return self.reply(&asked, &forward, inner_id, outcome),
        };
        if get.slot >= self.config.slots {
            let limit = self.config.slots;
            let text = format!("slot {} is beyond the limit of {limit} slots", get.slot);
            let outcome = Outcome::error(ErrorCode::Malformed, text);
            return self.reply(&asked, &forward, inner_id, outcome);
        }
        let Some(key) = self.resolve_key(&forward, &get) else {
            return self.reply(&asked, &forward, inner_id, Outcome::UnknownSlot);
        };
        let (link, request_id, asked) = asked;
        let deadline = now + Duration::from_millis(forward.deadline_ms);
        self.retrieve(Pending {
            link,
            request_id,
            client: forward.client,
            asked,
            standby,
            deadline,
            inner_id,
            slot: get.slot,
            key,
            validator: get.validator,
        });
    }

    fn read_get(inner: &Frame) -> Result<Get, Outcome> {
        match inner.kind() {
            FrameType::Get => Get::decode(inner.payload())
                .map_err(|error| Outcome::error(ErrorCode::Malformed, error.to_string())),
            FrameType::Batch | FrameType::Call => {
                let text = format!("{:?} is not supported by this version", inner.kind());
                Err(Outcome::error(ErrorCode::NotSupported, text))
            }
            other => {
                let text = format!("{other:?} is not a request");
                Err(Outcome::error(ErrorCode::Malformed, text))
            }
        }
    }

    /// The key that a request means. One that is named is bound to its slot: that is how the
    /// client evicts what the slot held before.
    fn resolve_key(&mut self, forward: &Forward, get: &Get) -> Option<Key> {
        let record = self.clients.get_mut(&forward.client)?;
        let held = self.store.held(&record.mirror, get.slot);
        match &get.key {
            None => held.map(|held| held.key.clone()),
            Some(key) if forward.how == How::Standby => Some(key.clone()),
            Some(key) => {
                if held.is_none_or(|held| held.key != key) {
                    let stale = held.and_then(|held| held.version.copied());
                    let kept = stale.filter(|_| self.config.planted.is(Fault::StaleSlot));
                    self.store.set(&mut record.mirror, get.slot, key, kept.as_ref());
                }
                Some(key.clone())
            }
        }
    }

    fn retrieve(&mut self, pending: Pending) {
        if let Some(ticket) = self.joinable.get(&pending.key) {
            self.retrievals[*ticket].waiters.push(pending);
            return;
        }
        self.counters.retrievals += 1;
        let key = pending.key.clone();
        let known = self.items.find(&key);
        let retrieval =
            Retrieval { key: key.clone(), known: known.clone(), waiters: vec![pending] };
        let ticket = self.retrievals.insert(retrieval);
        self.joinable.insert(key.clone(), ticket);
        self.outputs.push_back(Output::Retrieve { ticket: ticket as u64, key, known });
    }

    /// The source answered.
    pub fn handle_retrieved(&mut self, now: Time, ticket: u64, retrieved: Retrieved) {
        self.turn(now);
        let Some(retrieval) = self.retrievals.try_remove(ticket as usize) else {
            return;
        };
        let retrieved = match retrieved {
            Retrieved::Unchanged => match &retrieval.known {
                Some(known) => Retrieved::Version(Arc::clone(known)),
                None => Retrieved::Failed("it called an unknown item unchanged".into()),
            },
            other => other,
        };
        match &retrieved {
            Retrieved::Version(version) if version.is_shareable() => {
                self.items.insert(&retrieval.key, Arc::clone(version));
            }
            _ => self.items.remove(&retrieval.key),
        }
        // What was made for one reader is not for those who joined: they ask for their own.
        let for_one = match &retrieved {
            Retrieved::Version(version) => !version.is_shareable(),
            Retrieved::Unmirrored { .. } => true,
            _ => false,
        };
        let mut waiters = retrieval.waiters.into_iter();
        let now_served = if for_one { 1 } else { usize::MAX };
        for pending in waiters.by_ref().take(now_served) {
            self.finish(now, pending, ticket, &retrieved);
        }
        for pending in waiters {
            self.retrieve_alone(pending);
        }
    }

    fn retrieve_alone(&mut self, pending: Pending) {
        self.joinable.remove(&pending.key);
        self.retrieve(pending);
    }

    fn finish(&mut self, now: Time, pending: Pending, ticket: u64, retrieved: &Retrieved) {
        if now > pending.deadline {
            return self.replicate_binding(&pending);
        }
        let owned = self.clients.get(&pending.client);
        let serves = |record: &&Record| pending.standby || record.role == ClientRole::Primary;
        let Some(record) = owned.filter(serves) else {
            // The client was released while the source was asked.
            let known = owned.map(|record| record.assignment(&self.config.name));
            let message = Message::NotOwner { request_id: pending.request_id, known };
            return self.send(&pending.link.clone(), message);
        };
        // The slot may have got another key meanwhile; then its entry is not this request's.
        let held = self.store.held(&record.mirror, pending.slot);
        let bound = held.is_some_and(|held| held.key == &pending.key);
        let version = held.filter(|_| bound).and_then(|held| held.version.copied());
        match retrieved {
            Retrieved::Version(fresh) => {
                let verdict = decide(version.as_ref(), &pending.validator, fresh.fingerprint());
                self.counters.drifted_entries += u64::from(verdict.drifted);
                if bound && !pending.standby {
                    self.set_mirror(&pending, Some(fresh.fingerprint()));
                }
                self.reply_with_version(&pending, fresh, verdict.use_cached);
            }
            Retrieved::Unmirrored { headers, length } => {
                self.forget_version(&pending, bound);
                let body = Body::Unmirrored { length: *length };
                let outcome = Outcome::Full { tag: Tag([0; 16]), headers: headers.clone(), body };
                self.reply_pending(&pending, outcome, None);
                self.outputs.push_back(Output::SendUnmirrored {
                    to: pending.link,
                    request_id: pending.request_id,
                    key: pending.key,
                    ticket,
                });
            }
            Retrieved::NotFound => {
                self.forget_version(&pending, bound);
                self.reply_pending(&pending, Outcome::NotFound, None);
            }
            Retrieved::Refused(text) => {
                self.forget_version(&pending, bound);
                self.reply_pending(&pending, Outcome::error(ErrorCode::Refused, text), None);
            }
            Retrieved::Failed(text) => {
                self.replicate_binding(&pending);
                self.reply_pending(&pending, Outcome::error(ErrorCode::Source, text), None);
            }
            Retrieved::Unchanged => unreachable!("handle_retrieved replaced it by the version"),
        }
    }

    fn reply_with_version(
        &mut self,
        pending: &Pending,
        version: &Arc<Version>,
        by: Option<UseCachedBy>,
    ) {
        let tag = pending.key.tag(&version.fingerprint().digest);
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
            self.outputs.push_back(Output::SendBody {
                to: pending.link.clone(),
                request_id: pending.request_id,
                version: Arc::clone(version),
            });
        }
    }

    /// The client will hold nothing in the slot once it has this reply.
    fn forget_version(&mut self, pending: &Pending, bound: bool) {
        if bound && !pending.standby {
            self.set_mirror(pending, None);
        }
    }

    /// No version came for a slot: its key, which may be new, is still to be known at the
    /// alternate.
    fn replicate_binding(&mut self, pending: &Pending) {
        let record = self.clients.get(&pending.client).filter(|_| !pending.standby);
        let held = record.and_then(|record| self.store.held(&record.mirror, pending.slot));
        if held.is_some_and(|held| held.key == &pending.key && held.version.is_none()) {
            self.replicate(&pending.client, pending.slot, &pending.key, None);
        }
    }

    fn set_mirror(&mut self, pending: &Pending, version: Option<&Fingerprint>) {
        let Some(record) = self.clients.get_mut(&pending.client) else {
            return;
        };
        let held = self.store.held(&record.mirror, pending.slot);
        let unchanged = held.is_some_and(|held| {
            held.key == &pending.key && held.version == version && version.is_some()
        });
        if unchanged {
            return;
        }
        self.store.set(&mut record.mirror, pending.slot, &pending.key, version);
        self.replicate(&pending.client, pending.slot, &pending.key, version);
    }

    fn reply_pending(&mut self, pending: &Pending, outcome: Outcome, by: Option<UseCachedBy>) {
        let inner = Reply { request_id: pending.inner_id, outcome }.encode();
        let assignment = self
            .clients
            .get(&pending.client)
            .filter(|record| record.role == ClientRole::Primary && record.epoch != pending.asked)
            .map(|record| record.assignment(&self.config.name));
        let request_id = pending.request_id;
        let message = Message::Reply { request_id, assignment, by, inner };
        self.send(&pending.link.clone(), message);
    }

    /// Replies to a request that never came to be pending.
    fn reply(
        &mut self,
        (link, request_id, asked): &(Link, u64, crate::wire::Epoch),
        forward: &Forward,
        inner_id: u64,
        outcome: Outcome,
    ) {
        let inner = Reply { request_id: inner_id, outcome }.encode();
        let assignment = self
            .clients
            .get(&forward.client)
            .filter(|record| record.role == ClientRole::Primary && record.epoch != *asked)
            .map(|record| record.assignment(&self.config.name));
        let message = Message::Reply { request_id: *request_id, assignment, by: None, inner };
        self.send(link, message);
    }
}
