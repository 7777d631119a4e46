//! The session: which router, which connection, who the client is there.
//!
//! Routers are tried in turn. The first attempts follow each other at once; when every router has
//! failed, the client waits, longer each time. Only a session that did something useful, or lived a
//! while, clears that: a router that greets and then breaks off earns no endless quick retries.

use super::types::Config;
use crate::wire::lane::BATCH_VERSION;
use crate::wire::session::{
    Assigned, Hello, Limits, OLDEST_VERSION, PING_VERSION, VERSION, Welcome,
};
use crate::wire::{Assignment, ClientId, Frame, Name, Time};
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::time::Duration;

/// Requests that may be sent before WELCOME has said how many.
pub(super) const EARLY_REQUESTS: u64 = 16;
/// Slots that may be used before WELCOME has said how many.
pub(super) const EARLY_SLOTS: u64 = 64;
/// Requests that this client leaves unanswered at one time, whatever the router allows.
pub(super) const MAX_IN_FLIGHT: u64 = 4096;

/// How long WELCOME may take.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a session that the router wants to end may go on for the sake of open requests.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a session must live to count as a good one without having answered anything.
const PROVEN_AFTER: Duration = Duration::from_secs(10);

/// What there is of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// None; the next attempt is at that time.
    Down { until: Time },
    /// One is being made.
    Connecting { since: Time },
    /// It stands, and HELLO is on its way.
    Greeting { since: Time },
    /// WELCOME came.
    Ready { since: Time },
    /// The router wants to end it; nothing new is asked.
    Draining { since: Time },
    /// There will be none any more.
    Ended,
}

/// Why the session's time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Connect.
    Connect,
    /// The router did not do what it had to do in time.
    GiveUp(&'static str),
}

pub(super) struct Session {
    link: Link,
    /// How many connections there were.
    number: u64,
    pub(super) routers: usize,
    router: usize,
    /// Attempts and short sessions without success, one after the other.
    failures: u32,
    /// Routers that did not want this client, one after the other.
    refusals: usize,
    /// Something was answered in this session.
    answered: bool,
    /// The assignment was told in this session.
    assignment_is_current: bool,
    pool: Option<Name>,
    token: Option<Bytes>,
    client: Option<ClientId>,
    assignment: Option<Assignment>,
    limits: Option<Limits>,
    /// What the router and we speak in this session.
    version: Option<u64>,
    max_slots: u64,
    connect_timeout: Duration,
    trouble: Option<String>,
    pub(super) random: StdRng,
}

