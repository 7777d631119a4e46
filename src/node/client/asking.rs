//! From a get to the frames that ask for it, and to its end.

use super::cache::{HOLDS_NOTHING, Room};
use super::request::Stage;
use super::{Answer, Client, Details, Error, Failure, Output, Reply, ValidatorPolicy};
use crate::wire::lane::{Get, Validator};
use crate::wire::{Key, Time};

/// What is said of a copy that is not there, or of no use.
const NOTHING: Validator = Validator::Strong { crc: 0, digest: HOLDS_NOTHING };

impl Client {
    /// Asks for an item. Ends in one [`Output::Answer`] with this ticket, which must not be in use.
    ///
    /// Where the key is being asked for already, this get shares the answer, whatever its policy.
    pub fn get(&mut self, ticket: u64, key: Key, policy: ValidatorPolicy, now: Time) {
        self.add_get(ticket, key, policy, now);
        self.rest_unless_waiting(now);
        self.send();
    }

    /// As [`get`](Client::get) for each; what the client holds of them is asked about in as few
    /// frames as can be.
    pub fn get_many(&mut self, gets: Vec<(u64, Key)>, now: Time) {
        for (ticket, key) in gets {
            if let Some(index) = self.add_get(ticket, key, Default::default(), now) {
                self.requests.want_batch(index);
            }
        }
        self.rest_unless_waiting(now);
        self.send();
    }

    /// Puts a get on the list, if nothing speaks against it; returns the request that it is part
    /// of.
    pub(super) fn add_get(
        &mut self,
        ticket: u64,
        key: Key,
        policy: ValidatorPolicy,
        now: Time,
    ) -> Option<usize> {
        if let Some(error) = self.refusal() {
            let failure = Failure { error, details: Details::default() };
            self.outputs.push_back(Output::Answer(Answer { ticket, result: Err(failure) }));
            return None;
        }
        Some(self.requests.add(ticket, key, policy, now + self.config.request_timeout))
    }

    /// Why nothing more can be asked for.
    pub(super) fn refusal(&self) -> Option<Error> {
        let limit = self.config.max_waiting;
        let full = (self.waiting() >= limit).then_some(Error::TooManyWaiting { limit });
        self.ended.clone().or(full)
    }

    /// Gives up a get or a call: there will be no answer. What was sent is still answered to the
    /// cache, and a call that was sent may be executed.
    pub fn cancel(&mut self, ticket: u64) {
        self.cancel_call(ticket);
        let Some(index) = self.requests.cancel(ticket) else {
            return;
        };
        if let Stage::Queued | Stage::Waiting { .. } = self.requests[index].stage {
            self.drop_request(index);
            self.send();
        }
    }

    /// Sends what is queued, as far as router and cache allow. Gets and calls take turns: neither
    /// waits for ever because there is always another one of the other sort.
    pub(super) fn send(&mut self) {
        let Some((in_flight, slots)) = self.session.allowance() else {
            return;
        };
        while self.in_flight() < in_flight {
            let turn_of_calls = !self.call_was_last;
            if turn_of_calls && self.send_call() {
                self.call_was_last = true;
            } else if self.send_get(slots) {
                self.call_was_last = false;
            } else if turn_of_calls || !self.send_call() {
                break;
            }
        }
        // Room is left for a request, should it not be answered.
        if self.in_flight() + 1 < in_flight {
            self.send_inventory();
        }
    }

    /// Sends the next get that is queued. `false` if there is none, or there is no slot for it.
    fn send_get(&mut self, slots: u64) -> bool {
        // A slot changes its key only when the router has said how many slots there are.
        let room = Room { slots, may_evict: self.session.is_ready() };
        if self.send_batch(room) {
            return true;
        }
        let Some(index) = self.requests.next_queued() else {
            return false;
        };
        let request = &mut self.requests[index];
        let slot = match request.slot.filter(|slot| u64::from(*slot) < slots) {
            Some(slot) => slot,
            None if request.slot.is_some() => return false,
            None => {
                let out = &mut self.outputs;
                let Some(slot) = self.cache.bind(&request.key, index, room, out) else {
                    return false;
                };
                request.slot = Some(slot);
                slot
            }
        };
        self.ask(index, slot);
        true
    }

