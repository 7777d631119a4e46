//! `understudy get` and the client library, against a cluster of processes.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{Cluster, understudy};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

#[test]
fn one_item_goes_to_standard_output_and_nothing_else_does() {
    let cluster = Cluster::start(&["--servers", "1"]);
    let page = cluster.get(&["/"]);
    assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""));
    assert!(page.text().contains("<html"), "{page:?}");
    let none = cluster.get(&["/none"]);
    assert!(none.error(1).contains("/none: there is no such item"));
    assert!(none.stdout.is_empty());
}

#[test]
fn a_router_that_is_not_there_is_one_clear_line() {
    let deserted = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = understudy(["get", "--router", &deserted, "/"]);
    assert!(output.error(1).contains("nobody listens there"), "{output:?}");
    let output = understudy(["get", "--router", "192.0.2.1:4433", "/"]);
    assert!(output.error(2).contains("--ca FILE"), "{output:?}");
    let output = understudy(["get", "page.html"]);
    assert!(output.error(2).contains("try '/page.html'"), "{output:?}");
}

#[test]
fn a_next_router_is_asked_where_one_is_gone() {
    let cluster = Cluster::start(&["--servers", "1"]);
    let deserted = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let router = cluster.process("router").address.to_string();
    let output = understudy(["get", "--router", &deserted, "--router", &router, "/"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

/// Files of many sizes, some with awkward names, by their keys.
fn big_tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for number in 0..1_500_usize {
        let size = [0, 1, 100, 16_384, 16_385, 40_000][number % 6];
        let bytes = (0..size).map(|place| ((place * number) >> 3) as u8).collect::<Vec<_>>();
        let name = format!("{}/ä {}.bin", number % 40, number);
        let path = root.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &bytes).unwrap();
        files.insert(format!("/{name}"), bytes);
    }
    files
}

#[test]
fn a_whole_tree_comes_through_byte_for_byte_also_from_the_cache() {
    let (root, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = big_tree(root.path());
    let cluster = Cluster::start(&["--servers", "2", "--dir", root.path().to_str().unwrap()]);
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let list = path("keys");
    fs::write(&list, files.keys().map(|key| format!("{key}\n")).collect::<String>()).unwrap();
    for (round, expected) in ["full", "use_cached"].into_iter().enumerate() {
        let out = path(&format!("out-{round}"));
        let cache = path("cache");
        let arguments = ["--json", "--keys", &list, "--cache", &cache, "--output-dir", &out];
        let output = cluster.get(&arguments);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        let lines = output.json_lines();
        assert_eq!(lines.len(), files.len());
        for (line, (key, bytes)) in lines.iter().zip(&files) {
            assert_eq!((&line["key"], &line["reply"]), (&key[..].into(), &expected.into()));
            let file = Path::new(&out).join(&key[1..]);
            assert!(fs::read(file).unwrap() == *bytes, "{key} in round {round}");
        }
    }
}

#[test]
fn a_damaged_cache_is_noticed_and_never_served() {
    let cluster = Cluster::start(&["--servers", "1"]);
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    let arguments = ["--json", "--cache", cache.to_str().unwrap(), "/items/64k.bin"];
    let first = cluster.get(&arguments).json();
    for entry in fs::read_dir(cache.join("items")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 0x80;
        fs::write(path, bytes).unwrap();
    }
    let second = cluster.get(&arguments);
    assert!(second.stderr.contains("damaged"), "{second:?}");
    let second = second.json();
    assert_eq!((&second["reply"], &second["crc32"]), (&"full".into(), &first["crc32"]));
    assert_eq!(cluster.get(&arguments).json()["reply"], "use_cached");
}

#[test]
fn a_cache_belongs_to_one_process_at_a_time() {
    let cluster = Cluster::start(&["--servers", "1"]);
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().to_str().unwrap();
    let router = cluster.process("router").address.to_string();
    let mut busy = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(["get", "--router", &router, "--cache", cache, "--json"])
        .args(["--repeat", "1000000000", "/"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let holder = common::wait_for("the process to hold the cache", || {
        let text = fs::read_to_string(place.path().join("lock")).ok()?;
        text.trim().parse::<u32>().ok()
    });
    assert_eq!(holder, busy.id());
    let second = cluster.get(&["--cache", cache, "/"]);
    let complaint = format!("the cache {cache} is used by process {holder}");
    assert!(second.error(1).contains(&complaint), "{second:?}");
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert_eq!(cluster.get(&["--cache", cache, "/"]).code, Some(0), "a kill leaves it usable");
}

#[test]
fn a_client_that_stays_survives_the_router_and_the_primary() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let router = cluster.process("router").address.to_string();
    let mut client = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(["get", "--router", &router, "--json", "--repeat", "1000000000", "/items/1k.bin"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::inherit())
        .spawn()
        .unwrap();
    let stdout = std::io::BufReader::new(client.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(stdout).map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let reply = line["reply"].as_str().unwrap();
        assert!(["full", "use_cached"].contains(&reply), "{line}");
        line
    });
    let first = lines.next().unwrap();
    let primary = lines.next().unwrap()["server"].as_str().unwrap().to_owned();
    cluster.signal(&primary, Signal::KILL);
    let taken_over = lines.find(|line| line["server"] != primary[..]).unwrap();
    assert_eq!(taken_over["reply"], "use_cached");
    cluster.signal("router", Signal::KILL);
    cluster.wait_for_restart("router");
    // More answers than the pipe holds from before: the last one came through the new router.
    let again = lines.by_ref().take(1_000).last().unwrap();
    assert_eq!(again["crc32"], first["crc32"]);
    client.kill().unwrap();
    client.wait().unwrap();
}
