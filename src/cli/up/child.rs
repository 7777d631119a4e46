//! One child process: how it is started, spoken to and stopped.

use super::Part;
use crate::cli::http;
use crate::cli::report::{self, Failure};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long a child that was asked to stop has, before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How often a child is asked whether it is ready.
const READY_PERIOD: Duration = Duration::from_millis(50);
/// How long one such question may take.
const READY_PATIENCE: Duration = Duration::from_secs(2);
/// How long the last words of a dead child are waited for: whoever it started may hold the pipe.
const LAST_WORDS_PATIENCE: Duration = Duration::from_millis(500);
/// Longer lines of a child are shown in pieces of so many bytes.
const MAX_LINE: u64 = 8 * 1024;

/// What is to be started for a part of the cluster.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Launch {
    pub(in crate::cli) part: Part,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl Launch {
    /// Starts it.
    pub(in crate::cli) fn start(&self) -> Result<Running, Failure> {
        Running::start(self).map_err(|error| {
            let (name, program) = (&self.part.name, self.program.display());
            Failure::Failed(format!("{name} could not be started from {program}: {error}"))
        })
    }
}

/// A child that was started. Killed when dropped.
pub(in crate::cli) struct Running {
    child: Child,
    pid: u32,
    /// Its end tells the child that we have ended.
    _lifeline: Option<ChildStdin>,
    last_line: JoinHandle<Option<String>>,
}

impl Running {
    /// Starts the child. Its lines on standard error are passed on, each behind its name.
    pub(super) fn start(launch: &Launch) -> io::Result<Self> {
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C goes to the terminal's process group: it is for us to pass on.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (Some(pid), Some(stderr)) = (child.id(), child.stderr.take()) else {
            return Err(io::Error::other("it ended at once"));
        };
        let name = launch.part.name.clone();
        let last_line = tokio::spawn(relay(stderr, move |line| {
            report::line(&format!("{name}: {line}"));
        }));
        Ok(Self { pid, _lifeline: child.stdin.take(), child, last_line })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the child has ended. Cancel-safe.
    pub(in crate::cli) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// The last line that the child wrote, once it has ended.
    pub(super) async fn last_line(&mut self) -> Option<String> {
        timeout(LAST_WORDS_PATIENCE, &mut self.last_line).await.ok()?.ok().flatten()
    }

    /// Asks the child to stop, waits for a while, and then ends it; at once when `hurry` completes.
    pub(super) async fn stop(mut self, hurry: impl Future<Output = ()>) {
        // Servers that all stop have nobody to hand their clients over to, and do not wait.
        self.signal(Signal::TERM);
        // One that was frozen has to be running to stop.
        self.signal(Signal::CONT);
        let stopped = tokio::select! {
            stopped = timeout(STOP_PATIENCE, self.child.wait()) => stopped.is_ok(),
            () = hurry => false,
        };
        if !stopped {
            // Fails only for a child that has ended in the meantime.
            let _ = self.child.kill().await;
        }
        self.last_line().await;
    }

    /// Sends a signal, unless the child has ended: its number may be another's by then.
    pub(in crate::cli) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It has ended and nobody has waited for it yet: there is nothing to stop.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Waits until the part says that it is ready.
pub(in crate::cli) async fn ready(part: &Part) {
    loop {
        let page = http::get(part.admin, "/ready", READY_PATIENCE).await;
        if page.is_ok_and(|page| page.status == 200) {
            return;
        }
        sleep(READY_PERIOD).await;
    }
}

/// Passes on line after line until the end, and returns the last one that was not empty.
async fn relay(stream: impl AsyncRead + Unpin, mut show: impl FnMut(&str)) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    let mut last = None;
    loop {
        bytes.clear();
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut bytes).await;
        if read.is_err() || bytes.is_empty() {
            return last;
        }
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        show(&line);
        if !line.is_empty() {
            last = Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_passed_on_and_the_last_one_is_kept() {
        let mut shown = Vec::new();
        let text = b"one\ntwo \xff\r\n\nno newline";
        let last = relay(&text[..], |line| shown.push(line.to_owned())).await;
        assert_eq!(shown, ["one", "two \u{fffd}", "", "no newline"]);
        assert_eq!(last.as_deref(), Some("no newline"));
        assert_eq!(relay(&b""[..], |_| panic!("there is no line")).await, None);
    }

    #[tokio::test]
    async fn a_line_without_end_is_shown_in_pieces() {
        let mut lengths = Vec::new();
        relay(&[b'x'; 20_000][..], |line| lengths.push(line.len())).await;
        assert_eq!(lengths, [8192, 8192, 20_000 - 2 * 8192]);
    }
}