impl Session {
    pub(super) fn new(config: &Config, token: Option<Bytes>, seed: u64, now: Time) -> Self {
        assert!(config.routers > 0, "a client has at least one router");
        Self {
            link: Link::Down { until: now },
            number: 0,
            routers: config.routers,
            router: 0,
            failures: 0,
            refusals: 0,
            answered: false,
            assignment_is_current: false,
            pool: config.pool.clone(),
            token,
            client: None,
            assignment: None,
            limits: None,
            version: None,
            max_slots: config.max_slots.min(crate::wire::lane::MAX_SLOTS),
            connect_timeout: config.connect_timeout,
            trouble: None,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Starts the attempt that is due; returns the router it is for.
    pub(super) fn connect(&mut self, now: Time) -> usize {
        self.link = Link::Connecting { since: now };
        self.router
    }

    /// The connection stands: what to say first, if it was waited for.
    pub(super) fn connected(&mut self, now: Time) -> Option<Frame> {
        let Link::Connecting { .. } = self.link else {
            return None;
        };
        self.link = Link::Greeting { since: now };
        self.number += 1;
        self.answered = false;
        self.assignment_is_current = false;
        self.limits = None;
        self.version = None;
        let (token, pool) = (self.token.clone(), self.pool.clone());
        Some(Hello { oldest: OLDEST_VERSION, newest: VERSION, token, pool }.encode())
    }

    /// Takes the router's greeting, and says how long it took. An error is the router's fault.
    pub(super) fn welcomed(
        &mut self,
        welcome: Welcome,
        now: Time,
    ) -> Result<Duration, &'static str> {
        let Link::Greeting { since } = self.link else {
            return Err("it sent WELCOME twice");
        };
        if !(OLDEST_VERSION..=VERSION).contains(&welcome.version) {
            return Err("it chose a version that was not offered");
        }
        self.link = Link::Ready { since: now };
        self.client = Some(welcome.client);
        self.limits = Some(welcome.limits);
        self.version = Some(welcome.version);
        self.refusals = 0;
        self.trouble = None;
        // ASSIGNED on the lane may have overtaken WELCOME.
        let overtaken = self.assignment_is_current
            && self.assignment.as_ref().is_some_and(|known| known.epoch > welcome.assignment.epoch);
        if !overtaken {
            self.token = Some(own_copy(&welcome.token));
            self.assignment = Some(welcome.assignment);
        }
        self.assignment_is_current = true;
        Ok(now.since(since))
    }

    /// Takes an assignment, unless a newer one is known; says whether it was taken.
    pub(super) fn assigned(&mut self, assigned: Assigned) -> bool {
        let newer = self.assignment.as_ref().filter(|_| self.assignment_is_current);
        if newer.is_some_and(|known| known.epoch > assigned.assignment.epoch) {
            return false;
        }
        self.token = Some(own_copy(&assigned.token));
        self.assignment = Some(assigned.assignment);
        self.assignment_is_current = true;
        true
    }

    /// Asks for nothing more in this session.
    pub(super) fn drain(&mut self, now: Time) {
        if self.is_open() {
            self.link = Link::Draining { since: now };
        }
    }

    /// The connection is gone, or there will be none. Returns whether to connect again at once.
    pub(super) fn lost(&mut self, reason: &str, now: Time) -> bool {
        let proven = match self.link {
            Link::Down { .. } | Link::Ended => return false,
            Link::Connecting { .. } | Link::Greeting { .. } => false,
            Link::Ready { since } | Link::Draining { since } => {
                self.answered || now.since(since) >= PROVEN_AFTER
            }
        };
        self.failures = if proven { 0 } else { self.failures.saturating_add(1) };
        self.router = (self.router + 1) % self.routers;
        self.trouble = Some(reason.to_owned());
        let wait = self.wait_after(self.failures);
        self.link = Link::Down { until: now + wait };
        wait.is_zero()
    }

    /// The connection to another router stands, or is waited for since `since`: the one to the
    /// present router is given up for it.
    pub(super) fn moved(&mut self, router: usize, since: Time) {
        self.router = router;
        self.link = Link::Connecting { since };
    }

    /// The router to try beside the present one, after so many attempts that failed.
    pub(super) fn router_beside(&self, failed_attempts: u32) -> usize {
        (self.router + 1 + failed_attempts as usize) % self.routers
    }

    /// A router does not want this client. Returns whether none of them does.
    pub(super) fn refused(&mut self) -> bool {
        self.refusals += 1;
        self.refusals >= self.routers
    }

    /// Ends it for good.
    pub(super) fn end(&mut self) {
        self.link = Link::Ended;
    }

    /// Notes that the router is of use.
    pub(super) fn note_answer(&mut self) {
        self.answered = true;
    }

    /// What is due at `now`.
    pub(super) fn due(&self, now: Time) -> Option<Due> {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        Some(match self.link {
            Link::Connecting { .. } => Due::GiveUp("the router does not answer"),
            Link::Greeting { .. } => Due::GiveUp("the router did not answer HELLO in time"),
            Link::Draining { .. } => Due::GiveUp("the router is shutting down"),
            Link::Down { .. } | Link::Ready { .. } | Link::Ended => Due::Connect,
        })
    }

    /// When something is due next.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.link {
            Link::Down { until } => Some(until),
            Link::Connecting { since } => Some(since + self.connect_timeout),
            Link::Greeting { since } => Some(since + WELCOME_TIMEOUT),
            Link::Draining { since } => Some(since + DRAIN_TIMEOUT),
            Link::Ready { .. } | Link::Ended => None,
        }
    }

    /// Whether frames may come.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.link, Link::Greeting { .. } | Link::Ready { .. } | Link::Draining { .. })
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.link, Link::Ready { .. })
    }

    /// Whether the router knows PING, and nothing new is to be expected of it but answers.
    pub(super) fn answers_pings(&self) -> bool {
        self.is_ready() && self.version >= Some(PING_VERSION)
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.link, Link::Draining { .. })
    }

    /// Whether requests may be sent, and if so, how many may be unanswered and how many slots used.
    pub(super) fn allowance(&self) -> Option<(u64, u64)> {
        match (self.link, self.limits) {
            (Link::Ready { .. }, Some(limits)) => {
                Some((limits.in_flight.min(MAX_IN_FLIGHT), limits.slots.min(self.max_slots)))
            }
            (Link::Greeting { .. }, _) => Some((EARLY_REQUESTS, EARLY_SLOTS.min(self.max_slots))),
            _ => None,
        }
    }

    /// The version of the protocol in this session, once the router has chosen it.
    pub(super) fn version(&self) -> Option<u64> {
        self.version
    }

    /// Whether batches, inventories and differences are known, as far as the router has said.
    pub(super) fn knows_batches(&self) -> bool {
        self.version >= Some(BATCH_VERSION)
    }

    /// Whether they may come: what was asked first may be answered before the greeting is.
    pub(super) fn may_know_batches(&self) -> bool {
        self.version.is_none_or(|version| version >= BATCH_VERSION)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn token(&self) -> Option<&Bytes> {
        self.token.as_ref()
    }

    pub(super) fn client(&self) -> Option<ClientId> {
        self.client
    }

    pub(super) fn assignment(&self) -> Option<&Assignment> {
        self.assignment.as_ref()
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

/// A slice of a frame would keep alive whatever was read with it.
fn own_copy(token: &Bytes) -> Bytes {
    Bytes::copy_from_slice(token)
}
