//! Ties the life of a child process to that of its parent, so that `up` leaves nothing behind
//! however it ends.
//!
//! Two ways, because each has a gap. On Linux the kernel kills the child the moment its parent
//! ends, even a child that is stopped. Everywhere, the child's standard input is a pipe whose other
//! end the parent holds and never writes to, so its end is the end of the parent.

use rustix::process::{Signal, getpid, getppid, kill_process};
use std::io;

/// Ends this process, as `kill -9` would, when the process `parent` ends. Fails when `parent` is
/// not, or no longer, the parent of this process. Linux sees the end of the *thread* that started
/// this process as the parent's end, so parents start their children from their main thread.
pub(super) fn die_with(parent: u32) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("the end of the parent cannot be watched: {error}"))?;
    // Only after the line above: a parent that ended before it raises no signal.
    let actual = getppid().and_then(|pid| u32::try_from(pid.as_raw_pid()).ok());
    if actual != Some(parent) {
        return Err(format!("--parent {parent}: that is not the process that started this one"));
    }
    when_stdin_ends(|| {
        // Not an orderly exit: nobody waits for this process, and what it serves is gone.
        let _ = kill_process(getpid(), Signal::KILL);
    })
}

/// Calls `then` once standard input is at its end. It is read from then on, by a thread of its own.
pub(super) fn when_stdin_ends(then: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let watch = move || {
        // Whatever is sent is ignored; an input that cannot be read is as good as ended.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        then();
    };
    let thread = std::thread::Builder::new().name("stdin".to_owned());
    thread.spawn(watch).map(drop).map_err(|error| format!("no thread could be started: {error}"))
}
