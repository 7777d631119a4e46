//! Frames that wait to be written to a stream.
//!
//! Whoever has something to send adds it, without waiting; one task per stream writes all that is
//! there in one go, after everything that was ready in this turn of the loop has been handled. What a
//! peer does not read piles up here, so whoever reads that peer's requests first waits until the pile
//! is low.

use crate::wire::gather::Gather;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::Notify;

/// With so many bytes waiting, no more requests are read from the peer.
const HIGH_WATER: usize = 1024 * 1024;

#[derive(Default)]
struct Inner {
    waiting: RefCell<Gather>,
    /// Bytes that the stream has not taken yet.
    writing: Cell<usize>,
    closed: Cell<bool>,
    filled: Notify,
    drained: Notify,
}

/// A handle on what waits for one stream. Cheap to clone; all clones fill the same stream.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Rc<Inner>);

impl Outbox {
    /// Adds what `fill` writes behind all else.
    pub(crate) fn fill(&self, fill: impl FnOnce(&mut Gather)) {
        if self.0.closed.get() {
            return;
        }
        let mut waiting = self.0.waiting.borrow_mut();
        let was_empty = waiting.is_empty();
        fill(&mut waiting);
        if was_empty {
            self.0.filled.notify_one();
        }
    }

    /// Adds bytes behind all others.
    pub(crate) fn push(&self, bytes: &Bytes) {
        self.fill(|waiting| waiting.push(bytes));
    }

    /// Writes what waits and finishes the stream.
    pub(crate) fn close(&self) {
        self.0.closed.set(true);
        self.0.filled.notify_one();
    }

    /// Waits until the peer has read enough of what it was sent.
    pub(crate) async fn low_water(&self) {
        while self.pile() > HIGH_WATER && !self.0.closed.get() {
            self.0.drained.notified().await;
        }
    }

    fn pile(&self) -> usize {
        self.0.waiting.borrow().len() + self.0.writing.get()
    }

    /// Writes to `stream` until the outbox is closed or the stream breaks.
    pub(crate) async fn write_to(self, mut stream: quinn::SendStream) {
        let result = self.write_all(&mut stream).await;
        self.0.closed.set(true);
        self.0.waiting.borrow_mut().clear();
        self.0.drained.notify_waiters();
        if result.is_ok() {
            // Fails only if the stream is already gone.
            let _ = stream.finish();
        }
    }

    async fn write_all(&self, stream: &mut quinn::SendStream) -> Result<(), quinn::WriteError> {
        let mut pieces = Vec::new();
        loop {
            self.0.waiting.borrow_mut().take(&mut pieces);
            if pieces.is_empty() {
                if self.0.closed.get() {
                    return Ok(());
                }
                self.0.filled.notified().await;
                continue;
            }
            self.0.writing.set(pieces.iter().map(Bytes::len).sum());
            stream.write_all_chunks(&mut pieces).await?;
            pieces.clear();
            self.0.writing.set(0);
            self.0.drained.notify_waiters();
        }
    }
}
