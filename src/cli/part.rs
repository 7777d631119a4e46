//! What `understudy router` and `understudy server` have in common: each is one part of a cluster
//! that runs from its configuration file until it is told to stop.

use super::parent;
use super::report::Failure;
use std::fmt::Display;
use std::future::pending;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// The arguments of both.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration file (TOML). `understudy check --config FILE` checks it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Ends with the process PID, which must be the one that started this one. Set by `up`.
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

/// Reads the configuration with `load` and runs the part with `serve`, which returns when the part
/// has been told to stop. Call it from the main thread.
pub(super) fn run<C, L: Display, S: Display>(
    arguments: &Arguments,
    load: impl FnOnce(&Path) -> Result<C, L>,
    serve: impl FnOnce(C) -> Result<(), S>,
) -> ExitCode {
    match try_run(arguments, load, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => Failure::Failed(text).report(),
    }
}

fn try_run<C, L: Display, S: Display>(
    arguments: &Arguments,
    load: impl FnOnce(&Path) -> Result<C, L>,
    serve: impl FnOnce(C) -> Result<(), S>,
) -> Result<(), String> {
    // First of all, so that there is no moment in which the parent could end unnoticed.
    arguments.parent.map_or(Ok(()), parent::die_with)?;
    let config = load(&arguments.config).map_err(|error| error.to_string())?;
    serve(config).map_err(|error| error.to_string())
}

/// How a process was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// By Ctrl-C: at once.
    AtOnce,
    /// By SIGTERM: in good order.
    InOrder,
}

/// Completes when Ctrl-C or SIGTERM asks this process to stop. It has to run inside the runtime.
pub(super) async fn told_to_stop() -> Told {
    tokio::select! {
        () = received(SignalKind::interrupt()) => Told::AtOnce,
        () = received(SignalKind::terminate()) => Told::InOrder,
    }
}

async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(error) => {
            // The signal then ends the process without further ado.
            tracing::warn!(%error, "signals cannot be received");
            pending().await
        }
    }
}

/// An address for the log, which may be none.
pub(super) fn shown(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "none".to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(parent: Option<u32>) -> Arguments {
        Arguments { config: "x.toml".into(), parent }
    }

    #[test]
    fn what_was_loaded_is_served_and_failures_of_both_are_passed_on() {
        let load = |path: &Path| Ok::<_, String>(path.to_owned());
        let mut served = None;
        let serve = |config| {
            served = Some(config);
            Ok::<_, String>(())
        };
        assert_eq!(try_run(&arguments(None), load, serve), Ok(()));
        assert_eq!(served, Some("x.toml".into()));
        let refused = try_run(&arguments(None), |_| Err::<(), _>("bad"), |()| Ok::<_, String>(()));
        assert_eq!(refused, Err("bad".to_owned()));
        assert_eq!(try_run(&arguments(None), load, |_| Err("late")), Err("late".to_owned()));
    }

    #[test]
    fn a_parent_that_is_not_the_parent_is_refused_before_anything_else() {
        // Process 0 is nobody's child's parent.
        let load = |_: &Path| -> Result<(), String> { panic!("it must not come to this") };
        let refused = try_run(&arguments(Some(0)), load, |()| Ok::<_, String>(()));
        let text = "--parent 0: that is not the process that started this one";
        assert_eq!(refused, Err(text.to_owned()));
    }
}
