//! Promise 9, for calls: sent at most once, and whoever asked is told when its fate is unknown.

use super::{Remembering, number, text};
use crate::common::{Cluster, Output, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::process::{Command, Stdio};

/// Calls as a client that remembers.
fn call(client: &Remembering, cluster: &Cluster, arguments: &[&str]) -> Output {
    let cache = client.home.path().join("cache");
    let cache = cache.to_str().expect("temporary paths are text");
    cluster.call(&[&["--json", "--cache", cache], arguments].concat())
}

/// How many calls a server has given to its source.
fn calls(cluster: &Cluster, server: &str) -> u64 {
    number(&cluster.json(server, "/status")["calls"])
}

/// Calls at the servers that are left.
fn calls_elsewhere(cluster: &Cluster, gone: &str) -> u64 {
    let left = cluster.servers().into_iter().filter(|server| server != gone);
    left.map(|server| calls(cluster, &server)).sum()
}

/// A call is under way at the primary, and is not over when that is killed.
fn killed_during(arguments: &[&str]) -> (Cluster, Value, Output) {
    let cluster = Cluster::start(&["--servers", "3", "--no-restart"]);
    let client = Remembering::new();
    let before = client.get(&cluster, "/items/1k.bin");
    let victim = text(&before["server"]).to_owned();
    let output = std::thread::scope(|scope| {
        let calling = scope.spawn(|| call(&client, &cluster, arguments));
        wait_until("the source executes it", || calls(&cluster, &victim) == 1);
        cluster.kill(&victim);
        calling.join().expect("the client runs")
    });
    (cluster, before, output)
}

#[test]
fn promise_09_a_call_whose_server_dies_is_executed_once_and_its_fate_is_told_as_unknown() {
    // Longer than anybody waits: no answer can come from the primary.
    let (cluster, before, output) = killed_during(&["/sleep?ms=600000"]);
    assert!(output.error(3).contains("it was executed once, or not at all"), "{output:?}");
    let line = output.json();
    assert_eq!((&line["reply"], &line["attempts"]), (&"fate_unknown".into(), &1.into()), "{line}");
    // The one that died had executed it, and nobody else has since.
    assert_eq!(calls_elsewhere(&cluster, text(&before["server"])), 0);
    assert_eq!(cluster.status()["replies"]["fate_unknown"], 1);
}

#[test]
fn promise_09_an_idempotent_call_whose_server_dies_is_executed_by_the_alternate() {
    let cluster = Cluster::start(&["--servers", "3", "--no-restart"]);
    let client = Remembering::new();
    let before = client.get(&cluster, "/items/1k.bin");
    let victim = text(&before["server"]);
    // Whatever it is sent from here on it does not answer.
    cluster.signal(victim, Signal::STOP);
    let output = std::thread::scope(|scope| {
        let calling = scope.spawn(|| call(&client, &cluster, &["--idempotent", "/count"]));
        cluster.kill(victim);
        calling.join().expect("the client runs")
    });
    assert_eq!(output.code, Some(0), "{output:?}; {}", cluster.stderr());
    let line = output.json();
    assert_eq!((&line["reply"], &line["status"]), (&"called".into(), &200.into()), "{line}");
    // As a hedge, or after a takeover: nobody else is allowed to, and the primary cannot.
    assert!(calls(&cluster, text(&before["alternate"])) >= 1);
}

#[test]
fn promise_09_a_call_under_way_that_may_be_repeated_is_begun_again_by_the_alternate() {
    let cluster = Cluster::start(&["--servers", "3", "--no-restart"]);
    let client = Remembering::new();
    let before = client.get(&cluster, "/items/1k.bin");
    let (victim, alternate) = (text(&before["server"]), text(&before["alternate"]));
    let (router, home) = (cluster.router().to_string(), client.home.path().join("cache"));
    // Nobody waits until the answer comes.
    let calling = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(["call", "--idempotent", "/sleep?ms=600000", "--router", &router, "--cache"])
        .arg(home)
        .stderr(Stdio::null())
        .spawn();
    let mut calling = calling.expect("the program starts");
    wait_until("the source executes it", || calls(&cluster, victim) == 1);
    cluster.kill(victim);
    wait_until("the alternate executes it", || calls(&cluster, alternate) >= 1);
    calling.kill().and_then(|()| calling.wait()).expect("it was still waiting");
}
