//! Promise 6, where the server is unavailable because it drains: planned, and nobody notices.

use super::{Remembering, get_afresh, listed, number, text, wait_for_state};
use crate::common::{Cluster, page, understudy, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `understudy drain`, or `undrain`, by the admin address of the router.
fn order(cluster: &Cluster, order: &[&str], server: &str) -> Value {
    let admin = cluster.process("router").admin.to_string();
    let arguments = [order, &[server, "--json", "--admin", &admin]].concat();
    let output = understudy(arguments.iter());
    assert_eq!(output.code, Some(0), "{output:?}; {}", cluster.stderr());
    output.json()
}

/// Checks an answer that came from the former alternate, by its mirror alone.
fn assert_handed_over(before: &Value, after: &Value) {
    assert_eq!(after["reply"], "use_cached", "{after}");
    assert_eq!(after["server"], before["alternate"], "{after}");
    assert_eq!(number(&after["epoch"]), number(&before["epoch"]) + 1, "{after}");
    assert_eq!(after["client"], before["client"], "{after}");
}

#[test]
fn promise_06_a_server_that_drains_hands_its_clients_over_warm() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let (client, asking) = (Remembering::new(), Remembering::new());
    let before = client.get(&cluster, "/items/1m.bin");
    asking.get(&cluster, "/items/1m.bin");
    let victim = text(&before["server"]);
    let drained = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // This one goes on asking all the time; each answer must come, and from what it has.
        scope.spawn(|| {
            while !drained.load(Ordering::Relaxed) {
                let answer = asking.get_with(&cluster, "none", "/items/1m.bin");
                assert_eq!(answer["reply"], "use_cached", "{answer}");
            }
        });
        let status = order(&cluster, &["drain", "--wait"], victim);
        drained.store(true, Ordering::Relaxed);
        assert_eq!((&status["name"], &status["state"]), (&before["server"], &"draining".into()));
        assert_eq!(status["primary_clients"], 0, "{status}");
        assert_eq!(status["alternate_clients"], 0, "{status}");
        assert!(number(&status["handed_over_clients"]) >= 1, "{status}");
    });
    for role in ["primary", "alternate"] {
        assert!(listed(&cluster, victim, role).is_empty());
    }
    wait_for_state(&cluster, victim, "draining");
    let after = client.get_with(&cluster, "none", "/items/1m.bin");
    assert_handed_over(&before, &after);
    assert_ne!(after["alternate"], before["server"], "the new alternate does not drain");
    assert_eq!(cluster.status()["takeovers"], 0, "it was planned");
    for _ in 0..4 {
        assert_ne!(
            get_afresh(&cluster, "/items/1k.bin")["server"],
            victim,
            "it takes no new clients"
        );
    }
    order(&cluster, &["undrain"], victim);
    wait_for_state(&cluster, victim, "healthy");
    let servers: Vec<_> = (0..3).map(|_| get_afresh(&cluster, "/items/1k.bin")).collect();
    assert!(servers.iter().any(|fresh| fresh["server"] == victim), "{servers:?}");
}

#[test]
fn promise_06_sigterm_drains_a_server_and_then_it_ends_well() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let client = Remembering::new();
    let before = client.get(&cluster, "/items/1m.bin");
    let victim = text(&before["server"]);
    cluster.signal(victim, Signal::TERM);
    let exited = cluster.event("child_exited", Some(victim));
    assert_eq!(exited["code"], 0, "{exited}");
    let after = client.get_with(&cluster, "none", "/items/1m.bin");
    assert_handed_over(&before, &after);
    assert_eq!(cluster.status()["takeovers"], 0, "it was planned");
}

#[test]
fn promise_06_orders_are_posted() {
    let cluster = Cluster::start(&["--servers", "2"]);
    let server = &cluster.servers()[0];
    let (code, _) = page(cluster.process(server).admin, "/drain").expect("an answer");
    assert_eq!(code, 405, "a page that is only looked at changes nothing");
    assert_eq!(cluster.json(server, "/status")["state"], "healthy");
    let unknown = understudy(
        ["drain", "nobody", "--admin"].iter().chain([&cluster
            .process("router")
            .admin
            .to_string()
            .as_str()]),
    );
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("knows no server nobody"), "{unknown:?}");
    // The only server that is left has nobody to give its clients to.
    get_afresh(&cluster, "/items/1k.bin");
    for server in cluster.servers() {
        order(&cluster, &["drain"], &server);
    }
    wait_until("both drain", || {
        cluster.servers().iter().all(|name| cluster.server_status(name)["state"] == "draining")
    });
}
