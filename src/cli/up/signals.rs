//! The signals that ask `up` to stop.

use super::supervise::StopHandle;
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// SIGHUP is signal 1, so it is the first bit of a set.
const HANGUP_BIT: u64 = 1;

/// From now on Ctrl-C, SIGTERM and the end of the terminal (SIGHUP) stop, each time they come. Call
/// it inside the runtime.
pub(super) fn forward(handle: StopHandle) -> io::Result<()> {
    let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
    // Under `nohup` the end of the terminal is to be ignored, and a handler would undo that.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !ignores_hangup(&status) {
        kinds.push(SignalKind::hangup());
    }
    for kind in kinds {
        let mut signals = signal(kind)?;
        let handle = handle.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                handle.stop();
            }
        });
    }
    Ok(())
}

/// Whether the signal is in the set of ignored ones of a `/proc/PID/status`.
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & HANGUP_BIT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hangup_signal_is_found_among_the_ignored_ones() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        assert!(!ignores_hangup("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
