//! Many items at once, and differences, against a cluster of processes.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{Cluster, Output, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A directory that is served, and a client's cache.
struct World {
    root: TempDir,
    home: TempDir,
    cluster: Cluster,
    files: BTreeMap<String, Vec<u8>>,
}

impl World {
    /// So many items of a few kilobytes, and a cluster that serves them.
    fn new(count: usize) -> Self {
        let (root, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files: BTreeMap<_, _> =
            (0..count).map(|number| (format!("/{number}.txt"), text(number, 0))).collect();
        let dir = root.path().to_str().unwrap();
        let cluster = Cluster::start(&["--servers", "3", "--dir", dir]);
        let world = Self { root, home, cluster, files };
        world.files.iter().for_each(|(key, bytes)| world.write(key, bytes));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, key: &str, bytes: &[u8]) {
        fs::write(self.root.path().join(&key[1..]), bytes).unwrap();
    }

    /// Gives an item other bytes, most of which it had before.
    fn change(&mut self, number: usize, version: usize) {
        let key = format!("/{number}.txt");
        let bytes = text(number, version);
        self.write(&key, &bytes);
        self.files.insert(key, bytes);
    }

    /// Gets all items for the first time.
    fn fill(&self) {
        let list = self.path("keys");
        let keys: String = self.files.keys().map(|key| format!("{key}\n")).collect();
        fs::write(&list, keys).unwrap();
        let output = self.get(&["--keys", list.to_str().unwrap()]);
        assert!(output.json_lines().iter().all(|line| line["reply"] == "full"));
    }

    fn get(&self, arguments: &[&str]) -> Output {
        let cache = self.path("cache");
        let cache = ["--json", "--cache", cache.to_str().unwrap()];
        let output = self.cluster.get(&[&cache, arguments].concat());
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        output
    }

    /// Refreshes all, and checks every byte.
    fn refresh(&self) -> Vec<Value> {
        let out = tempfile::tempdir().unwrap();
        let output = self.get(&["--all", "--output-dir", out.path().to_str().unwrap()]);
        for (key, bytes) in &self.files {
            assert!(fs::read(out.path().join(&key[1..])).unwrap() == *bytes, "{key}");
        }
        let lines = output.json_lines();
        assert_eq!(lines.len(), self.files.len());
        lines
    }

    /// A metric of one process.
    fn metric(&self, process: &str, name: &str) -> u64 {
        let page = self.cluster.page(process, "/metrics");
        let name = format!("understudy_{name} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&name));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Requests about many slots that were answered.
    fn batches(&self) -> u64 {
        self.metric("router", "replies_total{reply=\"batch\"}")
    }
}

/// Words that look alike to nobody, and a line of its own for each version.
fn text(number: usize, version: usize) -> Vec<u8> {
    let mut seed = number as u64 * 7919 + 1;
    let words: Vec<_> = (0..400)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{:x}", seed >> 40)
        })
        .collect();
    let middle = words.len() / 2;
    let (first, last) = (words[..middle].join(" "), words[middle..].join("\n"));
    format!("{first}\nitem {number}, version {version}\n{last}\n").into_bytes()
}

fn count(lines: &[Value], reply: &str) -> usize {
    lines.iter().filter(|line| line["reply"] == reply).count()
}

fn wire_bytes(lines: &[Value]) -> u64 {
    lines.iter().map(|line| line["wire_bytes"].as_u64().unwrap()).sum()
}

#[test]
fn a_thousand_unchanged_items_cost_less_than_four_hundred_bytes() {
    let world = World::new(1000);
    world.fill();
    let lines = world.refresh();
    assert_eq!(count(&lines, "use_cached"), 1000);
    assert!(lines.iter().all(|line| line["validator"] == "none"), "nothing is said of each");
    assert!(wire_bytes(&lines) < 400, "{} bytes both ways", wire_bytes(&lines));
    assert_eq!(world.batches(), 1);
}

#[test]
fn what_has_changed_comes_in_the_same_round_as_a_difference() {
    let mut world = World::new(300);
    world.fill();
    (0..20).for_each(|number| world.change(number * 7, 1));
    let lines = world.refresh();
    assert_eq!((count(&lines, "use_cached"), count(&lines, "delta")), (280, 20));
    let full: usize = (0..20).map(|number| text(number * 7, 1).len()).sum();
    assert!(wire_bytes(&lines) * 5 < full as u64, "{} of {full} bytes", wire_bytes(&lines));
    assert_eq!(world.batches(), 1);
    assert!(lines.iter().all(|line| line["reply"] != "full"));
    let lines = world.refresh();
    assert_eq!(count(&lines, "use_cached"), 300);
}

#[test]
fn a_difference_is_sent_after_a_takeover_too() {
    let mut world = World::new(30);
    world.fill();
    let held = world.refresh();
    let server = |role: &str| held[0][role].as_str().unwrap().to_owned();
    let (primary, alternate) = (server("server"), server("alternate"));
    let all: usize = world.files.values().map(Vec::len).sum();
    wait_until("the alternate has the bytes that the client holds", || {
        world.metric(&alternate, "payload_bytes{}") >= all as u64
    });
    (0..30).for_each(|number| world.change(number, 1));
    world.cluster.kill(&primary);
    // Who was killed has lost the old bytes, should it be back already.
    assert_eq!(count(&world.refresh(), "delta"), 30);
}

#[test]
fn items_that_are_gone_are_told_and_the_others_come() {
    let world = World::new(10);
    world.fill();
    fs::remove_file(world.root.path().join("3.txt")).unwrap();
    let cache = world.path("cache");
    let output = world.cluster.get(&["--all", "--cache", cache.to_str().unwrap()]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("/3.txt: there is no such item"), "{output:?}");
    assert!(output.text().starts_with("9 unchanged, 0 by a difference, 0 whole, 1 not"));
    let lines = world.get(&["--all"]).json_lines();
    assert_eq!((lines.len(), count(&lines, "use_cached")), (9, 9), "it is not in the cache");
}

#[test]
fn all_needs_a_cache() {
    let output = common::understudy(["get", "--all"]);
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("--cache"), "{output:?}");
}
