//! What must hold after every step.

use super::client::{Expected, Ticket};
use super::cluster::World;
use super::network::{ConnectionId, Host, Seat};
use super::plan::Mood;
use super::source::State;
use super::story::Stage;
use crate::cluster::Count;
use crate::node::client::{Answer, Error, Reply, ReplyKind};
use crate::wire::ClientId;
use crate::wire::backplane::Message;
use crate::wire::lane::{BatchRest, Body, ErrorCode, Outcome};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Where one server fails and nothing else does, nobody waits longer for what it holds: 250 ms
/// until a server is down, for one that flaps some of it again, and the slowest network here takes
/// 20 ms each way.
const LONGEST_WAIT: Duration = Duration::from_millis(600);
/// The same where a router fails: its clients are certain of it later, and connect anew.
const LONGEST_MOVE: Duration = Duration::from_millis(1_000);

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// A machine panicked.
    Panic,
    /// A server's counts and lists do not agree.
    ServerState,
    /// A frame does not decode to what it was.
    Codec,
    /// A machine says that a peer broke the protocol.
    Protocol,
    /// A client handed out what the source did not hold while the request was under way.
    WrongBytes,
    /// A client gave an error that cannot be true.
    WrongError,
    /// A request ended twice, or not at all.
    EndsOnce,
    /// The epoch that a client sees went down.
    Epoch,
    /// A client was sent a body that never was the source's.
    Body,
    /// A mirror has a version that its key never had.
    Mirror,
    /// A reply was misunderstood although nothing was ever lost.
    Misunderstood,
    /// A client suspected a router although none has failed.
    Suspicion,
    /// A request was not answered, or not by use-cached, where one failure must not show.
    Failover,
    /// A call that may not be repeated was executed twice.
    CallRepeated,
    /// A call was executed although its client was told that it was not.
    CallDisowned,
    /// A token did not name the client that it was made for.
    Identity,
    /// A client is not served although everything has healed.
    Rest,
    /// Two servers list a client as primary although everything has healed.
    TwoPrimaries,
    /// Primary and alternate do not agree although everything has healed.
    Alternate,
    /// A release is still owed although everything has healed.
    Debt,
    /// Numbers that were pushed are not the numbers that are.
    Status,
    /// A server that drained lists clients, or routers had to help it.
    Drain,
    /// There is no end to it.
    Livelock,
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Panic => "no panic",
            Self::ServerState => "counts equal lists",
            Self::Codec => "frames decode",
            Self::Protocol => "nobody breaks the protocol",
            Self::WrongBytes => "bytes are the source's",
            Self::WrongError => "errors are true",
            Self::EndsOnce => "every request ends once",
            Self::Epoch => "epochs only grow",
            Self::Body => "a body is of one version",
            Self::Mirror => "mirrors hold versions of their keys",
            Self::Misunderstood => "no misunderstanding without a loss",
            Self::Suspicion => "no router that lives is suspected",
            Self::Failover => "one failure does not show",
            Self::CallRepeated => "a call is executed at most once",
            Self::CallDisowned => "a refused call is never executed",
            Self::Identity => "a token names one client",
            Self::Rest => "everyone is served at rest",
            Self::TwoPrimaries => "one primary at rest",
            Self::Alternate => "mirrors are equal at rest",
            Self::Debt => "debts are paid at rest",
            Self::Status => "statuses are true at rest",
            Self::Drain => "a drain ends, and needs no takeover",
            Self::Livelock => "the story ends",
        })
    }
}

/// What a panic said.
pub(super) fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

impl World {
    /// Looks at a server's worker after every input, and at what all of them count together.
    pub(super) fn check_server(&mut self, (place, worker): Seat) {
        let process = &self.servers[place];
        let Some(machine) = process.workers.get(worker).map(|it| &it.machine) else {
            return;
        };
        let checked = catch_unwind(AssertUnwindSafe(|| machine.assert_consistent()));
        if let Err(panic) = checked {
            return self.fail(Check::ServerState, words_of(&*panic));
        }
        for count in [Count::Primary, Count::Alternate, Count::Returning, Count::Draining] {
            let shares = process.workers.iter().map(|it| it.machine.share(count));
            let (sum, tally) = (shares.sum::<u64>(), process.tally.read(count));
            if sum != tally {
                let what = format!("{}: {count:?} is {tally}, workers have {sum}", process.name);
                return self.fail(Check::ServerState, what);
            }
        }
    }

