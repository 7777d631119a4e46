//! Frames that wait to be written to a stream.
//!
//! Whoever has something to send adds it, without waiting. A link between members, which many
//! clients share, is written by a task, after everything that was ready in this turn of the loop
//! has been handled. A client's stream is [flushed](Outbox::flush) at the end of the turn that
//! filled it, which is cheaper than to wake a task; only what the transport does not take at once
//! is left to one. What a peer does not read piles up here, so whoever reads that peer's requests
//! first waits until the pile is low.

use crate::wire::Frame;
use crate::wire::gather::Gather;
use bytes::{Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// With so many bytes waiting, no more requests are read from the peer.
const HIGH_WATER: usize = 1024 * 1024;
/// A client that does not acknowledge a few bytes keeps so many from being used again.
const BLOCK_SIZE: usize = 16 * 1024;

#[derive(Default)]
struct Inner {
    waiting: RefCell<Gather>,
    /// The stream, while no task has it.
    stream: RefCell<Option<quinn::SendStream>>,
    /// Bytes that a task has and the stream has not taken yet.
    writing: Cell<usize>,
    closed: Cell<bool>,
    filled: Notify,
    drained: Notify,
}

/// A handle on what waits for one stream. Cheap to clone; all clones fill the same stream.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Rc<Inner>);

impl Outbox {
    /// Writes to `stream` by a task of its own until it is closed or the stream breaks.
    pub(crate) fn by_task(stream: quinn::SendStream) -> Self {
        let outbox = Self::default();
        tokio::task::spawn_local(outbox.clone().write_to(stream));
        outbox
    }

    /// Writes to `stream` whenever it is flushed.
    pub(crate) fn by_flush(stream: quinn::SendStream) -> Self {
        let outbox = Self::default();
        outbox.0.stream.replace(Some(stream));
        outbox
    }

    /// Adds what `fill` writes behind all else. Says whether it is the first that waits: then it is
    /// time to think of flushing.
    pub(crate) fn fill(&self, fill: impl FnOnce(&mut Gather)) -> bool {
        if self.0.closed.get() {
            return false;
        }
        let mut waiting = self.0.waiting.borrow_mut();
        let was_empty = waiting.is_empty();
        fill(&mut waiting);
        if was_empty {
            self.0.filled.notify_one();
        }
        was_empty
    }

    /// Adds a frame behind all else; as [`Outbox::fill`].
    pub(crate) fn push(&self, frame: &Frame) -> bool {
        self.fill(|waiting| waiting.push(frame))
    }

    /// Hands all that waits to the transport, if it takes it at once; otherwise a task goes on with
    /// it.
    pub(crate) fn flush(&self) {
        let mut place = self.0.stream.borrow_mut();
        let Some(stream) = place.as_mut() else {
            // A task has it, and will write this too.
            return;
        };
        // Not in the match, whose last arm needs what waits for itself.
        let written = write_at_once(stream, &mut self.0.waiting.borrow_mut());
        match written {
            Ok(true) => {
                if self.0.closed.get() {
                    // Fails only if the stream is already gone.
                    let _ = stream.finish();
                }
            }
            Ok(false) => {
                if let Some(stream) = place.take() {
                    tokio::task::spawn_local(self.clone().catch_up(stream));
                }
            }
            Err(_) => self.give_up(),
        }
    }

    /// Writes what waits and finishes the stream.
    pub(crate) fn close(&self) {
        self.0.closed.set(true);
        self.0.filled.notify_one();
        self.flush();
    }

    /// Whether the peer has left more unread than anybody should add to.
    pub(crate) fn is_high(&self) -> bool {
        self.pile() > HIGH_WATER
    }

    /// Waits until the peer has read enough of what it was sent.
    pub(crate) async fn low_water(&self) {
        while self.is_high() && !self.0.closed.get() {
            self.0.drained.notified().await;
        }
    }

    fn pile(&self) -> usize {
        self.0.waiting.borrow().len() + self.0.writing.get()
    }

    fn give_up(&self) {
        self.0.closed.set(true);
        self.0.waiting.borrow_mut().clear();
        self.0.drained.notify_waiters();
    }

    async fn write_to(self, mut stream: quinn::SendStream) {
        loop {
            if self.write_waiting(&mut stream).await.is_err() {
                return self.give_up();
            }
            if self.0.closed.get() {
                self.0.drained.notify_waiters();
                // Fails only if the stream is already gone.
                let _ = stream.finish();
                return;
            }
            self.0.filled.notified().await;
        }
    }

    /// Writes until nothing waits, then gives the stream back.
    async fn catch_up(self, mut stream: quinn::SendStream) {
        if self.write_waiting(&mut stream).await.is_err() {
            return self.give_up();
        }
        self.0.stream.replace(Some(stream));
        // What closed it meanwhile found no stream to finish.
        self.flush();
    }

    async fn write_waiting(&self, stream: &mut quinn::SendStream) -> Result<(), quinn::WriteError> {
        let mut pieces = Vec::new();
        loop {
            if write_at_once(stream, &mut self.0.waiting.borrow_mut())? {
                // Whoever waits for room has it, however it came about.
                self.0.drained.notify_waiters();
                return Ok(());
            }
            self.0.waiting.borrow_mut().take(&mut pieces);
            self.0.writing.set(pieces.iter().map(Bytes::len).sum());
            stream.write_all_chunks(&mut pieces).await?;
            pieces.clear();
            self.0.writing.set(0);
            self.0.drained.notify_waiters();
        }
    }
}

thread_local! {
    /// Room for small frames of all streams of this thread's worker, one behind the other: so that
    /// a write costs no allocation of its own.
    static BLOCK: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A copy of small frames that can be handed to the transport.
fn copy(small: &[u8]) -> Bytes {
    if small.len() > BLOCK_SIZE / 4 {
        return Bytes::copy_from_slice(small);
    }
    BLOCK.with_borrow_mut(|block| {
        if block.capacity() < small.len() {
            *block = BytesMut::with_capacity(BLOCK_SIZE);
        }
        block.extend_from_slice(small);
        block.split().freeze()
    })
}

/// Writes small frames in one piece, as much as the transport takes now; `true` if nothing is left.
/// What else waits, large bodies, is for [`quinn::SendStream::write_all_chunks`].
fn write_at_once(
    stream: &mut quinn::SendStream,
    waiting: &mut Gather,
) -> Result<bool, quinn::WriteError> {
    let Some(small) = waiting.as_small() else {
        return Ok(false);
    };
    if small.is_empty() {
        return Ok(true);
    }
    let mut piece = [copy(small)];
    // Whoever waits for room polls again with a waker of its own.
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(written) = pin!(stream.write_chunks(&mut piece)).poll(&mut context) else {
        return Ok(false);
    };
    waiting.skip_small(written?.bytes);
    Ok(waiting.is_empty())
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;
    use crate::net::{endpoint, tls};
    use crate::wire::session::GoawayReason;
    use quinn::VarInt;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;

    #[tokio::test]
    async fn what_is_left_for_a_stream_that_broke_is_dropped() {
        let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
        let (cert, key) = (certs.join("server.pem"), certs.join("server.key"));
        let accepting = tls::quic_server(tls::public_server(&cert, &key, &[b"outbox"]).unwrap());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let router = endpoint::bind(any, Some(endpoint::public_accepting(accepting))).unwrap();
        let client = endpoint::bind(any, None).unwrap();
        let trust = tls::public_client(tls::Roots::Bundled, &[b"outbox"]).unwrap();
        let config = quinn::ClientConfig::new(tls::quic_client(trust));
        let address = router.local_addr().unwrap();
        let connecting = client.connect_with(config, address, "localhost").unwrap();
        let accepted = async { router.accept().await.unwrap().await.unwrap() };
        let (connection, _accepted) = tokio::join!(connecting, accepted);
        let connection = connection.unwrap();
        let (send, _receive) = connection.open_bi().await.unwrap();
        let outbox = Outbox::by_flush(send);
        connection.close(VarInt::from_u32(0), b"");
        assert!(outbox.push(&GoawayReason::Shutdown.encode()));
        outbox.flush();
        assert!(!outbox.push(&GoawayReason::Shutdown.encode()), "nothing is kept any more");
        assert_eq!(outbox.pile(), 0);
    }
}
