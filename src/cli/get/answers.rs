//! What came, and how it is shown.

use super::complain;
use super::output::Sink;
use crate::cli::report::Failure;
use crate::net::client::{Answered, Details, Error, ReplyKind};
use crate::wire::Key;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// How it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Answers that were no item, and items that could not be written.
    pub(super) failed: u64,
}

/// What came of many items.
#[derive(Debug, Default)]
struct Sum {
    unchanged: u64,
    deltas: u64,
    whole: u64,
    wire_bytes: u64,
}

impl Sum {
    fn add(&mut self, answered: &Answered) {
        let details = match &answered.result {
            Ok(reply) => {
                match reply.kind {
                    ReplyKind::UseCached => self.unchanged += 1,
                    ReplyKind::Delta => self.deltas += 1,
                    ReplyKind::Full => self.whole += 1,
                }
                &reply.details
            }
            Err(failure) => &failure.details,
        };
        self.wire_bytes += details.wire_bytes;
    }
}

/// A line of JSON. The names and their order are what programs rely on.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    reply: &'static str,
    bytes: u64,
    wire_bytes: u64,
    crc32: Option<String>,
    tag: Option<String>,
    validator: Option<&'static str>,
    client: Option<String>,
    server: Option<&'a str>,
    alternate: Option<&'a str>,
    epoch: Option<u64>,
    elapsed_us: u64,
}

/// Takes answers, in the order of the keys.
pub(super) struct Answers<'a, W> {
    stdout: &'a mut W,
    sink: Sink,
    json: bool,
    /// What came is summed up at the end.
    sum: Option<Sum>,
    outcome: Outcome,
    progress: Progress,
}

impl<'a, W: Write> Answers<'a, W> {
    /// `json` has a line for each answer; `sums_up` has one at the end, for people.
    pub(super) fn new(
        stdout: &'a mut W,
        sink: Sink,
        (json, sums_up): (bool, bool),
        total: u64,
    ) -> Self {
        let (sum, outcome) = (sums_up.then(Sum::default), Outcome::default());
        Self { stdout, sink, json, sum, outcome, progress: Progress::new(total) }
    }

    /// Shows an answer, and writes its bytes if they are wanted. Returns whether to go on.
    pub(super) fn take(
        &mut self,
        key: &Key,
        answered: Answered,
        wants_bytes: bool,
    ) -> Result<bool, Failure> {
        self.progress.step();
        if let Some(sum) = &mut self.sum {
            sum.add(&answered);
        }
        let mut shown = Ok(());
        if self.json {
            let text = serde_json::to_string(&line(key, &answered)).expect("plain data");
            shown = writeln!(self.stdout, "{text}");
        }
        let trouble = match &answered.result {
            Ok(_) if !wants_bytes => None,
            Ok(reply) => match self.sink.write(key, &reply.bytes, self.stdout) {
                Ok(written) => {
                    shown = shown.and(written);
                    None
                }
                Err(why) => Some(why),
            },
            Err(failure) => Some(format!("{key}: {}", failure.error)),
        };
        if let Some(text) = trouble {
            self.outcome.failed += 1;
            self.progress.clear();
            complain(&text);
        }
        written(shown)
    }

    /// Ends it.
    pub(super) fn finish(mut self) -> Result<Outcome, Failure> {
        self.progress.clear();
        if let Some(Sum { unchanged, deltas, whole, wire_bytes }) = &self.sum {
            let failed = self.outcome.failed;
            let text = format!(
                "{unchanged} unchanged, {deltas} by a difference, {whole} whole, {failed} not \
                 found or failed; {wire_bytes} bytes both ways"
            );
            written(writeln!(self.stdout, "{text}"))?;
        }
        written(self.stdout.flush())?;
        Ok(self.outcome)
    }
}

/// Whether standard output takes more.
fn written(result: io::Result<()>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(why) => Err(Failure::Failed(format!("standard output could not be written: {why}"))),
    }
}

fn line<'a>(key: &'a Key, answered: &'a Answered) -> Line<'a> {
    let (reply, item, details): (_, _, &Details) = match &answered.result {
        Ok(reply) => (reply.kind.as_str(), Some(reply), &reply.details),
        Err(failure) => (word(&failure.error), None, &failure.details),
    };
    let assignment = details.assignment.as_ref();
    Line {
        key: key.as_str(),
        reply,
        bytes: item.map_or(0, |item| item.fingerprint.length),
        wire_bytes: details.wire_bytes,
        crc32: item.map(|item| format!("{:08x}", item.fingerprint.crc)),
        tag: item.map(|item| item.version.to_string()),
        validator: details.validator.map(|kind| kind.as_str()),
        client: details.client.map(|client| client.to_string()),
        server: assignment.map(|assignment| assignment.primary().as_str()),
        alternate: assignment.and_then(|assignment| assignment.alternate.as_ref()?.as_str().into()),
        epoch: assignment.map(|assignment| assignment.epoch.term),
        elapsed_us: u64::try_from(answered.elapsed.as_micros()).unwrap_or(u64::MAX),
    }
}

fn word(error: &Error) -> &'static str {
    match error {
        Error::NotFound => "not_found",
        Error::Busy { .. } => "busy",
        _ => "error",
    }
}

/// A count on the terminal, while there is much to do.
struct Progress {
    total: u64,
    done: u64,
    shown: Option<Instant>,
    visible: bool,
}

impl Progress {
    fn new(total: u64) -> Self {
        let shown = (total > 1 && io::stderr().is_terminal()).then(Instant::now);
        Self { total, done: 0, shown, visible: false }
    }

    fn step(&mut self) {
        self.done += 1;
        let Some(shown) = self.shown.as_mut().filter(|at| at.elapsed() >= PROGRESS_INTERVAL) else {
            return;
        };
        *shown = Instant::now();
        self.visible = true;
        // A terminal that is gone shows nothing.
        let _ = write!(io::stderr(), "\r{} of {}", self.done, self.total);
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.visible) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
