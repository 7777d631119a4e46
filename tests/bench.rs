//! `understudy bench` against a cluster of processes. Nothing here is about how fast it is.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{Cluster, Output, understudy};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Instant;

fn bench(cluster: &Cluster, arguments: &[&str]) -> Output {
    let router = cluster.router().to_string();
    let common = ["bench", "--router", &router, "--duration", "1s", "--warmup", "100ms", "--json"];
    understudy(common.iter().chain(arguments))
}

/// The result of a run in which nothing failed, after its figures were compared with each other.
fn consistent(output: &Output) -> Value {
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let result = output.json();
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} in {result}"));
    let sum = |object: &Value| object.as_object().unwrap().values().map(number).sum::<u64>();
    assert_eq!((number(&result["failed"]), sum(&result["failures"])), (0, 0), "{result}");
    let requests = number(&result["requests"]);
    assert_eq!(requests, sum(&result["replies"]) + number(&result["failed"]), "{result}");
    assert!(requests > 0, "{result}");
    let seconds = result["duration_s"].as_f64().unwrap();
    assert!((0.99..1.01).contains(&seconds), "{result}");
    let rate = result["rate_per_s"].as_f64().unwrap();
    assert!((rate * seconds - requests as f64).abs() < 1.0, "{result}");
    let names = ["p50", "p90", "p99", "p999", "max"];
    let latencies = names.map(|name| result["latency_us"][name].as_f64().unwrap());
    assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{result}");
    assert!(number(&result["wire_bytes_in"]) > 0 && number(&result["wire_bytes_out"]) > 0);
    result
}

fn replies(result: &Value, kind: &str) -> u64 {
    result["replies"][kind].as_u64().unwrap()
}

#[test]
fn every_mode_is_answered_and_adds_up() {
    let cluster = Cluster::start(&["--servers", "2"]);
    let pid = cluster.process("router").pid.to_string();
    let use_cached = consistent(&bench(&cluster, &["--cpu-of", &pid]));
    assert_eq!(replies(&use_cached, "use_cached"), use_cached["requests"].as_u64().unwrap());
    let cpu = &use_cached["cpu"][&pid];
    let per_reply =
        cpu["seconds"].as_f64().unwrap() * 1e6 / use_cached["requests"].as_f64().unwrap();
    assert!(per_reply > 0.0, "{use_cached}");
    assert!((cpu["us_per_reply"].as_f64().unwrap() - per_reply).abs() < 1e-6, "{use_cached}");

    for validator in ["crc", "strong"] {
        let arguments = ["--validator", validator, "--workers", "2", "--keys", "40"];
        let result = consistent(&bench(&cluster, &arguments));
        assert_eq!(replies(&result, "use_cached"), result["requests"].as_u64().unwrap());
        assert_eq!((&result["keys"], &result["workers"]), (&40.into(), &2.into()));
    }
    let full = consistent(&bench(&cluster, &["--mode", "full", "--connections", "2"]));
    assert_eq!(replies(&full, "full"), full["requests"].as_u64().unwrap());

    let mixed = consistent(&bench(&cluster, &["--mode", "mixed"]));
    let (same, changed) = (replies(&mixed, "use_cached") as f64, replies(&mixed, "full") as f64);
    let share = changed / (same + changed);
    assert!((0.15..0.25).contains(&share), "{mixed}");

    let connect = consistent(&bench(&cluster, &["--mode", "connect", "--connections", "3"]));
    assert_eq!(replies(&connect, "welcome"), connect["requests"].as_u64().unwrap());
}

#[test]
fn a_planned_rate_is_kept_and_results_go_to_files() {
    let cluster = Cluster::start(&["--servers", "1"]);
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let keys = path("keys");
    fs::write(&keys, "/items/1k.bin\n/items/64k.bin\n").unwrap();
    let (json, hlog, page) = (path("out.json"), path("out.hlog"), path("out.html"));
    let output = bench(
        &cluster,
        &[
            "--rate",
            "200",
            "--keys",
            &keys,
            "--json-file",
            &json,
            "--hlog",
            &hlog,
            "--report",
            &page,
        ],
    );
    let result = consistent(&output);
    assert_eq!(result["requests"], 200, "{result}");
    assert_eq!(fs::read(&json).unwrap(), output.stdout);
    let log = fs::read_to_string(&hlog).unwrap();
    assert_eq!(log.lines().filter(|line| !line.starts_with(['#', '"'])).count(), 2, "{log}");
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.contains("<html") && page.contains("\"requests\":200"));
}

