//! One connection to an origin, and how long to wait for what comes over it.

use super::super::exchange::ExchangeError;
use super::upload::{Progress, Upload};
use crate::config::OriginUrl;
use crate::wire::http::{MAX_FIELDS, MAX_FIELDS_BYTES};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes that wait between the socket and either side, at the most, in each direction.
const MAX_BUFFERED: usize = 64 * 1024;
/// Bytes of the head of an answer: colons, line ends and what is about the connection are not
/// among the fields that are kept.
const MAX_HEAD: usize = MAX_FIELDS_BYTES + 4 * 1024;
/// How long a connection may take to be ready for the next request after it has brought an answer.
/// It is ready at once, or has a reason not to be.
const SETTLE_TIME: Duration = Duration::from_millis(100);

const _: () = assert!(MAX_HEAD < MAX_BUFFERED);

/// A connection, with the task that serves it. Dropping it closes the connection, whatever goes on.
#[derive(Debug)]
pub(super) struct Line {
    sender: SendRequest<Upload>,
    traffic: Arc<Traffic>,
    /// What had been read when the last request was sent.
    heard_before: u64,
    idle_since: Instant,
    driver: Driver,
}

/// The task of a connection, which ends with this.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What has gone over a connection.
#[derive(Debug)]
pub(super) struct Traffic {
    /// Bytes.
    read: AtomicU64,
    began: Instant,
    /// When something was written for the last time, in milliseconds since it began.
    last_write_ms: AtomicU64,
}

impl Traffic {
    fn new() -> Self {
        let (read, last_write_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { read, began: Instant::now(), last_write_ms }
    }

    fn last_write(&self) -> Instant {
        self.began + Duration::from_millis(self.last_write_ms.load(Ordering::Relaxed))
    }
}

/// Why a request has no answer.
pub(super) struct Unanswered {
    pub(super) error: ExchangeError,
    /// The request, if it is certain that nothing of it was sent.
    pub(super) unsent: Option<Request<Upload>>,
}

impl Line {
    pub(super) async fn connect(url: &OriginUrl, within: Duration) -> Result<Self, ExchangeError> {
        let connected = timeout(within, TcpStream::connect((url.host(), url.port()))).await;
        let unreachable = |why: String| ExchangeError::Unreachable(why);
        let stream = connected
            .map_err(|_| unreachable(format!("no connection within {} ms", within.as_millis())))?
            .map_err(|error| unreachable(error.to_string()))?;
        // Fails only if the connection is gone already, which the first request will find.
        let _ = stream.set_nodelay(true);
        let traffic = Arc::new(Traffic::new());
        let io = TokioIo::new(Noted { stream, traffic: Arc::clone(&traffic) });
        let handshake = http1::Builder::new()
            .max_buf_size(MAX_BUFFERED)
            .max_header_size(MAX_HEAD)
            .max_headers(MAX_FIELDS)
            .handshake(io);
        let (sender, connection) =
            handshake.await.map_err(|error| unreachable(error.to_string()))?;
        let driver = Driver(tokio::spawn(async move {
            // Whoever waits for something from this connection is told of its error.
            let _ = connection.await;
        }));
        Ok(Self { sender, traffic, heard_before: 0, idle_since: Instant::now(), driver })
    }

    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) fn send(
        &mut self,
        message: Request<Upload>,
        progress: &Arc<Progress>,
    ) -> impl Future<Output = Result<Response<Incoming>, Unanswered>> + Send + use<> {
        self.heard_before = self.traffic.read.load(Ordering::Relaxed);
        let answer = self.sender.try_send_request(message);
        let progress = Arc::clone(progress);
        async move {
            answer.await.map_err(|mut failed| Unanswered {
                unsent: failed.take_message(),
                error: broken(failed.error(), &progress),
            })
        }
    }

    /// Whether a byte has come since the last request was sent.
    pub(super) fn has_heard(&self) -> bool {
        self.traffic.read.load(Ordering::Relaxed) != self.heard_before
    }

    /// Waits until another request can be sent; false if none can.
    pub(super) async fn settle(&mut self) -> bool {
        let is_ready = matches!(timeout(SETTLE_TIME, self.sender.ready()).await, Ok(Ok(())));
        self.idle_since = Instant::now();
        is_ready
    }

    /// Whether it is open and has been idle for less than `limit`.
    pub(super) fn is_usable(&self, limit: Duration) -> bool {
        let is_served = !self.driver.0.is_finished();
        is_served && self.sender.is_ready() && self.idle_since.elapsed() < limit
    }
}

/// What became of a connection, in words. If the content of the request is the reason, it is said
/// instead.
pub(super) fn broken(error: &hyper::Error, progress: &Progress) -> ExchangeError {
    if let Some(failure) = progress.failure() {
        return failure;
    }
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    ExchangeError::Broken(match io {
        _ if error.is_parse_too_large() => "its head is too large".to_owned(),
        _ if error.is_parse() => "it is not HTTP/1.1".to_owned(),
        Some(io) if io.kind() != io::ErrorKind::UnexpectedEof => {
            format!("the connection broke: {io}")
        }
        _ => "the connection was closed before it was whole".to_owned(),
    })
}

/// How long to wait for an origin.
#[derive(Debug)]
pub(super) struct Patience {
    timeout: Duration,
    traffic: Arc<Traffic>,
    progress: Arc<Progress>,
}

impl Patience {
    pub(super) fn new(timeout: Duration, traffic: &Arc<Traffic>, progress: &Arc<Progress>) -> Self {
        Self { timeout, traffic: Arc::clone(traffic), progress: Arc::clone(progress) }
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Waits for what the origin is to do. It has taken too long only if it did not take any of the
    /// request either: while that is on its way, or waits for the client, an answer may wait too.
    /// What comes bit by bit is not there before it is all there.
    pub(super) async fn wait<T>(
        &self,
        work: impl Future<Output = T>,
        so_far: &str,
    ) -> Result<T, ExchangeError> {
        let mut work = pin!(work);
        let mut since = Instant::now();
        loop {
            let deadline = since.max(self.traffic.last_write()) + self.timeout;
            if let Ok(done) = timeout_at(deadline, work.as_mut()).await {
                return Ok(done);
            }
            if self.progress.awaits_client() {
                since = Instant::now();
            } else if since.max(self.traffic.last_write()) + self.timeout <= deadline {
                let within = self.timeout.as_millis();
                return Err(ExchangeError::TimedOut(format!("{so_far} within {within} ms")));
            }
        }
    }
}

/// A stream that notes what goes over it.
struct Noted {
    stream: TcpStream,
    traffic: Arc<Traffic>,
}

impl Noted {
    fn note(&self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(wrote, Poll::Ready(Ok(_))) {
            let since = self.traffic.began.elapsed().as_millis();
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            self.traffic.last_write_ms.store(since, Ordering::Relaxed);
        }
        wrote
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        self.traffic.read.fetch_add(bytes as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
