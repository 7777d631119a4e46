//! A fingerprint of all that happened, and on request a line for each event.

use super::events::Event;
use crate::wire::Time;
use std::fmt::Debug;

/// Longest line, in characters.
const MAX_LINE: usize = 500;

/// Where lines go.
pub(super) type Sink = Box<dyn FnMut(String)>;

/// What is kept of a run.
pub(super) struct Trace {
    hash: crc32fast::Hasher,
    begin: Option<Time>,
    sink: Option<Sink>,
}

impl Trace {
    pub(super) fn new(sink: Option<Sink>) -> Self {
        Self { hash: crc32fast::Hasher::new(), begin: None, sink }
    }

    /// Notes an event.
    pub(super) fn event(&mut self, now: Time, event: &Event) {
        self.hash.update(&now.as_micros().to_le_bytes());
        // Turns and arrivals without a message are too many, and say nothing.
        if !matches!(event, Event::Turn { .. } | Event::Pump { .. } | Event::IdleCheck { .. }) {
            self.line(now, || format!("{event:?}"));
        }
    }

    /// Notes bytes that a machine got.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    /// Notes what a machine got.
    pub(super) fn got(&mut self, now: Time, who: impl Debug, from: impl Debug, what: &dyn Debug) {
        self.line(now, || format!("{who:?} <- {from:?}: {what:?}"));
    }

    /// Writes a line, if anybody reads it.
    pub(super) fn line(&mut self, now: Time, text: impl FnOnce() -> String) {
        let begin = *self.begin.get_or_insert(now);
        if let Some(sink) = &mut self.sink {
            let since = now.since(begin).as_micros();
            let mut line = format!("{:>4}.{:06} {}", since / 1_000_000, since % 1_000_000, text());
            // Bodies say little, at length.
            if let Some((cut, _)) = line.char_indices().nth(MAX_LINE) {
                line.truncate(cut);
            }
            sink(line);
        }
    }

    /// The fingerprint so far.
    pub(super) fn hash(&self) -> u32 {
        self.hash.clone().finalize()
    }
}