#[test]
fn a_lost_server_is_not_a_failure_and_a_signal_ends_it_with_what_was_measured() {
    let cluster = Cluster::start(&["--servers", "2"]);
    let router = cluster.router().to_string();
    let bench = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(["bench", "--router", &router, "--duration", "1h", "--warmup", "0s", "--json"])
        .args(["--rate", "500"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    common::wait_until("server-1 has clients", || {
        cluster.server_status("server-1")["primary_clients"].as_u64() > Some(0)
    });
    cluster.kill("server-1");
    cluster.wait_for_restart("server-1");
    common::signal(bench.id(), Signal::INT);
    let output = bench.wait_with_output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["cut_short"], &result["failed"]), (&true.into(), &0.into()), "{result}");
    assert!(replies(&result, "use_cached") > 0, "{result}");
}

#[test]
fn a_dead_or_wrong_target_fails_fast_and_clearly() {
    let start = Instant::now();
    let deserted = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = understudy(["bench", "--router", &deserted]);
    assert!(output.error(1).contains("nobody listens there"), "{output:?}");
    let url = format!("https://{deserted}/");
    let output = understudy(["bench", "--http3", &url]);
    assert!(output.error(1).contains("nobody listens there"), "{output:?}");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let cluster = Cluster::start(&["--servers", "1"]);
    let router = cluster.router().to_string();
    let output = understudy(["bench", "--router", &router, "--cpu-of", "4294967295"]);
    assert!(output.error(1).contains("the CPU time of process 4294967295"), "{output:?}");
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("none/result.json");
    let output = understudy(["bench", "--router", &silent, "--json-file", path.to_str().unwrap()]);
    assert!(output.error(1).contains("result.json"), "{output:?}");
    assert!(start.elapsed().as_secs() < 60, "a dead target is waited for");
}

#[test]
fn what_makes_no_sense_is_asked_wrongly() {
    for (arguments, expected) in [
        (&["--mode", "fast"][..], "invalid value 'fast'"),
        (&["--duration", "10"], "a number and a unit"),
        (&["--duration", "0s"], "nothing would be measured"),
        (&["--duration", "1000h"], "at most 24 hours"),
        (&["--connections", "0"], "--connections 0"),
        (&["--in-flight", "0"], "--in-flight 0"),
        (&["--workers", "0"], "--workers 0"),
        (&["--rate", "0"], "--rate 0"),
        (&["--rate", "nan"], "--rate NaN"),
        (&["--keys", "0"], "--keys"),
        (&["--http3", "http://localhost/"], "such as https://localhost:8443/"),
        (&["--http3", "https://127.0.0.1:1/", "--router", "127.0.0.1:1"], "cannot be used with"),
        (&["--http3", "https://127.0.0.1:1/", "--mode", "echo"], "--mode echo"),
        (&["--insecure"], "--http3"),
        (&["--router", "192.0.2.1:4433"], "--ca FILE"),
        (&["--cpu-of", "x"], "invalid value 'x'"),
    ] {
        let output = understudy(["bench"].iter().chain(arguments));
        assert!(output.error(2).contains(expected), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_failover_is_measured_and_told_of() {
    let arguments = ["bench", "failover", "--events", "kill", "--rate", "100", "--seconds", "9"];
    let output = understudy(arguments.into_iter().chain(["--connections", "6", "--json"]));
    assert_eq!(output.code, Some(0), "{output:?}");
    let result = output.json();
    let kill = &result["events"][0];
    assert_eq!(
        (&kill["event"], &kill["failed"], &kill["wrong_bytes"]),
        (&"kill".into(), &0.into(), &0.into())
    );
    assert!(kill["requests"].as_u64() >= Some(800), "{kill}");
    assert_eq!(kill["struck_clients"], 2, "{kill}");
    assert!(kill["takeovers"].as_u64() >= Some(2), "{kill}");
    for kind in ["mirror", "crc", "strong"] {
        assert_eq!(kill["use_cached_after"][kind]["percent"], 100.0, "{kind}: {kill}");
    }
    for latencies in ["small_in_window_us", "small_us", "large_us"] {
        assert!(kill[latencies]["p50"].as_f64() <= kill[latencies]["max"].as_f64(), "{kill}");
    }
    for (arguments, expected) in [
        (["--events", "fire"], "invalid value 'fire'"),
        (["--rate", "0"], "--rate 0"),
        (["--seconds", "3"], "9..=3600"),
        (["--connections", "0"], "1..=1024"),
    ] {
        let output = understudy(["bench", "failover"].iter().chain(&arguments));
        assert!(output.error(2).contains(expected), "{arguments:?}: {output:?}");
    }
}
