//! What came of the requests that an HTTP origin was asked: for whom it is, and what is kept.

use super::answer::Fresh;
use super::exchanges::{Exchange, KeptAs};
use super::habits::{item_of, name_of};
use super::http::told;
use super::pending::Pending;
use super::{Exchanged, Output, PassedBody, Server};
use crate::http::cache::invalidates;
use crate::http::control::CacheControl;
use crate::mirror::{Freshness, Known, Response, Version};
use crate::wire::http::{Fields, HttpAnswer, HttpBody, HttpRequest};
use crate::wire::lane::Outcome;
use crate::wire::{Key, Time};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// For so long those who ask for an item do not wait for each other, after an answer that was for
/// one of them alone.
const PRIVATE_MEMORY: Duration = Duration::from_secs(10);

impl Server {
    /// The origin answered, or did not.
    pub fn handle_exchanged(&mut self, now: Time, ticket: u64, exchanged: Exchanged) {
        self.turn(now);
        let Some(exchange) = self.exchanges.try_remove(ticket as usize) else {
            return;
        };
        let Exchange { kept_as, asked_at, known, waiters } = exchange;
        if let Some(request) = waiters.first().and_then(|first| first.http.as_deref()) {
            self.note_change(request, &exchanged);
        }
        match (exchanged, kept_as) {
            (Exchanged::Kept { version, vary }, Some(kept_as)) => {
                if self.habits.of(&kept_as.item).generation != kept_as.generation {
                    // The item was changed meanwhile: this may be what it was before.
                    let body = Some(version.body().clone());
                    let fresh = fresh(&kept_as.name, version.known(), body);
                    return self.give_one(now, fresh, waiters);
                }
                self.habits.change(&kept_as.item, |habit| {
                    (habit.vary, habit.private_until) = (vary.clone(), Time::default());
                });
                self.keep(now, (&kept_as.item, asked_at), &version, waiters);
            }
            (Exchanged::Unchanged { response }, Some(kept_as)) => {
                self.confirm(now, (kept_as, asked_at), (known, response), waiters);
            }
            (Exchanged::Passed { status, fields, body }, kept_as) => {
                if let Some(KeptAs { name, item, .. }) = &kept_as {
                    if matches!(status, 200..=299 | 404 | 410) {
                        self.items.remove(name);
                    }
                    if status < 500 {
                        let private_until = now + PRIVATE_MEMORY;
                        self.habits.change(item, |habit| habit.private_until = private_until);
                    }
                }
                self.pass(now, ticket, (status, fields, body), waiters);
            }
            (Exchanged::Failed { status, text }, _) => {
                let mut waiters = waiters;
                // What is one client's fault is no answer to others.
                let others = match status {
                    400..=499 => waiters.split_off(waiters.len().min(1)),
                    _ => Vec::new(),
                };
                self.fail_exchange(now, waiters, known, (status, &text));
                self.exchange_each(now, others);
            }
            (Exchanged::Kept { .. } | Exchanged::Unchanged { .. }, None) => {
                unreachable!("nothing is kept that was not asked for to be kept");
            }
        }
    }

    /// What is known is the current version still, with what the origin says of it now.
    fn confirm(
        &mut self,
        now: Time,
        (KeptAs { name, item, generation }, asked_at): (KeptAs, Time),
        (known, response): (Option<Arc<Known>>, Arc<Response>),
        waiters: Vec<Pending>,
    ) {
        let Some(known) = known else {
            return self.fail_exchange(
                now,
                waiters,
                None,
                (502, "it called an unknown item unchanged"),
            );
        };
        let habit = self.habits.of(&item);
        let same = habit.generation == generation && habit.vary == response.storage.vary;
        let is_shared = response.storage.storable && same;
        let known = Arc::new(known.with_response(response));
        if !is_shared {
            // What was confirmed is confirmed to one: the words with it are for nobody else.
            return self.give_one(now, fresh(&name, &known, None), waiters);
        }
        self.items.renew_as(&name, Arc::clone(&known), asked_at, Freshness::default());
        let fresh = fresh(&name, &known, None);
        for pending in waiters {
            self.finish_exchange(now, pending, fresh.clone());
        }
    }

