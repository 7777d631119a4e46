//! A request from its frame to its reply.
//!
//! Every request asks the source, unless the source has said for how long its last answer holds;
//! requests for one key that arrive in one turn of the loop, before the source was asked, share the
//! question. When the fresh version is known, the mirror and the
//! client's validator decide what goes out, and the mirror is made to hold that version, here first
//! and then at the alternate, before the reply leaves.

use super::{ClientRole, Link, Output, Pending, Record, Retrieval, Retrieved, Server};
use crate::mirror::{Freshness, decide};
use crate::node::Fault;
use crate::wire::backplane::{Forward, How, Message, UseCachedBy};
use crate::wire::lane::{Body, ErrorCode, Get, Outcome, Reply};
use crate::wire::{ClientId, Frame, FrameType, Key, Tag, Time};
use std::sync::Arc;
use std::time::Duration;

impl Server {
    /// Serves a request of a client whose mirror is here.
    pub(super) fn serve(&mut self, now: Time, link: &Link, forward: &Forward) {
        let Ok(inner_id) = forward.inner.request_id() else {
            // The router has read the id of everything it forwards.
            return;
        };
        let standby = forward.how == How::Standby;
        let Some(record) = self.clients.get_mut(&forward.client) else {
            return;
        };
        if !standby {
            record.note_request(now, link);
        }
        let names_us = forward.primary.as_ref().is_none_or(|name| *name == self.config.name);
        let asked = names_us.then_some((forward.term, forward.change));
        let refuse = |server: &mut Self, outcome| {
            let asked = (forward.request_id, &forward.client, asked);
            server.send_reply(link, asked, Reply { request_id: inner_id, outcome }, None);
        };
        if forward.inner.kind() == FrameType::Call {
            return self.serve_call(link, forward, inner_id, asked);
        }
        let get = match Self::read_get(&forward.inner) {
            Ok(get) => get,
            Err(outcome) => return refuse(self, outcome),
        };
        if get.slot >= self.config.slots {
            let limit = self.config.slots;
            let text = format!("slot {} is beyond the limit of {limit} slots", get.slot);
            return refuse(self, Outcome::error(ErrorCode::Malformed, text));
        }
        let whole = forward.resume.is_none();
        if whole && let Some((by, tag)) = self.current_copy(now, &forward.client, &get) {
            let asked = (forward.request_id, &forward.client, asked);
            let reply = Reply { request_id: inner_id, outcome: Outcome::UseCached { tag } };
            return self.send_reply(link, asked, reply, Some(by));
        }
        let Some(key) = self.resolve_key(forward, &get) else {
            return refuse(self, Outcome::UnknownSlot);
        };
        let pending = Pending {
            link: link.clone(),
            request_id: forward.request_id,
            client: forward.client,
            asked,
            standby,
            deadline: now + Duration::from_millis(forward.deadline_ms),
            inner_id,
            slot: get.slot,
            key,
            validator: get.validator,
            resume: forward.resume,
        };
        match self.items.current(&pending.key, now) {
            Some((version, tag)) => {
                let version = Arc::clone(version);
                self.finish_with_version(&pending, &version, tag);
            }
            None => self.retrieve(now, pending),
        }
    }

    /// The usual case, decided without copying or changing anything: the mirror knows the slot and
    /// is right, the source need not be asked, and the client's copy is good.
    fn current_copy(
        &mut self,
        now: Time,
        client: &ClientId,
        get: &Get,
    ) -> Option<(UseCachedBy, Tag)> {
        let held = self.store.held(&self.clients.get(client)?.mirror, get.slot)?;
        if get.key.as_ref().is_some_and(|key| key != held.key) {
            return None;
        }
        let (version, tag) = self.items.current(held.key, now)?;
        let fresh = version.fingerprint();
        let verdict = decide(held.version, &get.validator, fresh);
        let settled = held.version == Some(fresh) && !verdict.drifted;
        Some((verdict.use_cached.filter(|_| settled)?, tag))
    }

    fn read_get(inner: &Frame) -> Result<Get, Outcome> {
        match inner.kind() {
            FrameType::Get => Get::decode(inner.payload())
                .map_err(|error| Outcome::error(ErrorCode::Malformed, error.to_string())),
            FrameType::Batch => {
                Err(Outcome::error(ErrorCode::NotSupported, "not supported by this version"))
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

    fn retrieve(&mut self, now: Time, pending: Pending) {
        if let Some(ticket) = self.joinable.get(&pending.key) {
            self.retrievals[*ticket].waiters.push(pending);
            return;
        }
        self.counters.retrievals += 1;
        let key = pending.key.clone();
        let known = self.items.find(&key);
        let retrieval = Retrieval {
            key: key.clone(),
            asked_at: now,
            known: known.clone(),
            waiters: vec![pending],
        };
        let ticket = self.retrievals.insert(retrieval);
        self.joinable.insert(key.clone(), ticket);
        self.outputs.push_back(Output::Retrieve { ticket: ticket as u64, key, known });
    }

    /// The source answered, and says how long that holds after it was asked.
    pub fn handle_retrieved(
        &mut self,
        now: Time,
        ticket: u64,
        retrieved: Retrieved,
        freshness: Freshness,
    ) {
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
                let (key, asked_at) = (&retrieval.key, retrieval.asked_at);
                self.items.insert(key, Arc::clone(version), asked_at, freshness);
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
            self.retrieve_alone(now, pending);
        }
    }

    fn retrieve_alone(&mut self, now: Time, pending: Pending) {
        self.joinable.remove(&pending.key);
        self.retrieve(now, pending);
    }

    fn finish(&mut self, now: Time, pending: Pending, ticket: u64, retrieved: &Retrieved) {
        if now > pending.deadline {
            return self.replicate_binding(&pending);
        }
        let owned = self.clients.get(&pending.client);
        let serves = |record: &&Record| pending.standby || record.role == ClientRole::Primary;
        let Some(record) = owned.filter(serves) else {
            // The client was released, or handed over, while the source was asked.
            let known = self.known_assignment(&pending.client);
            let message = Message::NotOwner { request_id: pending.request_id, known };
            return self.send(&pending.link, message);
        };
        // The slot may have got another key meanwhile; then its entry is not this request's.
        let held = self.store.held(&record.mirror, pending.slot);
        let bound = held.is_some_and(|held| held.key == &pending.key);
        match retrieved {
            Retrieved::Version(fresh) => {
                let cached = self.items.tag(&pending.key, fresh);
                let tag = cached.unwrap_or_else(|| pending.key.tag(&fresh.fingerprint().digest));
                self.finish_with_version(&pending, fresh, tag);
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
}
