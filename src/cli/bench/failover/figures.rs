//! What a run came to.

use super::counters::Counters;
use super::show;
use crate::load::failover::{Class, KINDS, Outcome, Sample, Samples};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

/// The percentiles that are told to programs.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999), ("max", 1.0)];

/// The slowest answers that are told one by one.
const SLOWEST: usize = 8;

/// What happened when, and to whom.
pub(super) struct Story {
    /// From the start of the load: when it struck, and until when answers are looked at in
    /// particular.
    pub(super) window: Range<Duration>,
    /// The clients that lost their server, or their router.
    pub(super) struck: HashSet<usize>,
    /// What was counted from the start of the load to the end.
    pub(super) counters: Counters,
}

/// The figures of one event.
pub(super) struct Figures {
    pub(super) requests: usize,
    pub(super) failed: usize,
    pub(super) wrong: usize,
    /// Small answers that were open in the window, or planned in it; those of the whole run; and
    /// large ones.
    pub(super) window: Latencies,
    pub(super) small: Latencies,
    pub(super) large: Latencies,
    /// How late requests were begun: what the generator, or the machine, was to blame for.
    pub(super) late: Latencies,
    /// The small answers that took longest.
    pub(super) slowest: Vec<Sample>,
    /// Of the struck clients, from the event on, by kind of validator.
    pub(super) use_cached: [Share; KINDS.len()],
    /// How many clients were struck.
    pub(super) struck: usize,
    /// Requests that clients sent more than once.
    pub(super) asked_again: usize,
    /// Bytes that came to clients beyond those of one whole answer for each request.
    pub(super) sent_again: u64,
    pub(super) counters: Counters,
    pub(super) reasons: Vec<String>,
}

/// Latencies in order.
pub(super) struct Latencies(Vec<Duration>);

/// How many requests there were for what the client held, and how many of them were answered by
/// use-cached on the strength of what the client had said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) requests: usize,
    pub(super) use_cached: usize,
}

impl Figures {
    pub(super) fn new(samples: Samples, story: &Story) -> Self {
        let Samples { all, reasons } = samples;
        let of = |outcome| all.iter().filter(|sample| sample.outcome == outcome).count();
        // What failed is counted as such, and has no latency.
        let answered = all.iter().filter(|sample| sample.outcome != Outcome::Failed);
        let answered: Vec<_> = answered.copied().collect();
        let small = |sample: &Sample| sample.class.is_small();
        let in_window = |sample: &Sample| {
            let Range { start, end } = story.window;
            sample.planned < end && sample.planned + sample.latency >= start
        };
        let share = |kind| {
            let class = Class::Held(kind);
            let after = |sample: &&Sample| {
                sample.planned >= story.window.start && story.struck.contains(&sample.client)
            };
            let asked: Vec<_> =
                all.iter().filter(after).filter(|sample| sample.class == class).collect();
            let expected = Outcome::UseCached(kind);
            let use_cached = asked.iter().filter(|sample| sample.outcome == expected).count();
            Share { requests: asked.len(), use_cached }
        };
        Self {
            requests: all.len(),
            failed: of(Outcome::Failed),
            wrong: of(Outcome::WrongBytes),
            window: Latencies::of(&answered, |sample| small(sample) && in_window(sample)),
            small: Latencies::of(&answered, small),
            large: Latencies::of(&answered, |sample| !small(sample)),
            late: Latencies::new(all.iter().map(|sample| sample.late)),
            use_cached: KINDS.map(share),
            struck: story.struck.len(),
            slowest: slowest(&all),
            asked_again: all.iter().filter(|sample| sample.attempts > 1).count(),
            sent_again: all.iter().map(|sample| sample.sent_again).sum(),
            counters: story.counters,
            reasons,
        }
    }

    /// Whether everything was answered, and rightly.
    pub(super) fn is_good(&self) -> bool {
        self.failed == 0 && self.wrong == 0
    }

    /// Hedges for each hundred requests.
    pub(super) fn hedges_percent(&self) -> f64 {
        percent(self.counters.hedges as usize, self.requests).unwrap_or_default()
    }

