//! Frames that wait to be written to a stream.
//!
//! Whoever has something to send pushes it, without waiting; one task per stream writes all that is
//! there in one go. What a peer does not read piles up here, so whoever reads that peer's requests
//! first waits until the pile is low.

use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::Notify;

/// With so many bytes waiting, no more requests are read from the peer.
const HIGH_WATER: usize = 1024 * 1024;

#[derive(Default)]
struct Inner {
    waiting: RefCell<Vec<Bytes>>,
    bytes: Cell<usize>,
    closed: Cell<bool>,
    filled: Notify,
    drained: Notify,
}

/// A handle on what waits for one stream. Cheap to clone; all clones fill the same stream.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Rc<Inner>);

impl Outbox {
    /// Adds bytes behind all others.
    pub(crate) fn push(&self, bytes: Bytes) {
        if self.0.closed.get() {
            return;
        }
        self.0.bytes.set(self.0.bytes.get() + bytes.len());
        let mut waiting = self.0.waiting.borrow_mut();
        waiting.push(bytes);
        if waiting.len() == 1 {
            self.0.filled.notify_one();
        }
    }

    /// Writes what waits and finishes the stream.
    pub(crate) fn close(&self) {
        self.0.closed.set(true);
        self.0.filled.notify_one();
    }

    /// Waits until the peer has read enough of what it was sent.
    pub(crate) async fn low_water(&self) {
        while self.0.bytes.get() > HIGH_WATER && !self.0.closed.get() {
            self.0.drained.notified().await;
        }
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
        loop {
            let mut batch = std::mem::take(&mut *self.0.waiting.borrow_mut());
            if batch.is_empty() {
                if self.0.closed.get() {
                    return Ok(());
                }
                self.0.filled.notified().await;
                continue;
            }
            let size: usize = batch.iter().map(Bytes::len).sum();
            stream.write_all_chunks(&mut batch).await?;
            self.0.bytes.set(self.0.bytes.get() - size);
            self.0.drained.notify_waiters();
        }
    }
}
