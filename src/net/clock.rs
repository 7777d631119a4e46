//! The clock that shells read for the machines.

use crate::wire::Time;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time at the start, plus monotonic time since: never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall_at_start: Duration,
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let wall_at_start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_at_start, start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        Time::default() + self.wall_at_start + self.start.elapsed()
    }

    /// The instant at which [`Clock::now`] will be `time`.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        let now = self.now();
        Instant::now() + time.since(now)
    }
}
