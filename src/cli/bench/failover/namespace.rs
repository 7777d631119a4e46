//! A network of our own, in which packets to and from one address can be dropped.
//!
//! It takes Linux with user namespaces that everybody may make, and the usual programs `unshare`
//! and `ip`. This process is run again inside a fresh network namespace, where loopback is all
//! there is and where it may change the rules of routing.

use crate::cli::report::Failure;
use std::ffi::OsString;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The rule that finds this machine's own addresses comes first, before any that could drop a
/// packet; so it is moved back.
const PREPARATION: &str = "link set lo up\nrule add pref 100 lookup local\nrule del pref 0\n";

/// Whether a network can be made here; else why not.
pub(super) fn is_possible() -> Result<(), String> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--", "ip", "-batch", "-"]);
    feed(&mut command, PREPARATION)
}

/// Runs this program again, with the same arguments and one more, inside a network of its own.
/// Returns only where that fails.
pub(super) fn enter(argument: &str) -> Failure {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(why) => return Failure::Failed(format!("this program cannot be found: {why}")),
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--"]);
    let error = command.arg(program).args(arguments).arg(argument).exec();
    Failure::Failed(format!("unshare: {error}"))
}

/// Makes the network usable. Call it once, inside.
pub(super) fn prepare() -> Result<(), Failure> {
    ip(PREPARATION)
}

/// Drops packets to and from an address, without a word to anybody.
pub(super) fn cut(address: IpAddr) -> Result<(), Failure> {
    ip(&format!(
        "rule add pref 1 to {address} blackhole\nrule add pref 2 from {address} blackhole\n"
    ))
}

/// Lets them pass again.
pub(super) fn heal() -> Result<(), Failure> {
    ip("rule del pref 1\nrule del pref 2\n")
}

/// Runs one process for all lines, so that they take effect together.
fn ip(lines: &str) -> Result<(), Failure> {
    feed(Command::new("ip").args(["-batch", "-"]), lines)
        .map_err(|why| Failure::Failed(format!("the network cannot be changed: {why}")))
}

fn feed(command: &mut Command, lines: &str) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|why| format!("{name}: {why}"))?;
    let mut stdin = child.stdin.take().expect("it is a pipe");
    // A program that ends before it has read all says why on standard error.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(|why| format!("{name}: {why}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