    /// A version came that others may have too: each who waited gets it, if it is the variant that
    /// was asked for.
    fn keep(
        &mut self,
        now: Time,
        (item, asked_at): (&Key, Time),
        version: &Version,
        waiters: Vec<Pending>,
    ) {
        let habit = self.habits.of(item);
        let mut kept = None;
        for pending in waiters {
            let Some(request) = pending.http.as_deref() else {
                continue;
            };
            let name = name_of(item, &habit, request);
            if kept.is_none() {
                let body = self.items.insert(&name, version, asked_at, Freshness::default());
                kept = Some((name.clone(), fresh(&name, version.known(), Some(body))));
            }
            match &kept {
                Some((kept_as, fresh)) if *kept_as == name => {
                    let fresh = fresh.clone();
                    self.finish_exchange(now, Pending { key: name, ..pending }, fresh);
                }
                _ => self.exchange_alone(now, pending),
            }
        }
    }

    /// A version that only the first of those who waited may have: the others ask for their own.
    fn give_one(&mut self, now: Time, fresh: Fresh, waiters: Vec<Pending>) {
        let mut waiters = waiters.into_iter();
        if let Some(pending) = waiters.next() {
            self.finish_exchange(now, pending, fresh);
        }
        self.exchange_each(now, waiters);
    }

    /// An answer for one: the others ask for their own.
    fn pass(
        &mut self,
        now: Time,
        ticket: u64,
        (status, fields, body): (u16, Fields, PassedBody),
        waiters: Vec<Pending>,
    ) {
        let mut waiters = waiters.into_iter();
        if let Some(pending) = waiters.next().filter(|pending| self.may_answer(pending)) {
            match body {
                PassedBody::None => {
                    let outcome = Outcome::Http(HttpAnswer::new(status, fields));
                    self.reply_pending(&pending, outcome, None);
                }
                PassedBody::Whole(content) => {
                    self.reply_http_content(&pending, (status, fields), content, None);
                }
                PassedBody::Open => {
                    let answer = HttpAnswer { status, fields, body: HttpBody::Open };
                    self.reply_pending(&pending, Outcome::Http(answer), None);
                    let (to, request_id) = (pending.link, pending.request_id);
                    self.outputs.push_back(Output::SendOpen { to, request_id, ticket });
                }
            }
        }
        self.exchange_each(now, waiters);
    }

    /// Whether a request is to be answered here still. What was executed is answered in any case: a
    /// refusal would let the router have it executed once more.
    fn may_answer(&mut self, pending: &Pending) -> bool {
        let repeatable = pending.http.as_ref().is_none_or(|request| request.idempotent);
        !repeatable || self.still_serves(pending)
    }

    pub(super) fn exchange_alone(&mut self, now: Time, pending: Pending) {
        let _ = self.exchange(now, pending, None, None);
    }

    /// Each asks for its own.
    fn exchange_each(&mut self, now: Time, waiters: impl IntoIterator<Item = Pending>) {
        for pending in waiters {
            self.exchange_alone(now, pending);
        }
    }

    /// The origin failed. What is kept may stand for its answer for a while.
    fn fail_exchange(
        &mut self,
        now: Time,
        waiters: Vec<Pending>,
        known: Option<Arc<Known>>,
        (status, text): (u16, &str),
    ) {
        for pending in waiters {
            if !self.may_answer(&pending) {
                continue;
            }
            let fields = pending.http.as_ref().map(|request| &request.fields);
            let wishes = fields.map(CacheControl::of_request).unwrap_or_default();
            let may_stand = |known: &&Arc<Known>| {
                let response = known.response();
                response.is_some_and(|it| it.storage.may_serve_on_error(&wishes, now.as_secs()))
            };
            match known.as_ref().filter(may_stand) {
                Some(known) => {
                    let fresh = fresh(&pending.key, known, None);
                    self.finish_exchange(now, pending, fresh);
                }
                None => self.reply_pending(&pending, told(status, text), None),
            }
        }
    }

    /// A request that may have changed an item makes what is kept of it old (RFC 9111, section
    /// 4.4).
    fn note_change(&mut self, request: &HttpRequest, exchanged: &Exchanged) {
        let changes = |status: u16| invalidates(&request.method, status);
        if matches!(exchanged, Exchanged::Passed { status, .. } if changes(*status))
            && let Ok(key) = Key::new(request.target.as_bytes().clone())
        {
            let item = item_of(&key, request);
            self.habits.change(&item, |habit| habit.generation += 1);
        }
    }
}

/// A version under a name, with its bytes if they are at hand.
fn fresh(name: &Key, known: &Arc<Known>, body: Option<Bytes>) -> Fresh {
    let tag = name.tag(&known.fingerprint().digest);
    Fresh { known: Arc::clone(known), tag, body, before: None }
}