    fn ask(&mut self, index: usize, slot: u32) {
        let (keyed, validator) = self.validator(index, slot);
        let id = self.requests.fresh_id();
        let request = &mut self.requests[index];
        request.attempts += 1;
        request.validator = Some((&validator).into());
        let key = keyed.then(|| request.key.clone());
        let frame = Get { request_id: id, slot: u64::from(slot), key, validator }.encode();
        request.wire_bytes += frame.bytes().len() as u64;
        self.requests.set_stage(index, Stage::Asked { id, keyed, body: None });
        self.outputs.push_back(Output::SendLane(frame));
    }

    /// Whether the key goes along, and what is said of the copy.
    fn validator(&mut self, index: usize, slot: u32) -> (bool, Validator) {
        let request = &self.requests[index];
        let asked_before = self.cache.ask(slot);
        let Some(held) = self.cache.held(slot) else {
            // A mirror may believe in a copy that never arrived, or that was too large to keep.
            return (true, if asked_before { NOTHING } else { Validator::None });
        };
        let print = &held.fingerprint;
        let strong = Validator::Strong { crc: print.crc, digest: print.digest };
        let session = self.session.number();
        let keyed = request.needs_key || !self.cache.is_named(slot, session);
        match request.policy {
            _ if request.needs_whole => (true, NOTHING),
            _ if request.needs_strong => (true, strong),
            ValidatorPolicy::None => (keyed, Validator::None),
            ValidatorPolicy::Crc => {
                (keyed, Validator::Crc { crc: print.crc, length: print.length })
            }
            ValidatorPolicy::Strong => (keyed, strong),
            ValidatorPolicy::Auto if !keyed && self.cache.is_confirmed(slot, session) => {
                (false, Validator::None)
            }
            ValidatorPolicy::Auto => (true, strong),
        }
    }

    /// Ends a request, and answers every get that belongs to it.
    pub(super) fn finish(&mut self, index: usize, result: Result<Reply, Error>) {
        let details = self.details(index);
        let request = self.requests.remove(index);
        if let Some(slot) = request.slot {
            self.cache.release(slot, &mut self.outputs);
        }
        let result = match result {
            Ok(reply) => Ok(Reply { details, ..reply }),
            Err(error) => Err(Failure { error, details }),
        };
        for ticket in request.waiting() {
            let result = result.clone();
            self.outputs.push_back(Output::Answer(Answer { ticket, result }));
        }
    }

    /// Ends a request that nobody waits for.
    pub(super) fn drop_request(&mut self, index: usize) {
        self.abandon_attempt(index);
        let request = self.requests.remove(index);
        if let Some(slot) = request.slot {
            self.cache.release(slot, &mut self.outputs);
        }
    }

    /// Gives up an attempt that may be under way.
    pub(super) fn abandon_attempt(&mut self, index: usize) {
        self.requests.abandon_attempt(index);
        if let Some(slot) = self.requests[index].slot {
            self.cache.doubt(slot);
        }
    }

    /// What is to be said of something whose time is up.
    pub(super) fn timed_out(&self) -> Error {
        let trouble = self.session.trouble().filter(|_| !self.session.is_ready());
        let after = self.config.request_timeout;
        Error::TimedOut { after, trouble: trouble.map(str::to_owned) }
    }

    /// Ids that the router has on its list.
    pub(super) fn in_flight(&self) -> u64 {
        self.requests.in_flight() + self.calls.in_flight() + self.inventory.in_flight()
    }

    pub(super) fn details(&self, index: usize) -> Details {
        let request = &self.requests[index];
        Details {
            wire_bytes: request.wire_bytes,
            attempts: request.attempts,
            validator: request.validator,
            client: self.session.client(),
            assignment: self.session.assignment().cloned(),
        }
    }
}
