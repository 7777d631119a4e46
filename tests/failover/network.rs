//! A network of the test's own, in which packets to and from one address can be dropped: the test
//! program runs itself again, with one test, inside a fresh network namespace.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

const UNSHARE: [&str; 4] = ["--user", "--map-root-user", "--net", "--"];
/// Says that this process is inside.
const INSIDE: &str = "UNDERSTUDY_TEST_INSIDE";
/// The rule that finds this machine's own addresses comes before any that could drop a packet,
/// unless it is moved.
const PREPARATION: &str = "link set lo up\nrule add pref 100 lookup local\nrule del pref 0\n";

/// Whether this process is inside. If not, the test was run inside, where that is possible, and
/// passed; or it is said that it was not run.
pub(crate) fn enter(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        ip(PREPARATION).expect("a network of one's own can be changed");
        return true;
    }
    let mut probe = Command::new("unshare");
    if let Err(why) = feed(probe.args(UNSHARE).args(["ip", "-batch", "-"]), PREPARATION) {
        println!("not run, as no network can be made here: {why}");
        return false;
    }
    let program = std::env::current_exe().expect("this program is a file");
    let mut command = Command::new("unshare");
    command.args(UNSHARE).arg(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let status = command.stdin(Stdio::null()).status().expect("the program runs");
    assert!(status.success(), "inside a network of its own: {status}");
    false
}

/// Drops packets to and from an address, without a word to anybody.
pub(crate) fn cut(address: IpAddr) {
    let rule = |pref, side| format!("rule add pref {pref} {side} {address} blackhole\n");
    ip(&(rule(1, "to") + &rule(2, "from"))).expect("packets can be dropped");
}

/// Lets them pass again.
pub(crate) fn heal() {
    ip("rule del pref 1\nrule del pref 2\n").expect("packets can pass again");
}

fn ip(lines: &str) -> Result<(), String> {
    feed(Command::new("ip").args(["-batch", "-"]), lines)
}

fn feed(command: &mut Command, lines: &str) -> Result<(), String> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|why| why.to_string())?;
    let mut stdin = child.stdin.take().expect("it is a pipe");
    // A program that ends before it has read all says why on standard error.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(|why| why.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
