//! How long a client waits before it tries again.

use super::session::Session;
use rand::RngExt;
use std::time::Duration;

/// Waits between rounds of attempts start at this...
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// ...double each time, and end at this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Session {
    /// How long to wait after so many failures, one after the other.
    pub(super) fn wait_after(&mut self, failures: u32) -> Duration {
        let rounds = failures / u32::try_from(self.routers).unwrap_or(u32::MAX);
        if rounds == 0 {
            return Duration::ZERO;
        }
        let longest = (FIRST_WAIT * 2u32.pow((rounds - 1).min(16))).min(LONGEST_WAIT);
        self.jitter(longest)
    }

    /// A time between half of `longest` and all of it, so that clients that failed together do not
    /// come back together.
    pub(super) fn jitter(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.random.random_range(0.5..1.0))
    }
}
