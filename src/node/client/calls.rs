//! Calls that have not ended, and what goes in and comes out of them.

use super::{Details, Failure};
use crate::wire::{HeaderBlock, Key, Time};
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What goes along with a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRequest {
    /// The headers of the body.
    pub headers: HeaderBlock,
    /// At most 16,384 bytes ([`MAX_INLINE_BODY`](crate::wire::frame::MAX_INLINE_BODY)).
    pub body: Bytes,
    /// It does no harm to execute this call more than once: it is sent again when an answer fails
    /// to come, to another server if need be.
    pub idempotent: bool,
}

/// What a call brought back.
#[derive(Clone, Debug, PartialEq)]
pub struct CallReply {
    /// What came of it, as in HTTP: 200 to 999.
    pub status: u16,
    /// The headers of the bytes.
    pub headers: HeaderBlock,
    /// What came back.
    pub bytes: Bytes,
    /// What it took.
    pub details: Details,
}

/// The end of a call: exactly one for each, unless it was cancelled.
#[derive(Clone, Debug, PartialEq)]
pub struct CallAnswer {
    /// The caller's name for the call.
    pub ticket: u64,
    /// What it brought back.
    pub result: Result<CallReply, Failure>,
}

/// Where a call is on its way.
pub(super) enum Stage {
    /// It is to be sent.
    Queued,
    /// It is to be sent later.
    Waiting { until: Time },
    /// It was sent under this id. Its body may come before the frame that speaks of it.
    Asked { id: u64, body: Option<Bytes> },
    /// It was answered, and the answer's body is on the way.
    Receiving { id: u64, head: Head },
}

/// What an answer says of a body that comes on its own stream.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: HeaderBlock,
    pub(super) length: u64,
}

/// One call.
pub(super) struct Call {
    pub(super) key: Key,
    pub(super) request: CallRequest,
    pub(super) setbacks: u32,
    pub(super) attempts: u32,
    pub(super) wire_bytes: u64,
    pub(super) stage: Stage,
    deadline: Time,
}

impl Call {
    /// The id under which an answer or a body may come.
    fn id(&self) -> Option<u64> {
        match &self.stage {
            Stage::Asked { id, .. } | Stage::Receiving { id, .. } => Some(*id),
            Stage::Queued | Stage::Waiting { .. } => None,
        }
    }

    /// It may be executed, or have been, and must not be sent again.
    pub(super) fn is_out_of_hand(&self) -> bool {
        !self.request.idempotent && self.id().is_some()
    }
}

/// Calls that have not ended, by their tickets.
#[derive(Default)]
pub(super) struct Calls {
    calls: BTreeMap<u64, Call>,
    by_id: HashMap<u64, u64>,
    /// Calls in [`Stage::Queued`].
    queue: VecDeque<u64>,
    /// Calls in [`Stage::Waiting`].
    waiting: BTreeSet<(Time, u64)>,
    deadlines: BTreeSet<(Time, u64)>,
}

impl Calls {
    /// Adds a call that is to be sent.
    pub(super) fn add(&mut self, ticket: u64, key: Key, request: CallRequest, deadline: Time) {
        let (setbacks, attempts, wire_bytes, stage) = (0, 0, 0, Stage::Queued);
        let call = Call { key, request, setbacks, attempts, wire_bytes, stage, deadline };
        let before = self.calls.insert(ticket, call);
        assert!(before.is_none(), "ticket {ticket} is used twice");
        self.deadlines.insert((deadline, ticket));
        self.queue.push_back(ticket);
    }

    /// The call of this ticket, if it has not ended.
    pub(super) fn get(&self, ticket: u64) -> Option<&Call> {
        self.calls.get(&ticket)
    }

    /// How many have not ended.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Ids that the router has on its list.
    pub(super) fn in_flight(&self) -> u64 {
        self.by_id.len() as u64
    }

    /// The call that was last sent under this id.
    pub(super) fn find(&self, id: u64) -> Option<u64> {
        self.by_id.get(&id).copied()
    }

    /// Those that were sent.
    pub(super) fn sent(&self) -> BTreeSet<u64> {
        self.by_id.values().copied().collect()
    }

    /// Those whose answers' bodies are on the way.
    pub(super) fn receiving(&self) -> Vec<u64> {
        let receiving = |call: &Call| matches!(call.stage, Stage::Receiving { .. });
        let calls = self.calls.iter().filter(|(_, call)| receiving(call));
        calls.map(|(ticket, _)| *ticket).collect()
    }

    /// Any of them.
    pub(super) fn first(&self) -> Option<u64> {
        self.calls.keys().next().copied()
    }

    /// The one to be sent next.
    pub(super) fn next_queued(&self) -> Option<u64> {
        self.queue.front().copied()
    }

    /// The one whose time is up.
    pub(super) fn next_expired(&self, now: Time) -> Option<u64> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, ticket)| *ticket)
    }

    /// The next moment at which something ends here.
    pub(super) fn deadline(&self) -> Option<Time> {
        let first = |times: &BTreeSet<(Time, u64)>| times.first().map(|(at, _)| *at);
        first(&self.waiting).into_iter().chain(first(&self.deadlines)).min()
    }

    /// A call that is here.
    pub(super) fn get_mut(&mut self, ticket: u64) -> &mut Call {
        self.calls.get_mut(&ticket).expect("the caller has found it")
    }

    /// Moves a call to another stage.
    pub(super) fn set_stage(&mut self, ticket: u64, stage: Stage) {
        self.unlist(ticket);
        match &stage {
            Stage::Queued => self.queue.push_back(ticket),
            Stage::Waiting { until } => drop(self.waiting.insert((*until, ticket))),
            Stage::Asked { id, .. } | Stage::Receiving { id, .. } => {
                self.by_id.insert(*id, ticket);
            }
        }
        self.get_mut(ticket).stage = stage;
    }

    fn unlist(&mut self, ticket: u64) {
        let call = &self.calls[&ticket];
        if let Some(id) = call.id() {
            self.by_id.remove(&id);
        }
        match call.stage {
            Stage::Waiting { until } => drop(self.waiting.remove(&(until, ticket))),
            Stage::Queued => self.queue.retain(|queued| *queued != ticket),
            Stage::Asked { .. } | Stage::Receiving { .. } => {}
        }
    }

    /// Takes a call off all lists.
    pub(super) fn remove(&mut self, ticket: u64) -> Call {
        self.unlist(ticket);
        let call = self.calls.remove(&ticket).expect("the caller has found it");
        self.deadlines.remove(&(call.deadline, ticket));
        call
    }

    /// Moves calls whose waiting is over into the queue.
    pub(super) fn end_waits(&mut self, now: Time) {
        while let Some((_, ticket)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.set_stage(ticket, Stage::Queued);
        }
    }
}