    /// Looks at the mirror of a client whose message a server just got: every version in it is one
    /// of its key.
    pub(super) fn check_mirror(&mut self, (place, worker): Seat, client: &ClientId) {
        let process = &self.servers[place];
        let Some(machine) = process.workers.get(worker).map(|it| &it.machine) else {
            return;
        };
        let wrong = machine.mirror_entries(client).find(|(_, key, version)| {
            version.is_some_and(|version| !self.source.ever_had(key, &version.digest))
        });
        if let Some((slot, key, version)) = wrong {
            let name = &process.name;
            let what = format!("{name}, client {client}, slot {slot}: {key} at {version:?}");
            self.fail(Check::Mirror, what);
        }
    }

    /// A message that came over a connection is one that both its ends know.
    pub(super) fn check_version(&mut self, id: ConnectionId, message: &Message) {
        let version = self.connections.get(&id).map_or(message.since(), |it| it.version);
        if message.since() > version {
            self.fail(Check::Protocol, format!("over a link of version {version}: {message:?}"));
        }
    }

    /// Looks at a client after every input.
    pub(super) fn check_client(&mut self, place: usize) {
        let process = &mut self.clients[place];
        let Some(machine) = &process.machine else {
            return;
        };
        let statistics = machine.statistics();
        let Some((client, assignment)) = machine.client_id().zip(machine.assignment()) else {
            return;
        };
        let epoch = assignment.epoch.clone();
        let lower = process.seen.as_ref().filter(|(id, seen)| *id == client && *seen > epoch);
        let fell = lower.map(|(_, seen)| format!("client {place}: {seen:?}, then {epoch:?}"));
        let same = process.seen.as_ref().filter(|(id, _)| *id == client);
        let moved = same.is_some_and(|(_, seen)| seen.primary != epoch.primary);
        process.moves += u64::from(moved);
        process.seen = Some((client, epoch));
        if let Some(what) = fell {
            self.fail(Check::Epoch, what);
        }
        let moves = self.clients[place].moves;
        if self.server_failed && self.stage == Stage::Struck && moves > 1 {
            self.fail(Check::Failover, format!("client {place} was moved {moves} times"));
        }
        if statistics.violations > 0 {
            self.fail(Check::Protocol, format!("client {place} closed its session for it"));
        }
        let routers_live = self.plan.mood != Mood::Rough && !self.router_failed;
        if routers_live && statistics.suspicions > 0 {
            self.fail(Check::Suspicion, format!("client {place} tried another router"));
        }
        // A disk that lied was believed for one reply. And an alternate that answers first may not
        // yet know what the primary knows.
        let hedge_wins = self.router_views().map(|(_, view)| view.counters.hedge_wins);
        let excused = statistics.damaged_items + hedge_wins.sum::<u64>();
        if self.plan.mood == Mood::Calm && statistics.tag_mismatches > excused {
            let what = format!("client {place}: {} replies", statistics.tag_mismatches);
            self.fail(Check::Misunderstood, what);
        }
    }

    /// A get ended.
    pub(super) fn take_answer(&mut self, place: usize, answer: Answer) {
        self.answers += 1;
        let now = self.now;
        let who = Host::Client(place);
        self.trace.line(now, || format!("{who:?} -> application: {}", summary(&answer)));
        let process = &mut self.clients[place];
        let Some(ticket) = process.tickets.remove(&answer.ticket) else {
            let what = format!("client {place}, get {}: a second end", answer.ticket);
            return self.fail(Check::EndsOnce, what);
        };
        let shared = process.tickets.values().any(|other| other.key == ticket.key);
        // The request of a get that timed out may go on while its bytes are read from disk.
        let timed_out =
            matches!(&answer.result, Err(it) if matches!(it.error, Error::TimedOut { .. }));
        if !shared && !timed_out {
            process.shared.remove(&ticket.key);
        }
        if self.plan.mood == Mood::OneFailure && self.stage == Stage::Struck {
            let waited = now.since(ticket.asked);
            let longest = if self.router_failed { LONGEST_MOVE } else { LONGEST_WAIT };
            if waited > longest {
                let what = format!("client {place} waited {waited:?} for {}", ticket.key);
                self.fail(Check::Failover, what);
            }
        }
        match &answer.result {
            Ok(reply) => self.check_reply(place, &ticket, reply),
            Err(failure) => self.check_error(place, &ticket, &failure.error),
        }
    }

