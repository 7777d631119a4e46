//! What is counted, and how long it took.

use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Longest latency that is told from a longer one.
const MAX_LATENCY: Duration = Duration::from_secs(100);
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;
/// Events that one worker keeps, at the most; more of them say nothing new.
const MAX_EVENTS: usize = 1_000;

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyKind {
    /// The copy is good.
    UseCached,
    /// The whole item.
    Full,
    /// What has changed of it.
    Delta,
    /// There is no such item.
    NotFound,
    /// No room.
    Busy,
    /// It failed, and the target says so.
    Error,
    /// A connection stands and was greeted.
    Welcome,
    /// The frame came back.
    Echo,
}

impl ReplyKind {
    /// Every kind, in the order of their declaration.
    pub(crate) const ALL: [Self; 8] = [
        Self::UseCached,
        Self::Full,
        Self::Delta,
        Self::NotFound,
        Self::Busy,
        Self::Error,
        Self::Welcome,
        Self::Echo,
    ];

    /// Its name in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UseCached => "use_cached",
            Self::Full => "full",
            Self::Delta => "delta",
            Self::NotFound => "not_found",
            Self::Busy => "busy",
            Self::Error => "error",
            Self::Welcome => "welcome",
            Self::Echo => "echo",
        }
    }
}

/// Why a request got no answer that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The answer means another version than the one that it is about.
    WrongTag,
    /// The bytes are not those of the version that the answer means.
    WrongBytes,
    /// An answer of a kind that this request cannot get.
    WrongReply,
    /// An answer to a request that was not made, or was answered before.
    UnknownRequest,
    /// A body broke off, or has another length than was said.
    BrokenBody,
    /// The peer broke the protocol; everything in flight on the connection fails with it.
    Protocol,
    /// The connection broke.
    ConnectionLost,
    /// No connection came about.
    NotConnected,
    /// No answer came in the time that is waited after the end.
    Timeout,
    /// It was planned, but everything in flight was still unanswered until the end.
    NotSent,
}

impl FailureKind {
    /// Every kind, in the order of their declaration.
    pub(crate) const ALL: [Self; 10] = [
        Self::WrongTag,
        Self::WrongBytes,
        Self::WrongReply,
        Self::UnknownRequest,
        Self::BrokenBody,
        Self::Protocol,
        Self::ConnectionLost,
        Self::NotConnected,
        Self::Timeout,
        Self::NotSent,
    ];

    /// Its name in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WrongTag => "wrong_tag",
            Self::WrongBytes => "wrong_bytes",
            Self::WrongReply => "wrong_reply",
            Self::UnknownRequest => "unknown_request",
            Self::BrokenBody => "broken_body",
            Self::Protocol => "protocol",
            Self::ConnectionLost => "connection_lost",
            Self::NotConnected => "not_connected",
            Self::Timeout => "timeout",
            Self::NotSent => "not_sent",
        }
    }
}

/// Counts and latencies, of one interval or of a whole run.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    replies: [u64; ReplyKind::ALL.len()],
    failures: [u64; FailureKind::ALL.len()],
    /// Of the replies, in nanoseconds.
    pub(crate) latency_ns: Histogram<u64>,
    /// Requests that were asked twice because the mirror did not know the slot.
    pub(crate) asked_again: u64,
    /// Connections that were made again.
    pub(crate) reconnects: u64,
    /// What happened, and when.
    pub(crate) events: Vec<(Instant, String)>,
}

impl Default for Tally {
    fn default() -> Self {
        let longest = MAX_LATENCY.as_nanos() as u64;
        let latency_ns =
            Histogram::new_with_bounds(1, longest, DIGITS).expect("the bounds are in order");
        Self {
            replies: [0; _],
            failures: [0; _],
            latency_ns,
            asked_again: 0,
            reconnects: 0,
            events: Vec::new(),
        }
    }
}

impl Tally {
    /// Counts a reply.
    pub(crate) fn reply(&mut self, kind: ReplyKind, latency: Duration) {
        self.replies[kind as usize] += 1;
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency_ns.saturating_record(nanoseconds);
    }

    /// Counts failures of one kind.
    pub(crate) fn failed(&mut self, kind: FailureKind, count: u64) {
        self.failures[kind as usize] += count;
    }

    /// Remembers that something happened.
    pub(crate) fn event(&mut self, what: String) {
        if self.events.len() < MAX_EVENTS {
            self.events.push((Instant::now(), what));
        }
    }

    /// Adds what another one has.
    pub(crate) fn add(&mut self, other: &Self) {
        self.replies.iter_mut().zip(&other.replies).for_each(|(sum, count)| *sum += count);
        self.failures.iter_mut().zip(&other.failures).for_each(|(sum, count)| *sum += count);
        self.latency_ns.add(&other.latency_ns).expect("all tallies have the same bounds");
        self.asked_again += other.asked_again;
        self.reconnects += other.reconnects;
        self.events.extend_from_slice(&other.events);
    }

    /// Replies of one kind.
    pub(crate) fn of(&self, kind: ReplyKind) -> u64 {
        self.replies[kind as usize]
    }

    /// Failures of one kind.
    pub(crate) fn failures_of(&self, kind: FailureKind) -> u64 {
        self.failures[kind as usize]
    }

    /// Replies of all kinds.
    pub(crate) fn replies(&self) -> u64 {
        self.replies.iter().sum()
    }

    /// Failures of all kinds.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_at_their_own_places() {
        for (place, kind) in ReplyKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{}", kind.name());
        }
        for (place, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{}", kind.name());
        }
    }

    #[test]
    fn tallies_add_up() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.reply(ReplyKind::UseCached, Duration::from_micros(10));
        other.reply(ReplyKind::Full, Duration::from_secs(1_000));
        other.failed(FailureKind::Timeout, 3);
        one.add(&other);
        assert_eq!((one.replies(), one.failures(), one.latency_ns.len()), (2, 3, 2));
        assert_eq!((one.of(ReplyKind::Full), one.failures_of(FailureKind::Timeout)), (1, 3));
        assert!(one.latency_ns.max() >= MAX_LATENCY.as_nanos() as u64, "cut, but not dropped");
    }
}
