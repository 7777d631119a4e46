//! Signs of life of one worker of a server.
//!
//! A worker is asked for a sign of life when an answer is outstanding and nothing was heard of it
//! for a moment, and now and then otherwise. Silence is only counted while such a question is
//! open, and from the last thing that was heard: a busy worker that answers others is not silent,
//! and a worker that owes nobody anything is not suspect.

use crate::wire::Time;
use std::time::Duration;

/// One worker of a server.
#[derive(Debug)]
pub(super) struct Pulse {
    /// When it was last heard of.
    heard: Time,
    /// When it was last asked for a sign of life, or linked.
    asked: Time,
    /// The question that is open.
    open: Option<u64>,
}

impl Pulse {
    /// A worker that was just linked.
    pub(super) fn new(now: Time) -> Self {
        Self { heard: now, asked: now, open: None }
    }

    /// A message came.
    pub(super) fn hear(&mut self, now: Time) {
        self.heard = now;
    }

    /// A question is sent.
    pub(super) fn ask(&mut self, now: Time, number: u64) {
        (self.asked, self.open) = (now, Some(number));
    }

    /// The answer to the question came: how long that took.
    pub(super) fn answer(&mut self, now: Time, number: u64) -> Option<Duration> {
        self.open.take_if(|open| *open == number).map(|_| now.since(self.asked))
    }

    /// The router itself stood still for so long, and may not have read what came meanwhile.
    pub(super) fn excuse(&mut self, stood_still: Duration) {
        self.asked += stood_still;
    }

    /// Since when it owes a sign of life, if it does.
    pub(super) fn silent_since(&self) -> Option<Time> {
        self.open.map(|_| self.heard.max(self.asked))
    }

    /// For how long it has owed a sign of life.
    pub(super) fn silence(&self, now: Time) -> Duration {
        self.silent_since().map_or(Duration::ZERO, |since| now.since(since))
    }

    /// When it is to be asked next. `since` is when the oldest outstanding request was sent, `soon`
    /// and `seldom` how long to wait with one and without. `None` while a question is open.
    pub(super) fn ask_at(
        &self,
        since: Option<Time>,
        (soon, seldom): (Duration, Duration),
    ) -> Option<Time> {
        if self.open.is_some() {
            return None;
        }
        let seldom = self.asked + seldom;
        Some(since.map_or(seldom, |since| seldom.min(self.heard.max(since) + soon)))
    }
}

/// How long a server takes to show a sign of life, as TCP reckons its round trips (RFC 6298).
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    smoothed: Duration,
    variation: Duration,
}

impl RoundTrip {
    pub(super) fn take(&mut self, sample: Duration) {
        if self.smoothed.is_zero() {
            (self.smoothed, self.variation) = (sample, sample / 2);
            return;
        }
        self.variation = (self.variation * 3 + self.smoothed.abs_diff(sample)) / 4;
        self.smoothed = (self.smoothed * 7 + sample) / 8;
    }

    /// What a sign of life hardly ever takes longer than.
    pub(super) fn patience(&self) -> Duration {
        self.smoothed + self.variation * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn only_a_worker_that_owes_an_answer_is_silent() {
        let mut pulse = Pulse::new(at(0));
        assert_eq!(pulse.silence(at(900)), ms(0), "nothing was asked");
        pulse.ask(at(900), 1);
        assert_eq!(pulse.silence(at(910)), ms(10));
        pulse.hear(at(912));
        assert_eq!(pulse.silence(at(915)), ms(3), "it lives, and still owes the answer");
        assert_eq!(pulse.answer(at(916), 7), None, "an answer to another question");
        assert_eq!(pulse.answer(at(916), 1), Some(ms(16)));
        assert_eq!(pulse.silence(at(990)), ms(0));
    }

    #[test]
    fn it_is_asked_soon_while_a_request_is_outstanding() {
        let mut pulse = Pulse::new(at(0));
        let waits = (ms(5), ms(250));
        assert_eq!(pulse.ask_at(None, waits), Some(at(250)));
        assert_eq!(pulse.ask_at(Some(at(100)), waits), Some(at(105)));
        pulse.hear(at(103));
        assert_eq!(pulse.ask_at(Some(at(100)), waits), Some(at(108)));
        pulse.ask(at(108), 1);
        assert_eq!(pulse.ask_at(Some(at(100)), waits), None);
    }

    #[test]
    fn time_in_which_the_router_stood_still_is_no_silence() {
        let mut pulse = Pulse::new(at(0));
        pulse.ask(at(10), 1);
        pulse.excuse(ms(500));
        assert_eq!(pulse.silence(at(515)), ms(5));
    }

    #[test]
    fn patience_follows_what_answers_take() {
        let mut round_trip = RoundTrip::default();
        for _ in 0..50 {
            round_trip.take(ms(2));
        }
        assert!(round_trip.patience() < ms(3), "{round_trip:?}");
        round_trip.take(ms(40));
        assert!(round_trip.patience() > ms(40), "{round_trip:?}");
    }
}
