//! The promises of the product, each shown between separate processes.
//!
//! A cluster here is what `understudy up` runs; a client is what `understudy get` is. A client with
//! a cache directory keeps its identity and its items from one run to the next.

mod assignment;
mod calls;
#[path = "../common/mod.rs"]
mod common;
mod drain;
mod failure;
mod mirrors;

use common::{Cluster, Output, wait_until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A client that remembers: a cache directory of its own.
struct Remembering {
    home: TempDir,
}

impl Remembering {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary directory") }
    }

    fn run(&self, cluster: &Cluster, arguments: &[&str]) -> Output {
        let cache = self.home.path().join("cache");
        let cache = cache.to_str().expect("temporary paths are text");
        cluster.get(&[&["--json", "--cache", cache], arguments].concat())
    }

    /// Gets one key, which must be answered.
    fn get(&self, cluster: &Cluster, key: &str) -> Value {
        self.get_with(cluster, "auto", key)
    }

    /// The same with a validator.
    fn get_with(&self, cluster: &Cluster, validator: &str, key: &str) -> Value {
        let output = self.run(cluster, &["--validator", validator, key]);
        assert_eq!(output.code, Some(0), "{output:?}; {}", cluster.stderr());
        output.json()
    }

    /// Gets one key with a validator, and returns its bytes too.
    fn get_bytes(&self, cluster: &Cluster, validator: &str, key: &str) -> (Value, Vec<u8>) {
        let file = self.home.path().join("output");
        let path = file.to_str().expect("temporary paths are text");
        let output = self.run(cluster, &["--validator", validator, "--output", path, key]);
        assert_eq!(output.code, Some(0), "{output:?}; {}", cluster.stderr());
        (output.json(), std::fs::read(file).expect("the output was written"))
    }
}

/// Gets a key as a client that was never seen before.
fn get_afresh(cluster: &Cluster, key: &str) -> Value {
    let output = cluster.get(&["--json", key]);
    assert_eq!(output.code, Some(0), "{output:?}; {}", cluster.stderr());
    output.json()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// The clients that a server lists in a role.
fn listed(cluster: &Cluster, server: &str, role: &str) -> Vec<Value> {
    let page = cluster.json(server, "/clients");
    let clients = page["clients"].as_array().expect("a list of clients");
    clients.iter().filter(|client| client["role"] == role).cloned().collect()
}

/// Waits until the router has heard of so many clients as primary, all servers together.
fn wait_for_clients(cluster: &Cluster, count: u64) {
    wait_until("the statuses tell of all clients", || {
        let status = cluster.status();
        let servers = status["servers"].as_array().expect("a list of servers");
        servers.iter().map(|server| number(&server["primary_clients"])).sum::<u64>() == count
    });
}

/// Waits until the router finds a server in a state.
fn wait_for_state(cluster: &Cluster, server: &str, state: &str) {
    wait_until(state, || cluster.server_status(server)["state"] == state);
}

/// A directory with files in it.
fn tree(files: &[(&str, &[u8])]) -> TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in files {
        write(root.path(), name, bytes);
    }
    root
}

fn write(root: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a file lies in a directory")).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn start_with_tree(root: &TempDir, more: &[&str]) -> Cluster {
    let dir = root.path().to_str().expect("temporary paths are text");
    Cluster::start(&[&["--dir", dir], more].concat())
}
