//! What is asked and not yet answered.
//!
//! A request is for one key, on behalf of every get of that key that came while it was under way.
//! Between the first attempt and the last it may be asked several times, each time under a new id,
//! so that an answer to an earlier attempt is never taken for one to the latest.
//!
//! Ids of attempts that were given up stay counted until their replies come or the session ends:
//! the router still has them on its list, and its limit is for both of us.

use super::batch::Batches;
use super::request::{Request, Stage, Ticket};
use super::types::ValidatorPolicy;
use crate::wire::{Key, Time};
use hashbrown::HashMap;
use slab::Slab;
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Requests {
    requests: Slab<Request>,
    by_key: HashMap<Key, usize>,
    by_id: HashMap<u64, usize>,
    by_ticket: HashMap<u64, usize>,
    /// Requests in [`Stage::Queued`], in the order in which they first came.
    queue: BTreeSet<(u64, usize)>,
    /// Requests in [`Stage::Waiting`].
    waiting: BTreeSet<(Time, usize)>,
    deadlines: BTreeSet<(Time, u64)>,
    abandoned: BTreeSet<u64>,
    pub(super) batches: Batches,
    /// Queued requests that may be asked among others; some may be gone since.
    batchable: BTreeSet<(u64, usize)>,
    next_sequence: u64,
    next_id: u64,
}

impl Requests {
    /// Adds a get, to the request for its key if there is one.
    pub(super) fn add(
        &mut self,
        ticket: u64,
        key: Key,
        policy: ValidatorPolicy,
        deadline: Time,
    ) -> usize {
        let index = match self.by_key.get(&key) {
            Some(index) => *index,
            None => {
                let index = self.requests.insert(Request {
                    key: key.clone(),
                    policy,
                    slot: None,
                    needs_key: false,
                    needs_strong: false,
                    needs_whole: false,
                    mismatches: 0,
                    setbacks: 0,
                    attempts: 0,
                    wire_bytes: 0,
                    validator: None,
                    stage: Stage::Queued,
                    sequence: self.next_sequence,
                    tickets: Vec::new(),
                });
                self.queue.insert((self.next_sequence, index));
                self.next_sequence += 1;
                self.by_key.insert(key, index);
                index
            }
        };
        let before = self.by_ticket.insert(ticket, index);
        assert!(before.is_none(), "ticket {ticket} is used twice");
        self.deadlines.insert((deadline, ticket));
        let ticket = Ticket { number: ticket, deadline, cancelled: false };
        self.requests[index].tickets.push(ticket);
        index
    }

    /// A request may be asked among others, if it was not asked yet.
    pub(super) fn want_batch(&mut self, index: usize) {
        let request = &self.requests[index];
        if matches!(request.stage, Stage::Queued) && request.attempts == 0 {
            self.batchable.insert((request.sequence, index));
        }
    }

    /// Takes at most `limit` of the requests that may be asked among others, in the order in which
    /// they came.
    pub(super) fn batchable(&mut self, limit: usize) -> Vec<usize> {
        let mut indexes = Vec::new();
        while indexes.len() < limit
            && let Some((_, index)) = self.batchable.pop_first()
        {
            indexes.push(index);
        }
        indexes
    }

    /// Moves a request to another stage.
    pub(super) fn set_stage(&mut self, index: usize, stage: Stage) {
        self.unlist(index);
        let request = &mut self.requests[index];
        match &stage {
            Stage::Queued => drop(self.queue.insert((request.sequence, index))),
            Stage::Waiting { until } => drop(self.waiting.insert((*until, index))),
            Stage::Asked { id, .. } | Stage::Receiving { id, .. } => {
                self.by_id.insert(*id, index);
            }
            Stage::Batched { .. } | Stage::Loading { .. } => {}
        }
        request.stage = stage;
    }

    fn unlist(&mut self, index: usize) {
        let request = &self.requests[index];
        match &request.stage {
            Stage::Queued => {
                self.queue.remove(&(request.sequence, index));
                self.batchable.remove(&(request.sequence, index));
            }
            Stage::Waiting { until } => drop(self.waiting.remove(&(*until, index))),
            Stage::Asked { id, .. } | Stage::Receiving { id, .. } => {
                self.by_id.remove(id);
            }
            Stage::Batched { id } => {
                if self.batches.forget(*id, index) {
                    self.abandoned.insert(*id);
                }
            }
            Stage::Loading { .. } => {}
        }
    }

