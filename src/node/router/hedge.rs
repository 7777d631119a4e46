//! Hedges: asking the alternate too, before it is known whether the primary is lost.
//!
//! An idempotent request that is not answered in the usual time also goes to the client's
//! alternate, as a standby read: no takeover, no change to the mirror there. The first real answer
//! wins. While the primary is healthy a budget bounds these extra requests; for a suspect primary
//! they are sent at once and without limit, unless most servers are suspect, which is this router's
//! own trouble.

use super::{HealthState, Request, Router, Stage};
use crate::assign::{Entry, ServerIndex};
use crate::node::Fault;
use crate::wire::backplane::{Forward, How};
use crate::wire::http::http_status;
use crate::wire::{Frame, FrameType, Time};
use std::time::Duration;

/// A request is not hedged sooner, however fast answers usually come.
const LEAST_DELAY: Duration = Duration::from_millis(4);
/// A request is hedged then at the latest, however slow answers usually are.
const MOST_DELAY: Duration = Duration::from_secs(1);
/// How many times the usual time is too long.
const TIMES_USUAL: u32 = 2;

/// Requests that earn one hedge: hedges are at most a twentieth of them.
const REQUESTS_PER_HEDGE: u32 = 20;
/// Hedges that may follow each other at once after quiet times.
const MOST_AT_ONCE: u32 = 32;
/// Hedges that may be sent before any request has earned one.
const AT_FIRST: u32 = 10;

const _: () = assert!(AT_FIRST <= MOST_AT_ONCE);

/// What there is to spend on hedges of requests to healthy servers, in requests.
#[derive(Debug)]
pub(super) struct Budget(u32);

impl Default for Budget {
    fn default() -> Self {
        Self(AT_FIRST * REQUESTS_PER_HEDGE)
    }
}

impl Budget {
    /// A request was sent.
    pub(super) fn earn(&mut self) {
        self.0 = (self.0 + 1).min(MOST_AT_ONCE * REQUESTS_PER_HEDGE);
    }

    fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(REQUESTS_PER_HEDGE);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// How long a server that usually answers within `usual` may take before a request is hedged.
pub(super) fn delay(usual: Duration) -> Duration {
    (usual * TIMES_USUAL).clamp(LEAST_DELAY, MOST_DELAY)
}

impl Router {
    /// Whether requests to a server are hedged at once.
    pub(super) fn is_in_doubt(&self, server: ServerIndex) -> bool {
        let suspect = self.servers.get(server).map(|server| server.state);
        if suspect != Some(HealthState::Suspect) {
            return false;
        }
        let (linked, suspects) = self.servers.count(HealthState::Suspect);
        suspects * 2 <= linked
    }

    /// Hedges requests that a server was asked.
    pub(super) fn hedge_all(&mut self, now: Time, numbers: Vec<u64>) {
        for number in numbers {
            self.hedge(now, number);
        }
    }

    /// Sends a request to its client's alternate as well, if it may be sent there; or to its new
    /// primary alone, if it has got another one since.
    pub(super) fn hedge(&mut self, now: Time, number: u64) {
        if self.has_moved(number) {
            // An answer of the former primary would not be taken any more.
            if let Some(request) = self.requests.remove(number) {
                self.dispatch(now, request);
            }
            return;
        }
        let Some(request) = self.requests.get(number) else {
            return;
        };
        let Some((entry, alternate)) = self.hedge_of(request) else {
            return;
        };
        // A call may take its time, and is executed twice only where its server is in doubt.
        let is_call = request.frame.kind() == FrameType::Call;
        if !self.is_in_doubt(entry.primary()) && (is_call || !self.budget.spend()) {
            return;
        }
        let client = request.client;
        let forward = Forward {
            request_id: number,
            client,
            term: entry.term(),
            change: entry.change(),
            primary: Some(self.assignments.name(entry.primary()).clone()),
            how: How::Standby,
            deadline_ms: request.deadline.since(now).as_millis() as u64,
            former: Vec::new(),
            resume: None,
            takes_deltas: self.may_send_delta(request, alternate),
            inner: request.frame.clone(),
        };
        if let Some(request) = self.requests.get_mut(number) {
            request.stage = Stage::Asked { entry, hedge: Some(alternate) };
        }
        self.counters.hedges += 1;
        self.send_to_owner(alternate, &client, forward.encode_frame());
    }

    /// Whether a request that may be repeated waits for a server that has lost its client.
    fn has_moved(&self, number: u64) -> bool {
        let Some(request) = self.requests.get(number).filter(|it| it.idempotent) else {
            return false;
        };
        let Stage::Asked { entry, .. } = request.stage else {
            return false;
        };
        let current = self.assignments.find(&request.client);
        current.is_some_and(|current| current.primary() != entry.primary())
    }

    /// Under which entry, and to which server, a request can be hedged.
    fn hedge_of(&self, request: &Request) -> Option<(Entry, ServerIndex)> {
        let Stage::Asked { entry: asked, hedge: None } = request.stage else {
            return None;
        };
        // It is said to the primary alone, who keeps the mirror.
        if request.frame.kind() == FrameType::Inventory {
            return None;
        }
        let may_repeat = request.idempotent || self.config.planted.is(Fault::HedgedCall);
        if !may_repeat || request.body.is_some() {
            return None;
        }
        // The alternate may have become known, or another one, since the request was sent.
        let current = self.assignments.find(&request.client)?;
        if current.primary() != asked.primary() || current.term() != asked.term() {
            return None;
        }
        let alternate = current.alternate().filter(|server| self.servers.is_healthy(*server))?;
        let alternate = Some(alternate).filter(|server| self.can_be_asked(request, *server))?;
        Some((current, alternate))
    }

    /// Whether a standby's reply may stand for the primary's. One that says that the standby does
    /// not know, cannot, or will not, may not.
    pub(super) fn is_real_answer(reply: &Frame) -> bool {
        let by_gateway = |status| (500..600).contains(&status);
        if http_status(reply).is_some_and(by_gateway) {
            return false;
        }
        matches!(
            reply.kind(),
            FrameType::UseCached
                | FrameType::Full
                | FrameType::Delta
                | FrameType::BatchReply
                | FrameType::NotFound
                | FrameType::CallReply
                | FrameType::HttpReply
        )
    }

    /// Whether a server was asked a request as a hedge.
    pub(super) fn is_hedged(&self, number: u64, server: ServerIndex) -> bool {
        self.requests.get(number).is_some_and(
            |request| matches!(request.stage, Stage::Asked { hedge: Some(at), .. } if at == server),
        )
    }

    /// The alternate did not give an answer that counts, or is gone: the primary's is waited for.
    pub(super) fn end_hedge(&mut self, number: u64) {
        if let Some(request) = self.requests.get_mut(number)
            && let Stage::Asked { hedge, .. } = &mut request.stage
        {
            *hedge = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_in_twenty_is_hedged_at_the_most() {
        let mut budget = Budget::default();
        assert_eq!((0..1000).filter(|_| budget.spend()).count() as u32, AT_FIRST);
        let hedged = (0..10_000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        assert_eq!(hedged.count() as u32, 10_000 / REQUESTS_PER_HEDGE);
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!((0..1000).filter(|_| budget.spend()).count() as u32, MOST_AT_ONCE);
    }

    #[test]
    fn the_delay_follows_the_usual_time_within_bounds() {
        let ms = Duration::from_millis;
        assert_eq!(delay(ms(0)), ms(4));
        assert_eq!(delay(ms(9)), ms(18));
        assert_eq!(delay(ms(90_000)), ms(1_000));
    }
}