    pub(super) fn json(&self) -> Value {
        let shares = KINDS.into_iter().zip(self.use_cached).map(|(kind, share)| {
            let value = json!({
                "requests": share.requests,
                "use_cached": share.use_cached,
                "percent": share.percent(),
            });
            (show::kind_name(kind).to_owned(), value)
        });
        let Counters { hedges, hedged_wins, resumed_bodies, takeovers, released_clients } =
            self.counters;
        let slowest = self.slowest.iter().map(|sample| {
            json!({
                "planned_s": sample.planned.as_secs_f64(),
                "latency_us": microseconds(sample.latency),
                "late_us": microseconds(sample.late),
                "client": sample.client,
            })
        });
        json!({
            "slowest_small": slowest.collect::<Vec<_>>(),
            "requests": self.requests,
            "failed": self.failed,
            "wrong_bytes": self.wrong,
            "reasons": self.reasons,
            "small_in_window_us": self.window.json(),
            "small_us": self.small.json(),
            "large_us": self.large.json(),
            "late_us": self.late.json(),
            "struck_clients": self.struck,
            "use_cached_after": shares.collect::<Map<_, _>>(),
            "hedges": hedges,
            "hedges_percent": self.hedges_percent(),
            "hedged_wins": hedged_wins,
            "resumed_bodies": resumed_bodies,
            "asked_again": self.asked_again,
            "bytes_sent_again": self.sent_again,
            "takeovers": takeovers,
            "released_clients": released_clients,
        })
    }
}

impl Latencies {
    /// Of some of the samples.
    fn of(samples: &[Sample], wanted: impl Fn(&Sample) -> bool) -> Self {
        let wanted = samples.iter().filter(|sample| wanted(sample));
        Self::new(wanted.map(|sample| sample.latency))
    }

    fn new(latencies: impl Iterator<Item = Duration>) -> Self {
        let mut all: Vec<_> = latencies.collect();
        all.sort_unstable();
        Self(all)
    }

    /// The least latency that at least this share of them does not exceed.
    pub(super) fn at(&self, quantile: f64) -> Option<Duration> {
        let rank = (quantile * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied()
    }

    fn json(&self) -> Value {
        let percentiles = PERCENTILES
            .into_iter()
            .map(|(name, quantile)| (name.to_owned(), self.at(quantile).map(microseconds).into()));
        let mut all: Map<_, Value> = percentiles.collect();
        all.insert("count".to_owned(), self.0.len().into());
        all.into()
    }
}

impl Share {
    pub(super) fn percent(self) -> Option<f64> {
        percent(self.use_cached, self.requests)
    }
}

fn microseconds(latency: Duration) -> f64 {
    latency.as_secs_f64() * 1e6
}

/// The small answers that took longest, the slowest first.
fn slowest(samples: &[Sample]) -> Vec<Sample> {
    let mut small: Vec<_> = samples.iter().filter(|sample| sample.class.is_small()).collect();
    small.sort_unstable_by_key(|sample| std::cmp::Reverse(sample.latency));
    small.into_iter().take(SLOWEST).copied().collect()
}

fn percent(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::client::ValidatorKind;

    const SECOND: Duration = Duration::from_secs(1);

    fn sample(planned_s: u32, class: Class, client: usize, outcome: Outcome) -> Sample {
        Sample {
            planned: SECOND * planned_s,
            latency: Duration::from_millis(u64::from(planned_s)),
            late: Duration::from_millis(1),
            class,
            client,
            outcome,
            attempts: 1,
            sent_again: 0,
        }
    }

    #[test]
    fn only_struck_clients_count_for_the_share_and_only_answers_for_latencies() {
        let (none, crc) = (Class::Held(ValidatorKind::None), Class::Held(ValidatorKind::Crc));
        let by_mirror = Outcome::UseCached(ValidatorKind::None);
        let by_strong = Outcome::UseCached(ValidatorKind::Strong);
        let all = vec![
            sample(1, none, 0, by_strong),
            sample(3, none, 0, by_mirror),
            sample(4, none, 0, by_strong),
            sample(4, none, 1, by_strong),
            sample(4, crc, 0, Outcome::Failed),
            sample(5, Class::Small, 0, Outcome::Sent),
            sample(6, Class::Huge, 0, Outcome::WrongBytes),
        ];
        let story = Story {
            window: SECOND * 3..SECOND * 5,
            struck: HashSet::from([0]),
            counters: Counters::default(),
        };
        let figures = Figures::new(Samples { all, reasons: Vec::new() }, &story);
        assert_eq!((figures.requests, figures.failed, figures.wrong), (7, 1, 1));
        assert!(!figures.is_good());
        let share = |requests, use_cached| Share { requests, use_cached };
        assert_eq!(figures.use_cached, [share(2, 1), share(1, 0), share(0, 0)]);
        assert_eq!(figures.window.0.len(), 3);
        assert_eq!(figures.window.at(1.0), Some(Duration::from_millis(4)));
        assert_eq!(figures.window.at(0.5), Some(Duration::from_millis(4)));
        assert_eq!(figures.small.at(1.0), Some(Duration::from_millis(5)));
        assert_eq!(
            (figures.late.0.len(), figures.late.at(0.5)),
            (7, Some(Duration::from_millis(1)))
        );
        assert_eq!((figures.large.0.len(), Latencies(Vec::new()).at(0.5)), (1, None));
    }
}
