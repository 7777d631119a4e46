//! `understudy up`, as one who runs it sees it.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{Cluster, lives, page, signal, understudy, wait_until};
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const FREE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// The directory of the configuration file that a process was started with.
fn place(pid: u32) -> PathBuf {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let flag = words.iter().position(|word| word == "--config").unwrap();
    PathBuf::from(words[flag + 1].as_ref()).parent().unwrap().to_owned()
}

fn pids(cluster: &Cluster) -> Vec<u32> {
    let names = cluster.servers().into_iter().chain(["router".to_owned()]);
    names.map(|name| cluster.process(&name).pid).collect()
}

#[test]
fn a_cluster_runs_until_it_is_told_to_stop_and_leaves_nothing_behind() {
    let mut cluster = Cluster::start(&["--servers", "2"]);
    assert_eq!(cluster.servers(), ["server-1", "server-2"]);
    let children = pids(&cluster);
    for name in ["router", "server-1", "server-2"] {
        let process = cluster.process(name);
        assert!(lives(process.pid), "{name}");
        assert_eq!(page(process.admin, "/ready").unwrap().0, 200, "{name}");
    }
    let place = place(children[0]);
    assert!(place.join("router.toml").exists());
    signal(cluster.pid(), Signal::TERM);
    assert_eq!(cluster.ended(), Some(0));
    cluster.event("stopped", None);
    assert!(children.into_iter().all(|pid| !lives(pid)));
    assert!(!place.exists(), "{} is still there", place.display());
}

#[test]
fn several_routers_know_all_servers_and_each_others_clients() {
    let cluster = Cluster::start(&["--servers", "2", "--routers", "2"]);
    assert_eq!(cluster.routers(), ["router", "router-2"]);
    assert_eq!(cluster.servers(), ["server-1", "server-2"]);
    let cache = tempfile::tempdir().unwrap();
    let get = |router: &str| {
        let address = cluster.process(router).address.to_string();
        let cache = cache.path().to_str().unwrap();
        understudy(["get", "--router", &address, "--cache", cache, "--json", "/"]).json()
    };
    let (first, second) = (get("router"), get("router-2"));
    for same in ["client", "server", "epoch"] {
        assert_eq!(first[same], second[same], "{same}: {first} {second}");
    }
    assert_eq!(second["reply"], "use_cached");
}

#[test]
fn every_way_to_ask_stops_it() {
    for number in [Signal::INT, Signal::HUP] {
        let mut cluster = Cluster::start(&["--servers", "1"]);
        signal(cluster.pid(), number);
        assert_eq!(cluster.ended(), Some(0), "{number:?}");
    }
    let mut cluster = Cluster::start(&["--servers", "1"]);
    cluster.end_stdin();
    assert_eq!(cluster.ended(), Some(0));
}

#[test]
fn children_that_die_are_started_again_under_the_same_name_and_address() {
    let cluster = Cluster::start(&["--servers", "2"]);
    for name in ["server-1", "router"] {
        let before = cluster.process(name);
        cluster.signal(name, Signal::KILL);
        let exited = cluster.event("child_exited", Some(name));
        assert_eq!((&exited["signal"], &exited["code"]), (&9.into(), &serde_json::Value::Null));
        assert_eq!(exited["pid"], before.pid);
        assert_eq!(exited["restart_after_ms"], 3000);
        cluster.wait_for_restart(name);
        let after = cluster.process(name);
        assert_ne!(after.pid, before.pid);
        assert_eq!((after.address, after.admin), (before.address, before.admin));
        assert_eq!(page(after.admin, "/ready").unwrap().0, 200);
    }
}

#[test]
fn without_restart_a_dead_child_stays_dead() {
    let cluster = Cluster::start(&["--servers", "2", "--no-restart"]);
    cluster.signal("server-1", Signal::KILL);
    let exited = cluster.event("child_exited", Some("server-1"));
    assert!(exited["restart_after_ms"].is_null());
    assert!(page(cluster.process("server-1").admin, "/ready").is_err());
    assert!(page(cluster.process("server-2").admin, "/ready").is_ok());
}

#[test]
fn no_orphan_is_left_when_up_is_killed_not_even_a_frozen_one() {
    let mut cluster = Cluster::start(&["--servers", "2"]);
    let children = pids(&cluster);
    cluster.signal("server-1", Signal::STOP);
    let place = place(children[0]);
    signal(cluster.pid(), Signal::KILL);
    assert_eq!(cluster.ended(), None);
    for pid in children {
        wait_until("a child is gone", || !lives(pid));
    }
    // That much nobody could do any more.
    std::fs::remove_dir_all(place).unwrap();
}

#[test]
fn a_cluster_with_a_frozen_child_stops_all_the_same() {
    let mut cluster = Cluster::start(&["--servers", "1"]);
    let children = pids(&cluster);
    cluster.signal("server-1", Signal::STOP);
    signal(cluster.pid(), Signal::TERM);
    assert_eq!(cluster.ended(), Some(0));
    assert!(children.into_iter().all(|pid| !lives(pid)));
}

#[test]
fn people_are_shown_what_runs_and_what_to_try() {
    let mut up = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(["up", "--servers", "1", "--until-stdin-ends"])
        .args(FREE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(up.stdout.take().unwrap()).lines().map(Result::unwrap);
    let shown: Vec<_> = lines.take_while(|line| line != "Ctrl-C stops everything.").collect();
    assert_eq!(shown[0], "Understudy is up: a router and 1 server, serving the built-in sample.");
    let tried = shown.iter().filter(|line| line.contains(" get --router 127.0.0.1:")).count();
    assert_eq!(tried, 2, "{shown:?}");
    drop(up.stdin.take());
    assert!(up.wait().unwrap().success());
}

#[test]
fn what_up_wrote_can_be_kept_and_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().to_str().unwrap();
    let arguments = ["--servers", "1", "--state", state, "--threshold", "2", "--capacity", "4"];
    let mut cluster = Cluster::start(&arguments);
    let second = understudy([&["up", "--state", state][..], &FREE].concat());
    assert!(second.error(1).contains("another 'understudy up' runs there"));
    cluster.end_stdin();
    assert_eq!(cluster.ended(), Some(0));
    for name in ["router.toml", "server-1.toml"] {
        let checked = understudy(["check", "--config", &format!("{state}/{name}")]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
}
