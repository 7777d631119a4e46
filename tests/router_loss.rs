//! Routers and servers that are killed and come back, as clients and routers see it: real processes,
//! and the client library.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{Cluster, signal, wait_until};
use rustix::process::Signal;
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use understudy::client::{CacheConfig, Client, ClientConfig, Reply, ReplyKind, ValidatorPolicy};

/// Items of the built-in sample; the second one comes on a stream of its own.
const KEYS: [&str; 2] = ["/items/1k.bin", "/items/1m.bin"];

/// A process that a test starts by itself, in the place of one that `up` does not start again.
struct Again(Child);

impl Again {
    fn start(role: &str, state: &Path, name: &str) -> Self {
        let config = state.join(format!("{name}.toml"));
        let child = Command::new(env!("CARGO_BIN_EXE_understudy"))
            .args([role, "--log", "warn", "--config", config.to_str().unwrap()])
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        // It may have ended by itself, which a test then has seen.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the routers are, the first one first.
fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.routers().iter().map(|name| cluster.process(name).address).collect()
}

/// A client that no timeout of its transport helps, and that waits for ever for an answer.
async fn patient(routers: Vec<SocketAddr>) -> Client {
    let mut config = ClientConfig::new(routers);
    config.idle_timeout = Duration::from_secs(600);
    config.keep_alive = None;
    config.request_timeout = common::PATIENCE;
    Client::connect(config).await.unwrap()
}

async fn get(client: &Client, key: &str) -> Reply {
    // What the client says of its copy is nothing: use-cached is by the mirror.
    client.get_with(key, ValidatorPolicy::None).await.unwrap_or_else(|why| panic!("{key}: {why}"))
}

/// Who answered, by the client's id there, the primary and the term.
fn who(reply: &Reply) -> (String, String, u64) {
    let client = reply.details.client.expect("it had a session").to_string();
    let assignment = reply.details.assignment.as_ref().expect("it had a session");
    (client, assignment.primary().to_string(), assignment.epoch.term)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// Kills the router of a client that knows another one, with gets in flight, and returns how long
/// the slowest of these took.
async fn lose_router(how: Signal) -> Duration {
    let cluster = Cluster::start(&["--routers", "2", "--no-restart"]);
    let client = patient(addresses(&cluster)).await;
    let mut before = Vec::new();
    for key in KEYS {
        assert_eq!(get(&client, key).await.kind, ReplyKind::Full);
        before.push(get(&client, key).await);
    }
    let router = cluster.process("router");
    let killed = Rc::new(Cell::new(false));
    let asking = (0..8).map(|_| {
        let (client, before, killed) = (client.clone(), before.clone(), Rc::clone(&killed));
        tokio::task::spawn_local(async move {
            let (mut slowest, mut left) = (Duration::ZERO, 20);
            while left > 0 {
                // Some are asked while the router lives, and a few more from then on.
                left -= u32::from(killed.get());
                for (key, before) in KEYS.into_iter().zip(&before) {
                    let started = Instant::now();
                    let reply = get(&client, key).await;
                    slowest = slowest.max(started.elapsed());
                    assert_eq!((reply.kind, &reply.bytes), (ReplyKind::UseCached, &before.bytes));
                    assert_eq!(who(&reply), who(before), "same client, same primary");
                }
            }
            slowest
        })
    });
    let asking: Vec<_> = asking.collect();
    while client.statistics().use_cached < 200 {
        tokio::task::yield_now().await;
    }
    signal(router.pid, how);
    killed.set(true);
    let mut slowest = Duration::ZERO;
    for task in asking {
        slowest = slowest.max(task.await.unwrap());
    }
    let counted = client.statistics();
    assert_eq!((counted.lost_sessions, counted.full), (1, KEYS.len() as u64), "{counted:?}");
    assert!(counted.suspicions >= 1, "{counted:?}");
    client.close().await;
    if how != Signal::KILL {
        signal(router.pid, Signal::KILL);
    }
    slowest
}

#[test]
fn a_client_whose_router_is_killed_goes_on_at_the_next_one() {
    run(async {
        lose_router(Signal::KILL).await;
    });
}

#[test]
fn a_client_whose_router_freezes_goes_on_at_the_next_one() {
    run(async {
        lose_router(Signal::STOP).await;
    });
}

#[test]
#[ignore = "it measures: run it by itself, with --nocapture"]
fn how_long_the_loss_of_a_router_shows() {
    run(async {
        for how in [Signal::KILL, Signal::STOP] {
            let mut times = Vec::new();
            for _ in 0..10 {
                times.push(lose_router(how).await);
            }
            times.sort();
            println!("{how:?}: the slowest get took {times:?}");
        }
    });
}

#[test]
fn a_router_that_was_started_anew_knows_its_clients_by_their_tokens() {
    let state = tempfile::tempdir().unwrap();
    let place = state.path().to_str().unwrap();
    let cluster = Cluster::start(&["--no-restart", "--state", place]);
    run(async {
        let client = patient(addresses(&cluster)).await;
        get(&client, KEYS[0]).await;
        let before = get(&client, KEYS[0]).await;
        cluster.kill("router");
        let _again = Again::start("router", state.path(), "router");
        let after = get(&client, KEYS[0]).await;
        assert_eq!((who(&after), after.kind), (who(&before), ReplyKind::UseCached));
        assert_eq!(client.statistics().lost_sessions, 1);
        client.close().await;
    });
}

#[test]
fn a_server_that_was_started_anew_ends_the_links_to_its_former_run() {
    let state = tempfile::tempdir().unwrap();
    let place = state.path().to_str().unwrap();
    let arguments = ["--log", "info", "--no-restart", "--state", place];
    let cluster = Cluster::start(&arguments);
    cluster.kill("server-1");
    let _again = Again::start("server", state.path(), "server-1");
    wait_until("the router hears that its links are gone", || {
        let said = cluster.stderr();
        said.lines().any(|line| {
            line.contains("links to a server are gone") && line.contains("reset by peer")
        })
    });
    wait_until("the server is linked again", || {
        cluster.server_status("server-1")["state"] == "healthy"
    });
}

/// Replaces a file whole, as whoever rotates keys should.
fn replace(path: &Path, contents: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, contents).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[test]
fn token_keys_are_rotated_under_a_client_that_stays_who_it_is() {
    let state = tempfile::tempdir().unwrap();
    let place = state.path().to_str().unwrap();
    let arguments = ["--log", "info", "--routers", "2", "--no-restart", "--state", place];
    let cluster = Cluster::start(&arguments);
    let file = state.path().join("token-keys");
    let old = std::fs::read_to_string(&file).unwrap();
    let new = format!("{}\n", "5a".repeat(32));
    let taken_over_times = |times: usize| {
        wait_until("both routers have the new keys", || {
            cluster.stderr().matches("the token keys have changed").count() == times
        });
    };
    let cache = tempfile::tempdir().unwrap();
    let token = || std::fs::read(cache.path().join("token")).unwrap_or_default();
    run(async {
        let mut config = ClientConfig::new(addresses(&cluster));
        config.cache = CacheConfig::directory(cache.path());
        config.request_timeout = common::PATIENCE;
        let client = Client::connect(config).await.unwrap();
        get(&client, KEYS[0]).await;
        let before = get(&client, KEYS[0]).await;
        replace(&file, &format!("{old}{new}"));
        taken_over_times(2);
        let sealed_by_the_old_key = token();
        replace(&file, &format!("{new}{old}"));
        taken_over_times(4);
        while token() == sealed_by_the_old_key {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What cannot be used changes nothing.
        replace(&file, "no key at all");
        wait_until("both routers complain", || {
            cluster.stderr().matches("the token keys cannot be read").count() == 2
        });
        replace(&file, &new);
        taken_over_times(6);
        assert_eq!(client.statistics().lost_sessions, 0);
        cluster.kill("router");
        let after = get(&client, KEYS[0]).await;
        assert_eq!((who(&after), after.kind), (who(&before), ReplyKind::UseCached));
        client.close().await;
    });
}
