//! When requests are made: as soon as there is an answer, or by a plan that waits for nobody.
//!
//! A plan is arithmetic: request `k` of connection `c` of `n` is due `(k * n + c) / rate` seconds
//! after the start. So what is late need not be queued, only counted, and the latency of a request
//! is measured from the time that was planned for it: a target that stands still cannot hide it by
//! keeping the generator from asking.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The times of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Load starts.
    pub(super) start: Instant,
    /// What is planned from here on counts.
    pub(super) begin: Instant,
    /// Nothing is planned from here on.
    pub(super) end: Instant,
}

/// The plan of one connection.
#[derive(Debug)]
pub(super) struct Pace {
    /// Nothing where the next request follows the last answer.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// Between two requests of this connection.
    step_s: f64,
    /// From the start to the first one.
    offset_s: f64,
    /// Requests that were made.
    made: Cell<u64>,
}

impl Pace {
    /// The plan of connection `connection` out of `connections`, which make `rate` requests a
    /// second in all; without a rate, none.
    pub(super) fn new(rate: Option<f64>, connection: usize, connections: usize) -> Self {
        let open = rate.map(|rate| Open {
            step_s: connections as f64 / rate,
            offset_s: connection as f64 / rate,
            made: Cell::new(0),
        });
        Self { open }
    }

    /// The planned time of a request that is to be made now, if one is.
    pub(super) fn take(&self, window: &Window, now: Instant) -> Option<Instant> {
        let Some(open) = &self.open else {
            return (window.start <= now && now < window.end).then_some(now);
        };
        let due = open.due(window, open.made.get());
        if due > now || due >= window.end {
            return None;
        }
        open.made.set(open.made.get() + 1);
        Some(due)
    }

    /// When the request number `number` is due; `None` without a plan, and from the end on.
    pub(super) fn due(&self, window: &Window, number: u64) -> Option<Instant> {
        let due = self.open.as_ref()?.due(window, number);
        (due < window.end).then_some(due)
    }

    /// Requests that count and were planned, but not made.
    pub(super) fn not_made(&self, window: &Window) -> u64 {
        let Some(open) = &self.open else {
            return 0;
        };
        let first = open.before(window, window.begin).max(open.made.get());
        open.before(window, window.end).saturating_sub(first)
    }
}

impl Open {
    fn due(&self, window: &Window, number: u64) -> Instant {
        // A plan that is longer than the clock has no time ends with the longest run.
        let seconds = (self.offset_s + self.step_s * number as f64).min(1e9);
        window.start + Duration::from_secs_f64(seconds)
    }

    /// How many requests are due before `time`.
    fn before(&self, window: &Window, time: Instant) -> u64 {
        let elapsed = time.saturating_duration_since(window.start).as_secs_f64();
        let mut count = ((elapsed - self.offset_s) / self.step_s).ceil().max(0.0) as u64;
        // What is due at the very time must fall on the side that `due` says.
        while count > 0 && self.due(window, count - 1) >= time {
            count -= 1;
        }
        while self.due(window, count) < time {
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn window(seconds: u32) -> Window {
        let start = Instant::now();
        Window { start, begin: start + SECOND, end: start + SECOND * (1 + seconds) }
    }

    #[test]
    fn without_a_plan_the_next_one_follows_at_once_until_the_end() {
        let (pace, window) = (Pace::new(None, 3, 8), window(1));
        assert_eq!(pace.take(&window, window.start - SECOND), None);
        assert_eq!(pace.take(&window, window.begin), Some(window.begin));
        assert_eq!(pace.take(&window, window.end), None);
        assert_eq!((pace.due(&window, 0), pace.not_made(&window)), (None, 0));
    }

    #[test]
    fn what_a_stall_held_up_is_taken_later_by_its_planned_time() {
        let (pace, window) = (Pace::new(Some(10.0), 0, 1), window(1));
        assert_eq!(pace.take(&window, window.start), Some(window.start));
        assert_eq!(pace.take(&window, window.start), None, "the next one is not due");
        let late = window.start + SECOND;
        let planned: Vec<_> = std::iter::from_fn(|| pace.take(&window, late)).collect();
        assert_eq!(planned.len(), 10);
        assert_eq!(planned[0], window.start + SECOND / 10);
        assert_eq!(pace.not_made(&window), 9, "of 10 that count, one was made");
    }

    proptest! {
        #[test]
        fn the_connections_share_the_rate(connections in 1_usize..20, rate in 1.0_f64..1e5) {
            let window = window(2);
            let plans = (0..connections).map(|place| Pace::new(Some(rate), place, connections));
            let planned: u64 = plans.map(|pace| pace.not_made(&window)).sum();
            prop_assert!((planned as f64 - 2.0 * rate).abs() <= 1.0 + 1e-6 * rate, "{}", planned);
        }

        #[test]
        fn what_is_made_and_what_is_not_add_up(
            rate in 1.0_f64..1e4, connection in 0_usize..5, stops_ms in 0_u64..4_000,
        ) {
            let (pace, window) = (Pace::new(Some(rate), connection, 5), window(2));
            let all = pace.not_made(&window);
            let stop = window.start + Duration::from_millis(stops_ms);
            let made = std::iter::from_fn(|| pace.take(&window, stop));
            let counted = made.filter(|planned| *planned >= window.begin).count() as u64;
            prop_assert_eq!(counted + pace.not_made(&window), all);
        }
    }
}
