//! How long a server takes to answer requests, lately.
//!
//! Times are counted in buckets that are a quarter as wide as what they hold, and the counts fade,
//! so that the 99th percentile is that of the last seconds. It is looked up once in a while and not
//! for each request.

use std::time::Duration;

/// Buckets per doubling.
const STEPS: u32 = 4;
/// Doublings of a microsecond that are told apart: up to a minute.
const OCTAVES: u32 = 26;
/// What this part of all answers took longer than is looked for.
const ABOVE: u32 = 100;
/// With fewer answers than this there is no percentile worth the name.
const FEW: u32 = 20;
/// What the percentile is taken for until there are enough answers.
const GUESS: Duration = Duration::from_millis(10);

/// Times of recent answers.
#[derive(Debug)]
pub(super) struct AnswerTimes {
    counts: [u32; (STEPS * OCTAVES) as usize],
    percentile: Duration,
}

impl Default for AnswerTimes {
    fn default() -> Self {
        Self { counts: [0; (STEPS * OCTAVES) as usize], percentile: GUESS }
    }
}

impl AnswerTimes {
    /// Counts one answer.
    pub(super) fn take(&mut self, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(STEPS);
        let octave = micros.ilog2();
        let step = (micros >> (octave - STEPS.ilog2())) - STEPS;
        let bucket = (octave * STEPS + step) as usize;
        let bucket = bucket.min(self.counts.len() - 1);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
    }

    /// The 99th percentile when it was last looked up.
    pub(super) fn percentile(&self) -> Duration {
        self.percentile
    }

    /// Looks the percentile up, and lets what was counted fade.
    pub(super) fn refresh(&mut self) {
        let total: u32 = self.counts.iter().fold(0, |total, count| total.saturating_add(*count));
        let mut above = 0;
        let last = (0..self.counts.len()).rev().find(|bucket| {
            above += self.counts[*bucket];
            above > total / ABOVE
        });
        if let Some(bucket) = last {
            let found = upper_edge(bucket as u32);
            self.percentile = if total < FEW { found.max(GUESS) } else { found };
        }
        self.counts.iter_mut().for_each(|count| *count -= count.div_ceil(8));
    }
}

/// The time above which the next bucket begins.
fn upper_edge(bucket: u32) -> Duration {
    let (octave, step) = (bucket / STEPS, bucket % STEPS);
    let micros = (u64::from(STEPS + step + 1) << octave) / u64::from(STEPS);
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refreshed(times: &[(u64, u32)]) -> Duration {
        let mut answers = AnswerTimes::default();
        for (micros, count) in times {
            (0..*count).for_each(|_| answers.take(Duration::from_micros(*micros)));
        }
        answers.refresh();
        answers.percentile()
    }

    #[test]
    fn the_percentile_is_within_a_quarter() {
        for micros in [7, 90, 1_000, 33_333, 5_000_000] {
            let found = refreshed(&[(micros, 1_000)]).as_micros() as u64;
            assert!((micros..=micros * 5 / 4).contains(&found), "{micros}: {found}");
        }
        let found = refreshed(&[(1_000, 9_880), (8_000, 120)]).as_micros();
        assert!(found > 8_000, "120 of 10,000 are above: {found}");
        let found = refreshed(&[(1_000, 9_920), (8_000, 80)]).as_micros();
        assert!(found < 1_300, "80 of 10,000 are not: {found}");
    }

    #[test]
    fn a_few_answers_prove_nothing() {
        assert_eq!(refreshed(&[]), GUESS);
        assert_eq!(refreshed(&[(100, 3)]), GUESS);
        assert!(refreshed(&[(90_000, 1)]) > GUESS * 8);
    }

    #[test]
    fn what_is_long_ago_is_forgotten_and_extremes_are_counted() {
        let mut answers = AnswerTimes::default();
        answers.take(Duration::MAX);
        answers.take(Duration::ZERO);
        (0..50).for_each(|_| answers.take(Duration::from_secs(1)));
        for _ in 0..60 {
            (0..50).for_each(|_| answers.take(Duration::from_millis(1)));
            answers.refresh();
        }
        assert!(answers.percentile() < Duration::from_millis(2), "{:?}", answers.percentile());
    }
}
