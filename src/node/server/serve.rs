//! A request from its frame to its reply.
//!
//! Every request asks the source, unless the source has said for how long its last answer holds;
//! requests for one key that arrive in one turn of the loop, before the source was asked, share the
//! question. When the fresh version is known, the mirror and the client's validator decide what
//! goes out, and the mirror is made to hold that version, here first and then at the alternate,
//! before the reply leaves.

use super::answer::Fresh;
use super::{Link, Output, Pending, Retrieval, Server};
use crate::mirror::{Known, decide};
use crate::node::Fault;
use crate::wire::backplane::{Forward, How, UseCachedBy};
use crate::wire::lane::{ErrorCode, Get, Outcome, Reply};
use crate::wire::{ClientId, Frame, FrameType, Key, Tag, Time};
use std::fmt;
use std::sync::Arc;

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
        let answer = |server: &mut Self, outcome| {
            let asked = (forward.request_id, &forward.client, asked);
            server.send_reply(link, asked, Reply { request_id: inner_id, outcome }, None);
        };
        match forward.inner.kind() {
            FrameType::Call => return self.serve_call(link, forward, inner_id, asked),
            FrameType::HttpRequest => {
                return self.serve_http(now, link, forward, (inner_id, asked));
            }
            FrameType::Batch => return self.serve_batch(now, link, forward, inner_id, asked),
            FrameType::Inventory => {
                let outcome = self.serve_inventory(forward);
                return answer(self, outcome);
            }
            _ => {}
        }
        let get = match self.read_get(&forward.inner) {
            Ok(get) => get,
            Err(outcome) => return answer(self, outcome),
        };
        let whole = forward.resume.is_none();
        if whole && let Some((by, tag)) = self.current_copy(now, &forward.client, &get) {
            let asked = (forward.request_id, &forward.client, asked);
            let reply = Reply { request_id: inner_id, outcome: Outcome::UseCached { tag } };
            return self.send_reply(link, asked, reply, Some(by));
        }
        let Some(key) = self.resolve_key(forward, &get) else {
            return answer(self, Outcome::UnknownSlot);
        };
        let pending = Pending {
            validator: get.validator,
            resume: forward.resume,
            ..Pending::new(now, link, forward, (inner_id, asked), (get.slot, key))
        };
        self.find_fresh(now, pending);
    }

    /// Goes on with the fresh version, from the source if need be.
    pub(super) fn find_fresh(&mut self, now: Time, pending: Pending) {
        match self.items.current(&pending.key, now) {
            Some((known, tag)) => {
                let fresh = Fresh { known: Arc::clone(known), tag, body: None, before: None };
                match pending.http {
                    None => self.finish_with_version(now, pending, fresh),
                    Some(_) => self.finish_http(now, pending, fresh),
                }
            }
            None => self.retrieve(now, pending),
        }
    }

    /// The usual case, decided without copying or changing anything: the mirror knows the slot and
    /// is right, the source need not be asked, and the client's copy is good.
    pub(super) fn current_copy(
        &mut self,
        now: Time,
        client: &ClientId,
        get: &Get,
    ) -> Option<(UseCachedBy, Tag)> {
        let held = self.store.held(&self.clients.get(client)?.mirror, get.slot)?;
        if get.key.as_ref().is_some_and(|key| key != held.key) {
            return None;
        }
        let (known, tag) = self.items.current(held.key, now)?;
        let fresh = known.fingerprint();
        let verdict = decide(held.version, &get.validator, fresh);
        let settled = held.version == Some(fresh) && !verdict.drifted;
        Some((verdict.use_cached.filter(|_| settled)?, tag))
    }

    fn read_get(&self, inner: &Frame) -> Result<Get, Outcome> {
        match inner.kind() {
            FrameType::Get => {
                let get = Get::decode(inner.payload()).map_err(malformed)?;
                self.check_slot(get.slot)?;
                Ok(get)
            }
            other => Err(malformed(format_args!("{other:?} is not a request"))),
        }
    }

    /// Whether a client may have this slot; if not, what it is answered.
    pub(super) fn check_slot(&self, slot: u64) -> Result<(), Outcome> {
        let limit = self.config.slots;
        match slot < limit {
            true => Ok(()),
            false => {
                let what = format_args!("slot {slot} is beyond the limit of {limit} slots");
                Err(malformed(what))
            }
        }
    }

    /// The key that a request means. One that is named is bound to its slot: that is how the
    /// client evicts what the slot held before.
    pub(super) fn resolve_key(&mut self, forward: &Forward, get: &Get) -> Option<Key> {
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

    /// Asks the source, or joins those who are about to.
    pub(super) fn retrieve(&mut self, now: Time, pending: Pending) {
        if let Some(ticket) = self.joinable.get(&pending.key) {
            self.retrievals[*ticket].waiters.push(pending);
            return;
        }
        let known = self.items.known(&pending.key);
        self.ask_source(now, pending, known);
    }

    /// The same for the bytes, also where the version is known.
    pub(super) fn retrieve_whole(&mut self, now: Time, pending: Pending) {
        let ticket = self.joinable.get(&pending.key);
        match ticket.filter(|ticket| self.retrievals[**ticket].known.is_none()) {
            Some(ticket) => self.retrievals[*ticket].waiters.push(pending),
            None => self.ask_source(now, pending, None),
        }
    }

    fn ask_source(&mut self, now: Time, pending: Pending, known: Option<Arc<Known>>) {
        self.counters.retrievals += 1;
        let key = pending.key.clone();
        let retrieval = Retrieval {
            key: key.clone(),
            asked_at: now,
            known: known.clone(),
            waiters: vec![pending],
            wanted: None,
        };
        let ticket = self.retrievals.insert(retrieval);
        self.joinable.insert(key.clone(), ticket);
        self.outputs.push_back(Output::Retrieve { ticket: ticket as u64, key, known });
    }
}

/// The answer to a frame with which something is wrong.
pub(super) fn malformed(what: impl fmt::Display) -> Outcome {
    Outcome::error(ErrorCode::Malformed, what.to_string())
}
