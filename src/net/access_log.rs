//! The access log of a router's HTTP front: a line for each request that was answered.
//!
//! Workers hand entries over and never wait: what the queue has no room for is lost, and counted.
//! One thread makes lines of them ([`format`]) and appends many of them at once ([`writer`]) to a
//! file that may be moved, removed or truncated at any time, as log rotation does ([`file`]).

mod date;
mod file;
mod format;
#[cfg(test)]
mod tests;
mod writer;

use crate::config::AccessLogFormat;
use crate::wire::ClientId;
use file::LogFile;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use writer::Writer;

/// Entries that may wait to be written: more than a tenth of a second's worth of all that a large
/// machine can answer.
const MAX_WAITING_ENTRIES: usize = 65_536;
/// Bytes that they may take together, since clients choose how long their texts are.
const MAX_WAITING_BYTES: usize = 64 << 20;

const _: () = assert!(MAX_WAITING_ENTRIES * size_of::<Entry>() <= MAX_WAITING_BYTES);

/// One request and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When the request came, in microseconds since 1970.
    pub(crate) time_us: u64,
    /// Where it came from.
    pub(crate) peer: SocketAddr,
    /// The version of HTTP: `1.1`, `2` or `3`.
    pub(crate) version: &'static str,
    /// What was to be done.
    pub(crate) method: String,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The host that was asked, with its port if the request named it.
    pub(crate) authority: String,
    /// The path and the query, or what the method takes instead of them.
    pub(crate) target: String,
    /// The final status.
    pub(crate) status: u16,
    /// Bytes of content that were sent, without fields and framing.
    pub(crate) sent_bytes: u64,
    /// From the request's fields to the last byte of the answer, in microseconds.
    pub(crate) duration_us: u64,
    /// The client that it was taken for.
    pub(crate) client: Option<ClientId>,
    /// The field `referer`.
    pub(crate) referer: Option<String>,
    /// The field `user-agent`.
    pub(crate) user_agent: Option<String>,
}

impl Entry {
    /// Bytes of memory that it takes.
    fn weight_bytes(&self) -> usize {
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        let texts = self.method.capacity() + self.authority.capacity() + self.target.capacity();
        size_of::<Self>() + texts + optional(&self.referer) + optional(&self.user_agent)
    }
}

/// An access log that is open. Cheap to clone; all clones write to the same file.
///
/// Dropping the last one waits until everything is written.
#[derive(Clone)]
pub(crate) struct AccessLog(Arc<Log>);

/// The queue is dropped before the writer, as they stand here: that ends the writer.
struct Log {
    queue: Queue,
    _writer: Joined,
}

impl AccessLog {
    /// Opens the file, or makes it where there is none, and starts the thread that writes to it.
    ///
    /// # Errors
    /// The file could not be opened for appending, or the thread not be started.
    pub(crate) fn open(path: &Path, format: AccessLogFormat) -> io::Result<Self> {
        let file = LogFile::open(path)?;
        let (queue, waiting) = Queue::new(MAX_WAITING_ENTRIES, MAX_WAITING_BYTES);
        let writer = Writer::new(waiting, file, format, Arc::clone(&queue.counts));
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        let writer = Joined(Some(thread.spawn(move || writer.run())?));
        Ok(Self(Arc::new(Log { queue, _writer: writer })))
    }

    /// Has an entry written soon, or drops it where too many wait. Never blocks.
    pub(crate) fn record(&self, entry: Entry) {
        self.0.queue.push(entry);
    }

    /// How many clones there are.
    #[cfg(test)]
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Entries that are in the file.
    pub(crate) fn written(&self) -> u64 {
        self.0.queue.counts.written.load(Ordering::Relaxed)
    }

    /// Entries that were lost: too many waited, or the file could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.queue.counts.dropped.load(Ordering::Relaxed)
    }
}

/// What became of the entries, and what waits.
#[derive(Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
    waiting_bytes: AtomicUsize,
}

/// The workers' end of the way to the writer.
struct Queue {
    /// Boxed, so that a queue that is never full takes little.
    entries: SyncSender<Box<Entry>>,
    max_bytes: usize,
    counts: Arc<Counts>,
}

impl Queue {
    /// A queue for so many entries and so many bytes of them.
    fn new(max_entries: usize, max_bytes: usize) -> (Self, Receiver<Box<Entry>>) {
        let (entries, waiting) = sync_channel(max_entries);
        (Self { entries, max_bytes, counts: Arc::default() }, waiting)
    }

    fn push(&self, entry: Entry) {
        let counts = &self.counts;
        let weight_bytes = entry.weight_bytes();
        let before = counts.waiting_bytes.fetch_add(weight_bytes, Ordering::Relaxed);
        let fits = before + weight_bytes <= self.max_bytes;
        if !fits || self.entries.try_send(Box::new(entry)).is_err() {
            counts.waiting_bytes.fetch_sub(weight_bytes, Ordering::Relaxed);
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A thread that is waited for.
struct Joined(Option<JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic has been told by the thread itself, and there is nobody to hand it on to.
            let _ = thread.join();
        }
    }
}
