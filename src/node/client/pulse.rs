//! Whether the router lives: asked only while something is waited for and nothing is heard.
//!
//! A request may take as long as its source does, so an answer that does not come says nothing of
//! the router. After a short silence the client therefore sends PING, which a router answers at
//! once, whatever else it waits for. A router that leaves that unanswered for much longer than it
//! used to take is *suspected*: a second connection is tried beside the session, to the next
//! router, or to the same one where there is no other, since it may have been started anew.
//! Whichever is heard first wins: a sign of life from the suspected router drops the attempt; an
//! attempt that succeeds takes the session over, and all that was asked and may be repeated is
//! asked again there. So a mistake costs a handshake, and a slow source a PING now and then.
//!
//! Nothing here has a timer of its own for each request: the deadline follows from when the last
//! frame came.

use super::{Client, Output};
use crate::wire::Time;
use crate::wire::session::{CloseCode, Ping};
use std::time::Duration;

/// A silence that is worth a PING.
const FIRST_SILENCE: Duration = Duration::from_millis(100);
/// PINGs that were answered while nothing else came double the next silence, so often at the most:
/// a source that takes long costs no more than one in 1.6 s.
const MAX_DOUBLINGS: u32 = 4;
/// How long PONG may take at least; a busy machine's own scheduling takes some of it.
const LEAST_PATIENCE: Duration = Duration::from_millis(150);
/// How many times the slowest recent answer PONG may take.
const PATIENCE_FACTOR: u32 = 4;
/// The first round trip that is reckoned with is that of HELLO, or this: HELLO may have waited for
/// a server.
const LONGEST_FIRST_ROUND_TRIP: Duration = Duration::from_millis(500);
/// And none is reckoned with that is longer than this: the transport gives up after a few of them.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(2);

/// What is known of the router's life.
#[derive(Debug)]
pub(super) struct Pulse {
    state: State,
    /// How long the slowest recent PING took; what was slow is forgotten by an eighth a PING.
    round_trip: Duration,
    /// PINGs that were answered since anything else came.
    calm: u32,
    next_number: u64,
    /// Attempts beside this session that failed.
    failed_attempts: u32,
}

#[derive(Debug)]
enum State {
    /// The router was heard at that time, or nothing was asked until then.
    Heard { at: Time },
    /// A PING is out.
    Asked { number: u64, at: Time },
    /// It was not answered.
    Suspected { number: u64, since: Time, attempt: Attempt },
}

/// The second connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// It is tried at that time.
    Due { at: Time },
    /// It is being made.
    UnderWay { since: Time },
}

/// What the pulse wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beat {
    /// Send this.
    Ask(Ping),
    /// Connect beside the session.
    Connect,
    /// The attempt to do so takes too long.
    GiveUp,
}

impl Pulse {
    pub(super) fn new(now: Time) -> Self {
        Self {
            state: State::Heard { at: now },
            round_trip: LONGEST_FIRST_ROUND_TRIP,
            calm: 0,
            next_number: 0,
            failed_attempts: 0,
        }
    }

    /// A session has begun, whose greeting took so long.
    pub(super) fn begin(&mut self, greeting: Duration, now: Time) {
        let next_number = self.next_number;
        let round_trip = greeting.min(LONGEST_FIRST_ROUND_TRIP);
        *self = Self { round_trip, next_number, ..Self::new(now) };
    }

    /// Something came from the router. Returns whether an attempt is to be dropped for that.
    fn heard(&mut self, now: Time) -> bool {
        self.calm = 0;
        self.is_alive(now)
    }

    /// PONG came. Returns whether an attempt is to be dropped for that.
    fn answered(&mut self, pong: Ping, now: Time) -> bool {
        if let State::Asked { number, at } | State::Suspected { number, since: at, .. } = self.state
            && number == pong.number
        {
            let faded = self.round_trip - self.round_trip / 8;
            self.round_trip = now.since(at).max(faded).min(LONGEST_ROUND_TRIP);
            self.calm += 1;
        }
        self.is_alive(now)
    }

    fn is_alive(&mut self, now: Time) -> bool {
        let under_way = self.attempt_since().is_some();
        self.state = State::Heard { at: now };
        self.failed_attempts = 0;
        under_way
    }

    /// Nothing is waited for at this moment, so that a silence begins no earlier.
    fn rest(&mut self, now: Time) {
        if let State::Heard { at } = &mut self.state {
            *at = now;
        }
    }

    /// Since when an attempt is under way.
    fn attempt_since(&self) -> Option<Time> {
        match self.state {
            State::Suspected { attempt: Attempt::UnderWay { since }, .. } => Some(since),
            _ => None,
        }
    }

    fn patience(&self) -> Duration {
        (self.round_trip * PATIENCE_FACTOR).max(LEAST_PATIENCE)
    }

    /// When there is something to do; `waiting` says whether anything is waited for.
    fn deadline(&self, waiting: bool, connect_timeout: Duration) -> Option<Time> {
        match self.state {
            State::Heard { at } => {
                waiting.then(|| at + FIRST_SILENCE * (1 << self.calm.min(MAX_DOUBLINGS)))
            }
            State::Asked { at, .. } => Some(at + self.patience()),
            State::Suspected { attempt: Attempt::Due { at }, .. } => Some(at),
            State::Suspected { attempt: Attempt::UnderWay { since }, .. } => {
                Some(since + connect_timeout)
            }
        }
    }

