//! Promises 5 to 9: what happens when a server fails.

use super::{Remembering, listed, number, start_with_tree, text, tree, wait_for_state};
use crate::common::{Cluster, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;

/// Checks an answer after a takeover: use-cached, from the former alternate, one term later.
fn assert_taken_over(before: &Value, after: &Value) {
    assert_eq!(after["reply"], "use_cached", "{after}");
    assert_eq!(after["server"], before["alternate"], "{after}");
    assert_eq!(number(&after["epoch"]), number(&before["epoch"]) + 1, "{after}");
    assert_eq!(after["client"], before["client"], "{after}");
}

/// Asks for an item that the client holds, of a primary that has just failed, until the client is
/// taken over. Every answer is use-cached, also the first ones, which the alternate gives before it
/// is known whether the primary is lost.
fn until_taken_over(
    cluster: &Cluster,
    client: &Remembering,
    (validator, key): (&str, &str),
    before: &Value,
) -> Value {
    let mut after = Value::Null;
    wait_until("the client is taken over", || {
        after = client.get_with(cluster, validator, key);
        assert_eq!(after["reply"], "use_cached", "{after}");
        after["server"] != before["server"]
    });
    assert_taken_over(before, &after);
    after
}

/// Kills the primary of a client with a cached item, and asks again with a validator.
fn take_over_after_a_kill(validator: &str) -> Value {
    let cluster = Cluster::start(&["--servers", "3", "--no-restart"]);
    let client = Remembering::new();
    let before = client.get(&cluster, "/items/1m.bin");
    assert_eq!(before["reply"], "full");
    cluster.kill(text(&before["server"]));
    let after = until_taken_over(&cluster, &client, (validator, "/items/1m.bin"), &before);
    assert_ne!(after["alternate"], before["server"], "a new alternate was picked");
    assert_ne!(after["alternate"], after["server"], "a new alternate was picked");
    let mirrors = listed(&cluster, text(&after["alternate"]), "alternate");
    assert_eq!(mirrors.len(), 1, "the new alternate is mirrored to");
    cluster.status()
}

#[test]
fn promise_05_the_alternate_answers_after_a_kill_by_its_mirror() {
    let status = take_over_after_a_kill("none");
    let replies = &status["replies"];
    assert_eq!(status["use_cached_by"]["mirror"], replies["use_cached"], "the mirror was warm");
    assert_eq!(replies["full"], 1, "the first one: {status}");
    assert_eq!(status["takeovers"], 1);
}

#[test]
fn promise_05_the_alternate_answers_after_a_kill_by_the_clients_validator() {
    let status = take_over_after_a_kill("strong");
    assert_eq!(status["use_cached_by"]["strong"], status["replies"]["use_cached"], "{status}");
}

#[test]
fn promise_06_a_server_that_returned_empty_is_not_asked_to_serve_cold() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let client = Remembering::new();
    let before = client.get(&cluster, "/items/1m.bin");
    let victim = text(&before["server"]);
    cluster.kill(victim);
    cluster.wait_for_restart(victim);
    let pid = u64::from(cluster.process(victim).pid);
    wait_until("the router knows the new process", || cluster.server_status(victim)["pid"] == pid);
    wait_for_state(&cluster, victim, "healthy");
    let after = client.get_with(&cluster, "none", "/items/1m.bin");
    assert_taken_over(&before, &after);
}

#[test]
fn promise_06_a_frozen_server_is_unavailable() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let client = Remembering::new();
    let before = client.get(&cluster, "/items/1m.bin");
    let victim = text(&before["server"]);
    cluster.signal(victim, Signal::STOP);
    until_taken_over(&cluster, &client, ("none", "/items/1m.bin"), &before);
    cluster.signal(victim, Signal::CONT);
}

/// Clients as primary by server, from the servers' own lists.
fn primaries(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    let mut primaries = BTreeMap::<String, Vec<String>>::new();
    for server in cluster.servers() {
        for client in listed(cluster, &server, "primary") {
            primaries.entry(text(&client["client"]).to_owned()).or_default().push(server.clone());
        }
    }
    primaries
}

