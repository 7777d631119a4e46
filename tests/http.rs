//! What clients of HTTP/1.1, HTTP/2 and HTTP/3 see of a cluster of processes.
//!
//! The clients are made of other people's code (`clients`), so that nothing here agrees with the
//! router only because both are wrong in the same way.

// The rules of the pure core are not for tests of processes.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "http/clients/mod.rs"]
mod clients;
#[path = "http/codings.rs"]
mod codings;
mod common;
#[path = "http/cookies.rs"]
mod cookies;
#[path = "http/failing.rs"]
mod failing;
#[path = "http/items.rs"]
mod items;
#[path = "http/keeping.rs"]
mod keeping;
#[path = "http/passing.rs"]
mod passing;
#[path = "hostile_http/raw.rs"]
mod raw;

use common::Cluster;
use rustix::process::Signal;
use std::path::Path;
use std::sync::{Condvar, Mutex};

/// Bytes that are not all the same, and differ by seed.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        Some((state >> 33) as u8)
    };
    std::iter::from_fn(next).take(length).collect()
}

/// The clients that a server lists as primary, by id.
fn listed(cluster: &Cluster, server: &str) -> Vec<String> {
    let page = cluster.json(server, "/clients");
    let clients = page["clients"].as_array().expect("a list of clients");
    let clients = clients.iter().filter(|client| client["role"] == "primary");
    clients.map(|client| client["client"].as_str().expect("text").to_owned()).collect()
}

/// All pairs of a client and its primary.
fn primaries(cluster: &Cluster) -> Vec<(String, String)> {
    let servers = cluster.servers().into_iter();
    let of = |server: String| {
        listed(cluster, &server).into_iter().map(move |client| (client, server.clone()))
    };
    servers.flat_map(of).collect()
}

/// Changes the configuration file of a process of a cluster that keeps its files in `state`, and
/// starts the process anew.
fn reconfigure(cluster: &Cluster, state: &Path, name: &str, change: impl Fn(String) -> String) {
    let path = state.join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&path).expect("the file is there");
    std::fs::write(&path, change(text)).expect("the file can be written");
    cluster.signal(name, Signal::TERM);
    cluster.event("child_exited", Some(name));
    cluster.wait_for_restart(name);
}

/// What is closed, until it is opened for good.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().expect("nobody panics with it") = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().expect("nobody panics with it");
        let passed = self.opened.wait_while(is_open, |is_open| !*is_open);
        drop(passed.expect("nobody panics with it"));
    }
}
