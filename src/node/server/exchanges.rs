//! HTTP requests that an HTTP origin is asked, and what of its answers is kept for others.
//!
//! A request that only reads may be answered from what is kept; else it is passed to the origin,
//! with the validator of what is kept, if something is. Those for one variant of an item that
//! arrive in one turn of the loop share the question, as native GETs do. What the origin does not
//! let be shared goes to the one for whom it was asked and to nobody else. All other requests are
//! passed on, and their answers passed back.

use super::answer::Fresh;
use super::habits::{item_of, name_of};
use super::http::told;
use super::pending::Pending;
use super::{Link, Output, Server};
use crate::http::cache::Reuse;
use crate::http::control::CacheControl;
use crate::mirror::Known;
use crate::wire::backplane::Message;
use crate::wire::http::{HttpRequest, RequestBody};
use crate::wire::{Key, Time};
use bytes::Bytes;
use std::sync::Arc;

/// One question to an HTTP origin, and who waits for the answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) kept_as: Option<KeptAs>,
    pub(super) asked_at: Time,
    pub(super) known: Option<Arc<Known>>,
    pub(super) waiters: Vec<Pending>,
}

/// Under what name an answer may be kept.
#[derive(Debug)]
pub(super) struct KeptAs {
    pub(super) name: Key,
    /// The item whose variant that is.
    pub(super) item: Key,
    /// How often the item may have been changed when it was asked for.
    pub(super) generation: u64,
}

impl Server {
    /// Answers from what is kept, or asks the origin.
    pub(super) fn serve_by_origin(
        &mut self,
        now: Time,
        key: Option<Key>,
        request: HttpRequest,
        pending: impl FnOnce(Key, HttpRequest) -> Pending,
    ) {
        let wishes = CacheControl::of_request(&request.fields);
        let has_content = request.body != RequestBody::None;
        let Some(key) = key.filter(|_| request.is_read() && !has_content && !wishes.no_store)
        else {
            let nameless = Key::new(Bytes::from_static(b"/")).expect("it is a key");
            return self.exchange_alone(now, pending(nameless, request));
        };
        let item = item_of(&key, &request);
        let habit = self.habits.of(&item);
        let name = name_of(&item, &habit, &request);
        let is_private = habit.private_until > now;
        let for_one = is_private || request.method == "HEAD" || request.fields.has("range");
        let pending = pending(name.clone(), request);
        let known = self.items.known(&name).filter(|known| known.response().is_some());
        let reuse = known
            .as_ref()
            .and_then(|known| known.response())
            .map(|response| response.storage.reuse(&wishes, now.as_secs()));
        match (reuse, known.clone()) {
            (Some(Reuse::Fresh), Some(known)) => {
                let tag = self.items.tag(&name, &known);
                let tag = tag.unwrap_or_else(|| name.tag(&known.fingerprint().digest));
                let fresh = Fresh { known, tag, body: None, before: None };
                return self.finish_exchange(now, pending, fresh);
            }
            _ if wishes.only_if_cached => {
                return self.reply_pending(&pending, told(504, "nothing is kept of this"), None);
            }
            _ => {}
        }
        if for_one || pending.resume.is_some() {
            return self.exchange_alone(now, pending);
        }
        let joined = self.joinable_exchanges.get(&name);
        if let Some(exchange) = joined.and_then(|ticket| self.exchanges.get_mut(*ticket)) {
            return exchange.waiters.push(pending);
        }
        let _ = self.exchange(
            now,
            pending,
            Some(KeptAs { name, item, generation: habit.generation }),
            known,
        );
    }

    /// Asks the origin. Returns the number of the question.
    pub(super) fn exchange(
        &mut self,
        now: Time,
        pending: Pending,
        kept_as: Option<KeptAs>,
        known: Option<Arc<Known>>,
    ) -> Option<usize> {
        let request = pending.http.clone()?;
        self.counters.exchanges += 1;
        let (link, request_id) = (pending.link.clone(), pending.request_id);
        let deadline_ms = pending.deadline.since(now).as_millis() as u64;
        let streams = request.body == RequestBody::Stream;
        let name = kept_as.as_ref().map(|kept_as| kept_as.name.clone());
        let shared = kept_as.is_some();
        let waiters = vec![pending];
        let exchange = Exchange { kept_as, asked_at: now, known: known.clone(), waiters };
        let ticket = self.exchanges.insert(exchange);
        if let Some(name) = name {
            self.joinable_exchanges.insert(name, ticket);
        }
        let content = streams.then(|| (link.clone(), request_id));
        let number = ticket as u64;
        let output =
            Output::Exchange { ticket: number, request, known, shared, content, deadline_ms };
        self.outputs.push_back(output);
        if streams {
            self.send(&link, Message::WantBody { request_id });
        }
        Some(ticket)
    }

    /// From here on the origin may already have looked: later requests ask anew.
    pub(super) fn close_exchange(&mut self, ticket: u64) {
        let exchange = self.exchanges.get(ticket as usize);
        if let Some(kept_as) = exchange.and_then(|exchange| exchange.kept_as.as_ref())
            && self.joinable_exchanges.get(&kept_as.name) == Some(&(ticket as usize))
        {
            self.joinable_exchanges.remove(&kept_as.name);
        }
    }

    /// Nobody waits for the answer to a request of a router any more. If the origin was asked in
    /// its words, the answer may be for its client alone: those who joined it ask anew, together.
    pub(super) fn cancel_exchange(&mut self, now: Time, link: &Link, request_id: u64) {
        let is_meant =
            |pending: &Pending| pending.request_id == request_id && pending.link == *link;
        let found = self.exchanges.iter_mut().find_map(|(ticket, exchange)| {
            let place = exchange.waiters.iter().position(is_meant)?;
            exchange.waiters.remove(place);
            (place == 0).then_some(ticket)
        });
        let Some(ticket) = found else {
            return;
        };
        self.close_exchange(ticket as u64);
        let Exchange { kept_as, known, waiters, .. } = self.exchanges.remove(ticket);
        self.outputs.push_back(Output::CancelExchange { ticket: ticket as u64 });
        let mut waiters = waiters.into_iter();
        if let Some(next) = waiters.next() {
            let again = self.exchange(now, next, kept_as, known);
            let again = again.and_then(|ticket| self.exchanges.get_mut(ticket));
            again.into_iter().for_each(|exchange| exchange.waiters.extend(waiters.by_ref()));
        }
    }
}
