//! A seeded cluster on virtual time: the same machines that the shells run, on a network and on
//! hosts that fail.
//!
//! A seed decides everything: how many servers, routers and clients there are, what they ask for,
//! how items change, what breaks and when. After every step it is checked that nothing wrong was
//! handed out; in the end everything is healed, and it is checked that all is well again. The same
//! seed always tells the same story, so that a failure can be told again, line by line.
//!
//! - [`cluster`](self): the world, its clock and its hosts; `events`: what can happen;
//! - `network`, `pump`: streams that stall, break and lose an unknown tail;
//! - `server`, `dialling`, `retrieval`, `calls`, `router`, `admission`, `passing`, `client`,
//!   `caller`, `disk`, `source`, `versions`: the hosts and what they have;
//! - `browser`, `front`, `asking`, `answers`: clients that speak HTTP, and what they may be told;
//! - `origin`, `pages`: an HTTP origin, and the same of its answers;
//! - `plan`, `story`, `workload`, `faults`, `drain`: what a seed decides;
//! - `checks`, `rest`: what must hold; `counts`: what happened.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod admission;
mod answers;
mod asking;
mod browser;
mod caller;
mod calls;
mod checks;
mod client;
mod cluster;
mod counts;
mod dialling;
mod disk;
mod drain;
mod events;
mod faults;
mod front;
mod network;
mod origin;
mod pages;
mod passing;
mod plan;
mod pump;
#[cfg(test)]
mod regressions;
mod rest;
mod retrieval;
mod router;
mod server;
mod source;
mod story;
#[cfg(test)]
mod tests;
mod trace;
mod versions;
mod workload;

use crate::node::Planted;
use checks::words_of;
use cluster::World;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use trace::{Sink, Trace};

pub use checks::Check;
pub use counts::Counts;

/// Events that a failure is told with.
const LAST_EVENTS: usize = 60;

/// A seed whose story ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Events.
    pub steps: u64,
    /// Gets that ended.
    pub answers: u64,
    /// What of it is worth counting.
    pub counts: Counts,
    /// Stands for all that happened.
    pub fingerprint: u32,
}

/// A seed that shows a mistake.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {seed}: \"{check}\" does not hold at step {steps}: {what}")]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// What does not hold.
    pub check: Check,
    /// How it shows.
    pub what: String,
    /// Events until then.
    pub steps: u64,
    /// The last lines of its trace.
    pub last_events: Vec<String>,
}

/// Tells the story of one seed.
///
/// # Errors
/// A check does not hold. The story is then told a second time, for its last events.
pub fn run(seed: u64, planted: Planted) -> Result<Passed, Failed> {
    tell(seed, planted, None).map_err(|failed| {
        let lines = Rc::new(RefCell::new(VecDeque::new()));
        let keep = Rc::clone(&lines);
        let again = tell(
            seed,
            planted,
            Some(Box::new(move |line| {
                let mut lines = keep.borrow_mut();
                if lines.len() == LAST_EVENTS {
                    lines.pop_front();
                }
                lines.push_back(line);
            })),
        );
        debug_assert!(again.is_err(), "seed {seed} does not tell the same story twice");
        let last_events = lines.borrow().iter().cloned().collect();
        Failed { last_events, ..failed }
    })
}

/// Tells the story of one seed, line by line.
///
/// # Errors
/// A check does not hold.
pub fn trace(
    seed: u64,
    planted: Planted,
    line: impl FnMut(String) + 'static,
) -> Result<Passed, Failed> {
    tell(seed, planted, Some(Box::new(line)))
}

fn tell(seed: u64, planted: Planted, sink: Option<Sink>) -> Result<Passed, Failed> {
    let mut world = World::new(seed, planted, Trace::new(sink));
    let told = catch_unwind(AssertUnwindSafe(|| while world.step() {}));
    if let Err(panic) = told {
        world.fail(Check::Panic, words_of(&*panic));
    }
    let steps = world.steps;
    match world.failure {
        Some((check, what)) => Err(Failed { seed, check, what, steps, last_events: Vec::new() }),
        None => {
            world.count_processes();
            let fingerprint = world.trace.hash();
            let (answers, counts) = (world.answers, world.counts);
            Ok(Passed { steps, answers, counts, fingerprint })
        }
    }
}