#[test]
fn promise_07_and_08_a_returned_server_drops_exactly_the_clients_taken_over() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let clients: Vec<_> = (0..12).map(|_| Remembering::new()).collect();
    let mut at_victim = Vec::new();
    for client in &clients {
        let reply = client.get(&cluster, "/items/1k.bin");
        if reply["server"] == "server-1" {
            at_victim.push((client, reply));
        }
    }
    assert_eq!(at_victim.len(), 4);
    assert_eq!(listed(&cluster, "server-1", "primary").len(), 4, "n clients before");

    cluster.signal("server-1", Signal::STOP);
    for (client, before) in &at_victim[..3] {
        until_taken_over(&cluster, client, ("none", "/items/1k.bin"), before);
    }
    cluster.signal("server-1", Signal::CONT);

    wait_until("the clients taken over are released", || {
        cluster.json("server-1", "/status")["released_clients"] == 3
    });
    let left = listed(&cluster, "server-1", "primary");
    assert_eq!(left.len(), 1, "n - k clients after");
    assert_eq!(left[0]["client"], at_victim[3].1["client"]);
    wait_until("it accepts clients again", || {
        cluster.json("server-1", "/status")["state"] == "healthy"
    });
    // The one that was not taken over is still served by it, in the same term.
    let stayed = at_victim[3].0.get_with(&cluster, "none", "/items/1k.bin");
    assert_eq!(stayed["server"], "server-1");
    assert_eq!(stayed["epoch"], at_victim[3].1["epoch"]);

    // At rest each client has one primary, and every release is paid.
    wait_until("the releases are paid", || {
        let owed = |server: &String| number(&cluster.json(server, "/status")["releases_owed"]);
        cluster.servers().iter().map(owed).sum::<u64>() == 0
    });
    let primaries = primaries(&cluster);
    assert_eq!(primaries.len(), 12);
    for (client, servers) in &primaries {
        assert_eq!(servers.len(), 1, "{client} is listed as primary by {servers:?}");
    }
}

#[test]
fn promise_09_what_is_in_flight_when_the_primary_dies_is_answered_by_the_alternate() {
    let body = |number: usize| -> Vec<u8> {
        // Above what a frame carries, so that bodies are on their way when the server dies.
        (0..40_000 + number).map(|place| (place * (number + 7) / 3) as u8).collect()
    };
    let files: Vec<_> = (0..400).map(|number| (format!("{number}.bin"), body(number))).collect();
    let named: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let root = tree(&named);
    let cluster = start_with_tree(&root, &["--servers", "3", "--no-restart"]);
    let client = Remembering::new();
    let first = client.get(&cluster, "/0.bin");

    let keys: String = files.iter().map(|(name, _)| format!("/{name}\n")).collect();
    let list = client.home.path().join("keys");
    std::fs::write(&list, keys).unwrap();
    let out = client.home.path().join("out");
    let arguments = ["--keys", list.to_str().unwrap(), "--output-dir", out.to_str().unwrap()];
    let output = std::thread::scope(|scope| {
        let getting = scope.spawn(|| client.run(&cluster, &arguments));
        wait_until("some are answered", || number(&cluster.status()["replies"]["full"]) > 20);
        cluster.kill(text(&first["server"]));
        getting.join().expect("the client runs")
    });
    assert_eq!(output.code, Some(0), "{}; {}", output.stderr, cluster.stderr());
    let lines = output.json_lines();
    assert_eq!(lines.len(), files.len());
    for (name, bytes) in &files {
        assert_eq!(&std::fs::read(out.join(name)).unwrap(), bytes, "{name}");
    }
    // What came before it was certain that the primary is gone came from a standby.
    wait_until("the alternate takes over", || {
        client.get(&cluster, "/0.bin")["server"] == first["alternate"]
    });
}