    /// Takes a request off all lists.
    pub(super) fn remove(&mut self, index: usize) -> Request {
        self.unlist(index);
        let request = self.requests.remove(index);
        self.by_key.remove(&request.key);
        for ticket in &request.tickets {
            self.by_ticket.remove(&ticket.number);
            self.deadlines.remove(&(ticket.deadline, ticket.number));
        }
        request
    }

    /// Gives up the attempt that is under way: its reply will come too late.
    pub(super) fn abandon_attempt(&mut self, index: usize) {
        if let Stage::Asked { id, .. } = self.requests[index].stage {
            self.abandoned.insert(id);
        }
    }

    /// The reply to the attempt under this id, which is not on these lists, will come too late.
    pub(super) fn abandon_id(&mut self, id: u64) {
        self.abandoned.insert(id);
    }

    /// Notes that the reply to an attempt has come, should it have been given up.
    pub(super) fn forget_abandoned(&mut self, id: u64) {
        self.abandoned.remove(&id);
    }

    /// Whether this was ever the id of an attempt.
    pub(super) fn was_issued(&self, id: u64) -> bool {
        id < self.next_id
    }

    /// A fresh request id.
    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Puts all attempts that were under way back into the queue: their session is gone.
    pub(super) fn requeue_all(&mut self) {
        self.abandoned.clear();
        self.batches.clear();
        for index in self.indexes(|request| request.stage.id().is_some()) {
            self.set_stage(index, Stage::Queued);
        }
    }

    /// Takes the first get whose time is up; also returns its request, and whether the caller still
    /// wants to hear of it.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<(u64, usize, bool)> {
        let (deadline, number) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_first();
        let index = self.by_ticket.remove(&number).expect("a deadline belongs to a ticket");
        let tickets = &mut self.requests[index].tickets;
        let place = tickets.iter().position(|ticket| ticket.number == number);
        let ticket = tickets.swap_remove(place.expect("a request knows its tickets"));
        Some((number, index, !ticket.cancelled))
    }

    /// Notes that a caller does not want to hear of its get any more. Returns the request if nobody
    /// else does.
    pub(super) fn cancel(&mut self, number: u64) -> Option<usize> {
        let index = *self.by_ticket.get(&number)?;
        let tickets = &mut self.requests[index].tickets;
        let ticket = tickets.iter_mut().find(|ticket| ticket.number == number);
        ticket.expect("a request knows its tickets").cancelled = true;
        self.requests[index].waiting().next().is_none().then_some(index)
    }

    /// Whether no get is left that belongs to a request, not even a cancelled one.
    pub(super) fn is_orphan(&self, index: usize) -> bool {
        self.requests[index].tickets.is_empty()
    }

    /// Moves requests whose waiting is over into the queue.
    pub(super) fn end_waits(&mut self, now: Time) {
        while let Some((_, index)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.set_stage(index, Stage::Queued);
        }
    }

    /// The request to be sent next.
    pub(super) fn next_queued(&self) -> Option<usize> {
        self.queue.first().map(|(_, index)| *index)
    }

    /// The request that was last asked under this id.
    pub(super) fn find(&self, id: u64) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// The requests for which `wanted` says so, in a fixed order.
    pub(super) fn indexes(&self, wanted: impl Fn(&Request) -> bool) -> Vec<usize> {
        self.requests
            .iter()
            .filter(|(_, request)| wanted(request))
            .map(|(index, _)| index)
            .collect()
    }

    /// Ids that the router has on its list.
    pub(super) fn in_flight(&self) -> u64 {
        (self.by_id.len() + self.batches.len() + self.abandoned.len()) as u64
    }

    /// Those of them whose replies nobody waits for.
    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned.len() as u64
    }

    /// Gets that wait for their answer.
    pub(super) fn tickets(&self) -> usize {
        self.by_ticket.len()
    }

    /// The next moment at which something ends here.
    pub(super) fn deadline(&self) -> Option<Time> {
        let waiting = self.waiting.first().map(|(at, _)| *at);
        let ticket = self.deadlines.first().map(|(at, _)| *at);
        waiting.into_iter().chain(ticket).min()
    }
}

impl std::ops::Index<usize> for Requests {
    type Output = Request;

    fn index(&self, index: usize) -> &Request {
        &self.requests[index]
    }
}

impl std::ops::IndexMut<usize> for Requests {
    fn index_mut(&mut self, index: usize) -> &mut Request {
        &mut self.requests[index]
    }
}
