//! What the members of a cluster count, read from their metrics.

/// Of one member, or of all together; a member that does not count something has none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Requests that routers also sent to an alternate, in case the primary would not answer.
    pub(super) hedges: u64,
    /// Of these, those that the alternate answered first.
    pub(super) hedged_wins: u64,
    /// Bodies that were continued from another server.
    pub(super) resumed_bodies: u64,
    /// Takeovers that routers asked for.
    pub(super) takeovers: u64,
    /// Clients that returned servers dropped.
    pub(super) released_clients: u64,
}

impl Counters {
    /// Reads a page of metrics (OpenMetrics).
    pub(super) fn read(page: &str) -> Self {
        let sum = |name: &str| {
            let values = page.lines().filter_map(|line| {
                let rest = line.strip_prefix("understudy_")?.strip_prefix(name)?;
                let rest = rest.strip_prefix("_total")?;
                rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next())?
            });
            values.filter_map(|value| value.parse::<u64>().ok()).sum()
        };
        Self {
            hedges: sum("hedges"),
            hedged_wins: sum("hedge_wins"),
            resumed_bodies: sum("resumed_bodies"),
            takeovers: sum("takeovers"),
            released_clients: sum("released_clients"),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.hedges += other.hedges;
        self.hedged_wins += other.hedged_wins;
        self.resumed_bodies += other.resumed_bodies;
        self.takeovers += other.takeovers;
        self.released_clients += other.released_clients;
    }

    /// What was counted since an earlier time. Some of it is lost where a process ended meanwhile.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            hedges: self.hedges.saturating_sub(before.hedges),
            hedged_wins: self.hedged_wins.saturating_sub(before.hedged_wins),
            resumed_bodies: self.resumed_bodies.saturating_sub(before.resumed_bodies),
            takeovers: self.takeovers.saturating_sub(before.takeovers),
            released_clients: self.released_clients.saturating_sub(before.released_clients),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let page = "\
# HELP understudy_takeovers Takeovers.
# TYPE understudy_takeovers counter
understudy_takeovers_total 7
understudy_takeovers_total_of_another 100
understudy_hedges_total{why=\"a\"} 2
understudy_hedges_total{why=\"b\"} 3
understudy_taken_over_clients_total 9
# EOF
";
        let expected = Counters { hedges: 5, takeovers: 7, ..Counters::default() };
        assert_eq!(Counters::read(page), expected);
        let mut twice = expected;
        twice.add(&expected);
        assert_eq!((twice.since(&expected), Counters::read("")), (expected, Counters::default()));
    }
}
