//! Promises 10 to 14: caches, mirrors, and never wrong bytes.

use super::{Remembering, number, start_with_tree, text, tree, write};
use crate::common::{Cluster, wait_until};
use serde_json::Value;

/// What the router and the servers say of a client's mirrors.
fn mirrors(cluster: &Cluster, client: &Value) -> Vec<(String, u64)> {
    let page = cluster.json("router", &format!("/clients/{}", text(client)));
    let mirrors = page["mirrors"].as_array().expect("a list of mirrors");
    let entry = |mirror: &Value| {
        (text(&mirror["role"]).to_owned(), mirror["entries"].as_u64().unwrap_or(0))
    };
    mirrors.iter().map(entry).collect()
}

#[test]
fn promise_10_primary_and_alternate_each_mirror_the_clients_cache() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let client = Remembering::new();
    let keys = ["/", "/items/1k.bin", "/items/16k.bin", "/items/64k.bin"];
    let replies = client.run(&cluster, &keys).json_lines();
    let last = replies.last().expect("there are replies");
    wait_until("the alternate has every entry", || {
        let both = [("primary".to_owned(), 4), ("alternate".to_owned(), 4)];
        mirrors(&cluster, &last["client"]) == both
    });
    let slots = |server: &Value| {
        let path = format!("/clients/{}", text(&last["client"]));
        cluster.json(text(server), &path)["slots"].clone()
    };
    let at_primary = slots(&last["server"]);
    assert_eq!(at_primary, slots(&last["alternate"]), "slot by slot the same");
    assert_eq!(at_primary.as_array().map(Vec::len), Some(4));
}

#[test]
fn promise_11_an_item_that_the_client_holds_costs_a_few_bytes() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let client = Remembering::new();
    let first = client.get(&cluster, "/items/1m.bin");
    assert_eq!((&first["reply"], number(&first["bytes"])), (&"full".into(), 1 << 20));
    assert!(number(&first["wire_bytes"]) > 1 << 20);
    let second = client.get(&cluster, "/items/1m.bin");
    assert_eq!((&second["reply"], number(&second["bytes"])), (&"use_cached".into(), 1 << 20));
    assert!(number(&second["wire_bytes"]) < 200, "{second}");
    assert_eq!((&second["tag"], &second["crc32"]), (&first["tag"], &first["crc32"]));
    assert_eq!((&second["client"], &second["epoch"]), (&first["client"], &first["epoch"]));
}

#[test]
fn promise_12_three_ways_to_know_the_copy_are_each_counted() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let client = Remembering::new();
    client.get(&cluster, "/items/64k.bin");
    let counts = || cluster.status()["use_cached_by"].clone();
    assert_eq!(counts(), serde_json::json!({ "mirror": 0, "crc": 0, "strong": 0 }));
    let mut expected = counts();
    for (validator, counter) in [("none", "mirror"), ("crc", "crc"), ("strong", "strong")] {
        let reply = client.get_with(&cluster, validator, "/items/64k.bin");
        assert_eq!(reply["reply"], "use_cached", "{validator}");
        assert_eq!(reply["validator"], validator);
        expected[counter] = 1.into();
        assert_eq!(counts(), expected, "{validator} moves {counter} alone");
    }
}

#[test]
fn promise_13_a_version_that_differs_is_sent_and_mirrored() {
    let root = tree(&[("page.html", b"the first version")]);
    let cluster = start_with_tree(&root, &[]);
    let client = Remembering::new();
    for (round, validator) in ["none", "crc", "strong", "auto"].into_iter().enumerate() {
        let bytes = format!("version number {round}, of another length: {}", "x".repeat(round));
        write(root.path(), "page.html", bytes.as_bytes());
        let (changed, got) = client.get_bytes(&cluster, validator, "/page.html");
        assert_eq!(changed["reply"], "full", "{validator}");
        assert_eq!(got, bytes.as_bytes(), "{validator}");
        let path = format!("/clients/{}", text(&changed["client"]));
        for server in [&changed["server"], &changed["alternate"]] {
            wait_until("the mirror has the new version", || {
                let slots = cluster.json(text(server), &path)["slots"].clone();
                slots[0]["crc32"] == changed["crc32"] && slots[0]["key"] == "/page.html"
            });
        }
        let (again, got) = client.get_bytes(&cluster, validator, "/page.html");
        assert_eq!(again["reply"], "use_cached", "{validator}");
        assert_eq!(got, bytes.as_bytes(), "{validator}");
    }
}

/// The same length and the same CRC-32, and other bytes: CRC-32 does not see a difference that is
/// a multiple of its polynomial.
fn crc_twin(bytes: &[u8]) -> Vec<u8> {
    const POLYNOMIAL: u64 = 0x1_04c1_1db7;
    let mut twin = bytes.to_vec();
    for place in 0..33 {
        let bit = (POLYNOMIAL >> (32 - place)) & 1;
        twin[place / 8] ^= (bit as u8) << (place % 8);
    }
    assert_ne!(twin, bytes);
    assert_eq!(crc32fast::hash(&twin), crc32fast::hash(bytes), "they are twins");
    twin
}

#[test]
fn promise_14_crc_twins_swapped_under_one_key_never_give_wrong_bytes() {
    let first = b"these bytes have a twin with the same length and CRC".to_vec();
    let second = crc_twin(&first);
    let root = tree(&[("twin", &first)]);
    let cluster = start_with_tree(&root, &[]);
    let client = Remembering::new();
    let (_, got) = client.get_bytes(&cluster, "auto", "/twin");
    assert_eq!(got, first);
    for round in 0..3 {
        for validator in ["none", "crc", "strong", "auto"] {
            let path = root.path().join("twin");
            let old = std::fs::read(&path).unwrap();
            let new = if old == first { &second } else { &first };
            // In place, and with the old time of change: only the inode's own clock tells.
            let mtime = std::fs::metadata(&path).unwrap().modified().unwrap();
            std::fs::write(&path, new).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_times(std::fs::FileTimes::new().set_modified(mtime)).unwrap();
            let (reply, got) = client.get_bytes(&cluster, validator, "/twin");
            assert_eq!(&got, new, "round {round}, {validator}: {reply}");
            assert_eq!(reply["reply"], "full", "round {round}, {validator}");
        }
    }
}

#[test]
fn promise_14_what_is_not_below_the_root_is_refused() {
    let root = tree(&[("page", b"fine")]);
    std::os::unix::fs::symlink("/etc/passwd", root.path().join("link")).unwrap();
    let cluster = start_with_tree(&root, &[]);
    for key in ["../../etc/passwd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/link"] {
        let output = cluster.get(&[key]);
        assert_ne!(output.code, Some(0), "{key}: {output:?}");
        assert!(output.stdout.is_empty(), "{key}: {output:?}");
        assert!(!output.stderr.is_empty(), "{key}");
    }
}