    fn check_reply(&mut self, place: usize, ticket: &Ticket, reply: &Reply) {
        let (key, span) = (&ticket.key, (ticket.since, self.now));
        if !self.source.had(key, span, (&reply.headers, &reply.bytes)) {
            let what = format!(
                "client {place} got {} bytes with tag {} for {key}, by {:?}",
                reply.bytes.len(),
                reply.version,
                reply.kind,
            );
            self.fail(Check::WrongBytes, what);
        }
        if ticket.expected == Expected::UseCached && reply.kind != ReplyKind::UseCached {
            let check = if self.stage.is_rest() { Check::Rest } else { Check::Failover };
            let what = format!("client {place} got {key} in full, though it has it");
            self.fail(check, what);
        }
    }

    fn check_error(&mut self, place: usize, ticket: &Ticket, error: &Error) {
        let (key, span) = (&ticket.key, (ticket.since, self.now));
        let was = |matches: fn(&State) -> bool| self.source.was(key, span, matches);
        let may_fail = ticket.expected == Expected::Anything && self.plan.mood == Mood::Rough;
        let plausible = match error {
            Error::NotFound => was(|state| matches!(state, State::Absent)),
            Error::Failed { code: ErrorCode::Refused, .. } => {
                was(|state| matches!(state, State::Refused))
            }
            Error::Failed { code: ErrorCode::Source, .. } => {
                was(|state| matches!(state, State::Failing))
            }
            Error::Failed { code: ErrorCode::Unavailable, .. } | Error::BodyLost { .. } => may_fail,
            Error::TimedOut { .. } => may_fail || self.plan.is_tight(),
            Error::Superseded => self.clients[place].cloned,
            _ => false,
        };
        if plausible {
            return;
        }
        let check = match (self.stage.is_rest(), self.stage) {
            (true, _) => Check::Rest,
            (_, Stage::Struck) => Check::Failover,
            _ => Check::WrongError,
        };
        self.fail(check, format!("client {place}, {key}: {error}"));
    }

    /// Whether these bytes are what a batch brings, and each body in them one of an item.
    pub(super) fn is_of_batch(&self, bytes: &Bytes) -> bool {
        let mut rest = BatchRest::new(bytes.clone());
        loop {
            let good = match rest.next_reply() {
                Ok(None) => return true,
                Ok(Some((reply, behind))) => match (&reply.outcome, behind) {
                    (Outcome::Full { body: Body::Inline(bytes), .. }, _) => {
                        self.source.ever_was_body(bytes)
                    }
                    (Outcome::Full { .. }, Some(bytes)) => self.source.ever_was_body(&bytes),
                    _ => true,
                },
                Err(_) => false,
            };
            if !good {
                return false;
            }
        }
    }

    /// Looks for gets of a client that should have ended.
    pub(super) fn check_overdue(&mut self, place: usize) {
        let limit = super::client::GET_TIMEOUT + Duration::from_millis(100);
        let now = self.now;
        let tickets = &self.clients[place].tickets;
        let late = tickets.iter().find(|(_, ticket)| now.since(ticket.asked) > limit);
        if let Some((number, ticket)) = late {
            let what = format!("client {place}, get {number} of {}: no end", ticket.key);
            self.fail(Check::EndsOnce, what);
        }
    }
}

fn summary(answer: &Answer) -> String {
    let ticket = answer.ticket;
    match &answer.result {
        Ok(reply) => format!("get {ticket}: {:?}, tag {}", reply.kind, reply.version),
        Err(failure) => format!("get {ticket}: {}", failure.error),
    }
}
