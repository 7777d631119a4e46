//! One line on the terminal that shows how it goes.

use crate::load::config::LoadConfig;
use crate::load::{INTERVAL, Progress};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Figures on the terminal, while a run lasts.
pub(super) struct Live {
    is_shown: bool,
    workers: usize,
    connections: usize,
    duration: Duration,
    intervals: u32,
}

impl Live {
    pub(super) fn new(config: &LoadConfig) -> Self {
        let live = Self {
            is_shown: io::stderr().is_terminal(),
            workers: config.workers,
            connections: config.connections,
            duration: config.duration,
            intervals: 0,
        };
        live.write(&format!("{} connections are being made", live.connections));
        live
    }

    /// Shows what is new.
    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        let text = match progress {
            Progress::Ready(ready) if *ready < self.workers => {
                format!("{ready} of {} workers are ready", self.workers)
            }
            Progress::Ready(_) => format!("{} connections are ready", self.connections),
            Progress::Counted(tally) => {
                self.intervals += 1;
                let elapsed = (INTERVAL * self.intervals).min(self.duration);
                let latency_us = |quantile| {
                    Duration::from_nanos(tally.latency_ns.value_at_quantile(quantile)).as_micros()
                };
                format!(
                    "{:.1} of {:.1} s  {:.0} replies/s  p50 {} us  p99 {} us  {} failed",
                    elapsed.as_secs_f64(),
                    self.duration.as_secs_f64(),
                    tally.replies() as f64 / INTERVAL.as_secs_f64(),
                    latency_us(0.5),
                    latency_us(0.99),
                    tally.failures(),
                )
            }
        };
        self.write(&text);
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        self.write("");
    }

    fn write(&self, text: &str) {
        if self.is_shown {
            // A terminal that is gone shows nothing.
            let _ = write!(io::stderr(), "\r{text}\x1b[K");
        }
    }
}
