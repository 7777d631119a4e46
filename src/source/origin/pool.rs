//! Connections that wait for the next request.

use super::line::Line;
use super::upload::Progress;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Handle, Id};

/// A connection that nobody used for so long is closed: origins close theirs after a minute or so,
/// and it is better to do so first than to send something meanwhile.
const IDLE_LIMIT: Duration = Duration::from_secs(45);

/// Connections that are not in use, by the runtime that made them: their sockets and tasks are
/// there, and come to nothing when it ends.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<HashMap<Id, Vec<Line>>>,
    max_idle: usize,
}

impl Pool {
    /// Will keep `max_idle` connections of each runtime.
    pub(super) fn new(max_idle: usize) -> Self {
        Self { idle: Mutex::default(), max_idle }
    }

    /// The connection that was used last: those before it may stay unused and be closed.
    pub(super) fn take(&self) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = idle.get_mut(&Handle::current().id())?;
        std::iter::from_fn(|| lines.pop()).find(|line| line.is_usable(IDLE_LIMIT))
    }

    /// Keeps a connection that has brought its answer, unless it cannot be used again. An origin
    /// that answered before it had all of the request does not get the rest.
    pub(super) async fn give(&self, mut line: Line, progress: &Progress) {
        if !progress.is_done() || !line.settle().await {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for lines in idle.values_mut() {
            lines.retain(|line| line.is_usable(IDLE_LIMIT));
        }
        // Also those of runtimes that have ended.
        idle.retain(|_, lines| !lines.is_empty());
        let lines = idle.entry(Handle::current().id()).or_default();
        if lines.len() < self.max_idle {
            lines.push(line);
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.values().map(Vec::len).sum()
    }
}
