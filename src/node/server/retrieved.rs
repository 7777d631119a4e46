//! The source's answer on its way to those who wait for it.

use super::answer::Fresh;
use super::pending::Finding;
use super::{ClientRole, Output, Pending, Record, Retrieval, Retrieved, Server};
use crate::mirror::{Freshness, Known};
use crate::wire::backplane::Message;
use crate::wire::lane::{Body, ErrorCode, Outcome};
use crate::wire::{Key, Tag, Time};
use bytes::Bytes;
use std::sync::Arc;

impl Server {
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
        let found = self.take_answer(&retrieval, retrieved, freshness);
        // What was made for one reader is not for those who joined: they ask for their own.
        let for_one = match &found {
            Finding::Fresh(fresh) => !fresh.known.is_shareable(),
            Finding::Unmirrored { .. } => true,
            _ => false,
        };
        if let Some(wanted) = retrieval.wanted {
            self.prefetched(now, wanted);
        }
        let mut waiters = retrieval.waiters.into_iter();
        let now_served = if for_one { 1 } else { usize::MAX };
        for pending in waiters.by_ref().take(now_served) {
            self.finish(now, pending, ticket, &found);
        }
        for pending in waiters {
            self.retrieve_alone(now, pending);
        }
    }

    /// Keeps what the source answered, as far as it may be kept.
    fn take_answer(
        &mut self,
        retrieval: &Retrieval,
        retrieved: Retrieved,
        freshness: Freshness,
    ) -> Finding {
        let (key, asked_at) = (&retrieval.key, retrieval.asked_at);
        let found = match (retrieved, &retrieval.known) {
            (Retrieved::Version(version), _) if version.is_shareable() => {
                let before = retrieval.known.as_ref().map(|known| known.fingerprint().digest);
                let before = before.and_then(|it| Some((it, self.items.payload(&it)?)));
                let body = self.items.insert(key, &version, asked_at, freshness);
                let fresh = self.fresh(key, version.known(), Some(body));
                return Finding::Fresh(Fresh { before, ..fresh });
            }
            (Retrieved::Unchanged, Some(known)) => {
                self.items.renew(key, known, asked_at, freshness);
                return Finding::Fresh(self.fresh(key, known, None));
            }
            (Retrieved::Version(version), _) => {
                Finding::Fresh(self.fresh(key, version.known(), Some(version.body().clone())))
            }
            (Retrieved::Unmirrored { headers, length }, _) => {
                Finding::Unmirrored { headers, length }
            }
            (Retrieved::NotFound, _) => Finding::NotFound,
            (Retrieved::Refused(text), _) => Finding::Refused(text),
            (Retrieved::Failed(text), _) => Finding::Failed(text),
            (Retrieved::Unchanged, None) => {
                Finding::Failed("it called an unknown item unchanged".into())
            }
        };
        self.items.remove(key);
        found
    }

    fn fresh(&self, key: &Key, known: &Arc<Known>, body: Option<Bytes>) -> Fresh {
        let tag = self.items.tag(key, known);
        let tag = tag.unwrap_or_else(|| key.tag(&known.fingerprint().digest));
        Fresh { known: Arc::clone(known), tag, body, before: None }
    }

    fn retrieve_alone(&mut self, now: Time, pending: Pending) {
        self.joinable.remove(&pending.key);
        self.retrieve(now, pending);
    }

    /// The fresh version of a request has come, after a while.
    pub(super) fn finish_fresh(&mut self, now: Time, pending: Pending, fresh: Fresh) {
        self.finish(now, pending, u64::MAX, &Finding::Fresh(fresh));
    }

    /// Whether the client of a request is served here still. If not, it is told: the client was
    /// released, or handed over, while the source was asked.
    pub(super) fn still_serves(&mut self, pending: &Pending) -> bool {
        let owned = self.clients.get(&pending.client);
        let serves = |record: &Record| pending.standby || record.role == ClientRole::Primary;
        if owned.is_some_and(serves) {
            return true;
        }
        if let Some(place) = pending.batch {
            self.refuse_batch(place);
        } else {
            let known = self.known_assignment(&pending.client);
            let message = Message::NotOwner { request_id: pending.request_id, known };
            self.send(&pending.link, message);
        }
        false
    }

    fn finish(&mut self, now: Time, pending: Pending, ticket: u64, found: &Finding) {
        if now > pending.deadline {
            self.leave_out(&pending);
            return self.replicate_binding(&pending);
        }
        if !self.still_serves(&pending) {
            return;
        }
        let Some(record) = self.clients.get(&pending.client) else {
            return;
        };
        if pending.http.is_some() {
            return match found {
                Finding::Fresh(fresh) => self.finish_http(now, pending, fresh.clone()),
                other => self.finish_http_otherwise(pending, ticket, other),
            };
        }
        // The slot may have got another key meanwhile; then its entry is not this request's.
        let held = self.store.held(&record.mirror, pending.slot);
        let bound = held.is_some_and(|held| held.key == &pending.key);
        match found {
            Finding::Fresh(fresh) => self.finish_with_version(now, pending, fresh.clone()),
            // The client asks for each of these by itself, and is told then.
            _ if pending.batch.is_some() => self.leave_out(&pending),
            Finding::Unmirrored { headers, length } => {
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
            Finding::NotFound => {
                self.forget_version(&pending, bound);
                self.reply_pending(&pending, Outcome::NotFound, None);
            }
            Finding::Refused(text) => {
                self.forget_version(&pending, bound);
                self.reply_pending(&pending, Outcome::error(ErrorCode::Refused, text), None);
            }
            Finding::Failed(text) => {
                self.replicate_binding(&pending);
                self.reply_pending(&pending, Outcome::error(ErrorCode::Source, text), None);
            }
        }
    }
}