    /// What is due at `now`, which is then taken to be done.
    fn due(&mut self, waiting: bool, connect_timeout: Duration, now: Time) -> Option<Beat> {
        self.deadline(waiting, connect_timeout).filter(|deadline| *deadline <= now)?;
        match self.state {
            State::Heard { .. } => {
                let number = self.next_number;
                self.next_number += 1;
                self.state = State::Asked { number, at: now };
                Some(Beat::Ask(Ping { number }))
            }
            State::Asked { number, at: since } => {
                let attempt = Attempt::UnderWay { since: now };
                self.state = State::Suspected { number, since, attempt };
                Some(Beat::Connect)
            }
            State::Suspected { attempt: Attempt::UnderWay { .. }, .. } => Some(Beat::GiveUp),
            State::Suspected { number, since, attempt: Attempt::Due { .. } } => {
                let attempt = Attempt::UnderWay { since: now };
                self.state = State::Suspected { number, since, attempt };
                Some(Beat::Connect)
            }
        }
    }
}

impl Client {
    /// The transport has received packets from the router since this was last called. It is called
    /// before every [`handle_timeout`](Self::handle_timeout) for which that is so: what comes
    /// before a PING is out says nothing, what comes later is as good as its answer.
    pub fn handle_packets(&mut self, now: Time) {
        let dropped = match &mut self.pulse.state {
            State::Heard { .. } => false,
            // The answer itself is still waited for, and measured.
            State::Asked { at, .. } => {
                *at = now;
                false
            }
            State::Suspected { .. } => self.pulse.is_alive(now),
        };
        self.drop_attempt(dropped);
    }

    /// The connection that was asked for could not be made, or was closed with a code before it
    /// stood.
    pub fn handle_unreachable(&mut self, code: Option<u64>, reason: &str, now: Time) {
        if !self.session.is_open() {
            return match code {
                Some(code) => self.handle_closed(code, reason, now),
                None => self.handle_disconnected(reason, now),
            };
        }
        let pulse = &mut self.pulse;
        if let State::Suspected { attempt, .. } = &mut pulse.state {
            pulse.failed_attempts = pulse.failed_attempts.saturating_add(1);
            let at = now + self.session.wait_after(pulse.failed_attempts);
            *attempt = Attempt::Due { at };
            self.beat(now);
        }
    }

    /// Something came from the router.
    pub(super) fn heard(&mut self, now: Time) {
        let dropped = self.pulse.heard(now);
        self.drop_attempt(dropped);
    }

    /// PONG came.
    pub(super) fn pong(&mut self, pong: Ping, now: Time) {
        let dropped = self.pulse.answered(pong, now);
        self.drop_attempt(dropped);
    }

    fn drop_attempt(&mut self, dropped: bool) {
        if dropped {
            self.outputs.push_back(Output::StopConnecting);
        }
    }

    /// A request may be about to be sent: a silence before it is no silence.
    pub(super) fn rest_unless_waiting(&mut self, now: Time) {
        if self.in_flight() == 0 {
            self.pulse.rest(now);
        }
    }

    /// Whether the router's silence means anything.
    fn is_waiting(&self) -> bool {
        self.in_flight() > self.requests.abandoned()
    }

    /// When [`beat`](Self::beat) has something to do.
    pub(super) fn beat_deadline(&self) -> Option<Time> {
        let timeout = self.config.connect_timeout;
        let asks = self.session.answers_pings();
        asks.then(|| self.pulse.deadline(self.is_waiting(), timeout)).flatten()
    }

    /// Does what is due about a silent router.
    pub(super) fn beat(&mut self, now: Time) {
        let timeout = self.config.connect_timeout;
        let waiting = self.is_waiting();
        if !self.session.answers_pings() {
            return;
        }
        match self.pulse.due(waiting, timeout, now) {
            Some(Beat::Ask(ping)) => self.outputs.push_back(Output::SendSession(ping.encode())),
            Some(Beat::Connect) => {
                self.statistics.suspicions += u64::from(self.pulse.failed_attempts == 0);
                let router = self.session.router_beside(self.pulse.failed_attempts);
                self.outputs.push_back(Output::Connect { router });
            }
            Some(Beat::GiveUp) => {
                self.outputs.push_back(Output::StopConnecting);
                self.handle_unreachable(None, "the router does not answer", now);
            }
            None => {}
        }
    }

    /// Half of all that the router allows is taken by requests that it never answered.
    pub(super) fn give_up_silent_router(&mut self, now: Time) {
        let Some((in_flight, _)) = self.session.allowance() else {
            return;
        };
        let abandoned = self.requests.abandoned();
        // A list that nobody asked for ends no session by itself.
        let unanswered = abandoned + self.inventory.in_flight();
        if abandoned > 0 && unanswered * 2 > in_flight {
            self.close(CloseCode::Done, "the router leaves requests unanswered".to_owned(), now);
        }
    }

    /// A connection beside the session stands while its router is still silent: it takes over.
    pub(super) fn change_router(&mut self, now: Time) {
        self.forget_session();
        self.move_on("the router is silent", now, now);
    }

    /// The session is lost while another connection is being made: that one is waited for. Returns
    /// whether it is so.
    pub(super) fn go_on_with_attempt(&mut self, reason: &str, now: Time) -> bool {
        let Some(since) = self.pulse.attempt_since() else {
            return false;
        };
        self.move_on(reason, since, now);
        true
    }

    fn move_on(&mut self, reason: &str, since: Time, now: Time) {
        let router = self.session.router_beside(self.pulse.failed_attempts);
        self.pulse.begin(LONGEST_FIRST_ROUND_TRIP, now);
        self.session.lost(reason, now);
        self.session.moved(router, since);
    }

    /// There will be no session any more, so no attempt either.
    pub(super) fn end_attempt(&mut self) {
        self.drop_attempt(self.pulse.attempt_since().is_some());
    }
}
