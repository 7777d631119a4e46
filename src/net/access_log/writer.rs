//! The thread that writes the access log.

use super::file::{LogFile, count_lines};
use super::format::push_line;
use super::{Counts, Entry};
use crate::config::AccessLogFormat;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long entries gather after the first one, to be written together. Meanwhile nobody who
/// records one has to wake the writer.
const GATHERING: Duration = Duration::from_millis(20);
/// How often it is looked, while there is nothing to write, whether the file was moved.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is told at the most that entries are lost.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// With so many bytes of lines they are written, whatever else waits.
const BATCH_BYTES: usize = 64 * 1024;

/// What the thread owns.
pub(super) struct Writer {
    waiting: Receiver<Box<Entry>>,
    file: LogFile,
    format: AccessLogFormat,
    counts: Arc<Counts>,
    /// Whole lines.
    batch: Vec<u8>,
    complaints: Complaints,
}

impl Writer {
    pub(super) fn new(
        waiting: Receiver<Box<Entry>>,
        file: LogFile,
        format: AccessLogFormat,
        counts: Arc<Counts>,
    ) -> Self {
        let complaints = Complaints::default();
        Self { waiting, file, format, counts, batch: Vec::new(), complaints }
    }

    /// Writes what comes until nobody can record anything more and all of it is written.
    pub(super) fn run(mut self) {
        loop {
            match self.waiting.recv_timeout(LOOK_INTERVAL) {
                Ok(first) => {
                    std::thread::sleep(GATHERING);
                    self.write_from(&first);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let trouble = self.file.follow().err();
                    self.complain(trouble);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Writes an entry and all that wait behind it.
    fn write_from(&mut self, first: &Entry) {
        self.take(first);
        while let Ok(entry) = self.waiting.try_recv() {
            self.take(&entry);
        }
        self.write();
    }

    fn take(&mut self, entry: &Entry) {
        self.counts.waiting_bytes.fetch_sub(entry.weight_bytes(), Ordering::Relaxed);
        push_line(self.format, entry, &mut self.batch);
        if self.batch.len() >= BATCH_BYTES {
            self.write();
        }
    }

    /// Writes the batch. Lines that cannot be written are lost: those that come are worth more.
    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let appended = self.file.append(&self.batch);
        let lost = count_lines(&self.batch) - appended.lines;
        self.counts.written.fetch_add(appended.lines, Ordering::Relaxed);
        self.counts.dropped.fetch_add(lost, Ordering::Relaxed);
        self.batch.clear();
        self.complain(appended.trouble);
    }

    fn complain(&mut self, trouble: Option<io::Error>) {
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        let Some(complaint) = self.complaints.due(trouble, dropped, Instant::now()) else {
            return;
        };
        let (path, lost) = (self.file.path().display(), complaint.lost);
        match complaint.trouble {
            Some(error) => {
                tracing::warn!(%path, %error, lost, "the access log cannot be written");
            }
            None => {
                tracing::warn!(%path, lost, "the access log was given entries too fast");
            }
        }
    }
}

/// What there is to complain about, and when that was done last.
#[derive(Default)]
struct Complaints {
    told: Option<Instant>,
    /// Entries whose loss has been told.
    told_dropped: u64,
    /// What went wrong since.
    trouble: Option<io::Error>,
}

struct Complaint {
    trouble: Option<io::Error>,
    /// Entries that were lost since the last complaint.
    lost: u64,
}

impl Complaints {
    /// What is to be told now, of this trouble and of what could not be told earlier.
    fn due(&mut self, trouble: Option<io::Error>, dropped: u64, now: Instant) -> Option<Complaint> {
        self.trouble = trouble.or(self.trouble.take());
        let lost = dropped - self.told_dropped;
        let is_quiet = self.told.is_some_and(|told| now < told + COMPLAINT_INTERVAL);
        if is_quiet || (self.trouble.is_none() && lost == 0) {
            return None;
        }
        self.told = Some(now);
        self.told_dropped = dropped;
        Some(Complaint { trouble: self.trouble.take(), lost })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::entry;
    use super::super::{MAX_WAITING_BYTES, Queue};
    use super::*;
    use std::path::Path;

    fn writer(queue: &Queue, waiting: Receiver<Box<Entry>>, path: &Path) -> Writer {
        let file = LogFile::open(path).unwrap();
        Writer::new(waiting, file, AccessLogFormat::Common, Arc::clone(&queue.counts))
    }

    #[test]
    fn what_waits_is_written_together_in_its_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (queue, waiting) = Queue::new(2_000, MAX_WAITING_BYTES);
        let mut writer = writer(&queue, waiting, &path);
        for number in 0..2_000 {
            queue.push(entry(&format!("/{number}")));
        }
        let first = writer.waiting.recv().unwrap();
        writer.write_from(&first);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() > 2 * BATCH_BYTES && text.ends_with('\n'));
        assert_eq!(text.lines().count(), 2_000);
        for (number, line) in text.lines().enumerate() {
            assert!(line.contains(&format!(" /{number} ")), "{line}");
        }
        assert_eq!(queue.counts.waiting_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(queue.counts.written.load(Ordering::Relaxed), 2_000);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn entries_that_find_no_room_on_the_disk_are_lost_and_counted() {
        let (queue, waiting) = Queue::new(8, MAX_WAITING_BYTES);
        let mut writer = writer(&queue, waiting, Path::new("/dev/full"));
        for _ in 0..3 {
            queue.push(entry("/"));
        }
        let first = writer.waiting.recv().unwrap();
        writer.write_from(&first);
        assert_eq!(queue.counts.written.load(Ordering::Relaxed), 0);
        assert_eq!(queue.counts.dropped.load(Ordering::Relaxed), 3);
        assert!(writer.batch.is_empty() && writer.complaints.told.is_some());
    }

    #[test]
    fn a_complaint_is_made_at_most_once_a_minute_and_tells_all_that_was_lost() {
        let mut complaints = Complaints::default();
        let full = || Some(io::Error::from(io::ErrorKind::StorageFull));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(complaints.due(None, 0, start).is_none());
        let first = complaints.due(full(), 5, start).unwrap();
        assert!(first.trouble.is_some() && first.lost == 5);
        assert!(complaints.due(full(), 7, at(1)).is_none());
        assert!(complaints.due(None, 9, at(59)).is_none());
        let second = complaints.due(None, 9, at(60)).unwrap();
        assert!(second.trouble.is_some() && second.lost == 4, "of what could not be told");
        assert!(complaints.due(None, 9, at(120)).is_none());
        let third = complaints.due(None, 10, at(121)).unwrap();
        assert!(third.trouble.is_none() && third.lost == 1);
    }
}
