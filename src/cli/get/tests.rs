//! The command, from its arguments to what it writes, against a router in the same process.

use super::output::SinkConfig;
use super::*;
use crate::net::client::fake_router::{FakeRouter, Pool};
use crate::net::client::{CacheConfig, Roots};
use crate::wire::Key;
use clap::Parser;
use serde_json::Value;
use std::sync::Arc;

#[derive(Parser)]
struct Parsed {
    #[command(flatten)]
    arguments: Arguments,
}

fn plan_with(arguments: &[&str], stdin: &str) -> Result<Plan, Failure> {
    let parsed = Parsed::try_parse_from([&["get"], arguments].concat()).unwrap();
    Plan::new(parsed.arguments, &mut stdin.as_bytes())
}

fn plan(arguments: &[&str]) -> Result<Plan, Failure> {
    plan_with(arguments, "")
}

fn usage(arguments: &[&str]) -> String {
    match plan(arguments).unwrap_err() {
        Failure::Usage(text) => text,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

/// A router with a few items.
fn router() -> (Arc<Pool>, FakeRouter) {
    let pool = Arc::new(Pool::default());
    for (key, bytes) in [("/a", &b"first\n\0"[..]), ("/b/c", b"second"), ("/d/", b"")] {
        pool.put(key, bytes);
    }
    let router = FakeRouter::start(&pool);
    (pool, router)
}

/// Runs the command against a router.
async fn get(router: &FakeRouter, arguments: &[&str]) -> (Outcome, Vec<u8>) {
    let address = router.address.to_string();
    let plan = plan(&[&["--router", &address], arguments].concat()).unwrap();
    let mut stdout = Vec::new();
    let outcome = fetch(plan, &mut stdout).await.unwrap();
    (outcome, stdout)
}

fn json(stdout: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn routers_are_addresses_or_names() {
    let config = |arguments: &[&str]| plan(&[arguments, &["/"]].concat()).unwrap().config;
    let default = config(&[]);
    assert_eq!(default.routers, ["127.0.0.1:4433".parse().unwrap()]);
    assert_eq!((default.server_name.as_str(), default.roots), ("localhost", Roots::Bundled));
    let mixed = config(&["--router", "127.0.0.1:1", "--router", "[::1]:2", "--router", "::1"]);
    let expected = ["127.0.0.1:1", "[::1]:2", "[::1]:4433"];
    assert_eq!(mixed.routers, expected.map(|address| address.parse().unwrap()));
    assert_eq!(mixed.server_name, "localhost");
    let named = config(&["--router", "localhost"]);
    assert!(named.routers.iter().all(|router| router.ip().is_loopback() && router.port() == 4433));
    let beyond = config(&["--router", "192.0.2.1:99", "--ca", "ca.pem"]);
    assert_eq!(
        (beyond.server_name.as_str(), beyond.roots),
        ("192.0.2.1", Roots::File("ca.pem".into()))
    );
    let called = config(&["--router", "192.0.2.1", "--ca", "x", "--server-name", "edge.example"]);
    assert_eq!(called.server_name, "edge.example");
    let cache = config(&["--cache", "somewhere", "--pool", "other"]);
    assert_eq!(cache.cache, CacheConfig::directory("somewhere"));
    assert_eq!(cache.pool.unwrap().as_str(), "other");
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    for (arguments, says) in [
        (&["page.html"][..], "it must start with '/'; try '/page.html'"),
        (&["https://edge.example/a/b"], "try '/a/b'"),
        (&["https://edge.example"], "try '/'"),
        (&["../../etc/passwd"], "\"../../etc/passwd\" is not a key: it must start with '/'"),
        (&["/a//b"], "it has an empty path segment"),
        (&[], "no key was given"),
        (&["/a", "/b"], "use --output-dir DIR, or --json"),
        (&["/a", "/b", "--output", "x"], "there are 2: use --output-dir"),
        (&["/a", "--router", "192.0.2.1:4433"], "say by --ca FILE"),
        (&["/a", "--router", "127.0.0.1:x"], "an address and a port"),
        (&["/a", "--router", ":4433"], "an address and a port"),
        (&["/a", "--router", "127.0.0.1:1", "--router", "192.0.2.1", "--ca", "x"], "--server-name"),
        (&["/a", "--pool", "No Pool"], "--pool \"No Pool\": name is invalid"),
    ] {
        let text = usage(arguments);
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
    assert!(!usage(&["../../etc/passwd"]).contains("try"), "there is nothing to suggest");
    for wrong in [
        &["/", "--repeat", "0"][..],
        &["/", "--validator", "weak"],
        &["/", "--output", "x", "--output-dir", "y"],
    ] {
        assert!(Parsed::try_parse_from([&["get"], wrong].concat()).is_err(), "{wrong:?}");
    }
}

#[test]
fn keys_come_from_arguments_files_and_standard_input() {
    let names = |plan: Plan| -> Vec<String> { plan.keys.iter().map(Key::to_string).collect() };
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keys");
    std::fs::write(&file, "/b\r\n\n/c d\n").unwrap();
    let file = file.to_str().unwrap();
    let from_file = plan(&["--json", "/a", "--keys", file]).unwrap();
    assert_eq!(names(from_file), ["/a", "/b", "/c d"]);
    let from_stdin = plan_with(&["--json", "--keys", "-"], "/x\n/y").unwrap();
    assert_eq!(names(from_stdin), ["/x", "/y"]);
    let wrong = plan_with(&["--json", "--keys", "-"], "/x\n\ny\n").unwrap_err().to_string();
    assert!(wrong.starts_with("standard input:3: \"y\" is not a key"), "{wrong}");
    let missing = plan(&["--keys", "/does/not/exist"]).unwrap_err();
    assert!(matches!(missing, Failure::Failed(text) if text.starts_with("/does/not/exist: ")));
}

#[tokio::test]
async fn one_key_is_its_bytes_and_nothing_else() {
    let (_pool, router) = router();
    let (outcome, stdout) = get(&router, &["/a"]).await;
    assert_eq!((outcome.failed, &stdout[..]), (0, &b"first\n\0"[..]));
    let (outcome, stdout) = get(&router, &["/a", "--repeat", "3"]).await;
    assert_eq!((outcome.failed, &stdout[..]), (0, &b"first\n\0"[..]), "the last round's");
    let (outcome, stdout) = get(&router, &["/none"]).await;
    assert_eq!((outcome.failed, stdout.len()), (1, 0));
}

#[tokio::test]
async fn lines_of_json_come_in_order_with_these_fields() {
    let (_pool, router) = router();
    let (outcome, stdout) = get(&router, &["--json", "--repeat", "2", "/b/c", "/none", "/a"]).await;
    assert_eq!(outcome.failed, 2);
    let lines = json(&stdout);
    let replies: Vec<_> = lines.iter().map(|line| line["reply"].as_str().unwrap()).collect();
    let expected = ["full", "not_found", "full", "use_cached", "not_found", "use_cached"];
    assert_eq!(replies, expected);
    let line = &lines[3];
    assert_eq!((&line["key"], &line["bytes"]), (&"/b/c".into(), &6.into()));
    assert_eq!(line["crc32"], format!("{:08x}", crc32fast::hash(b"second")));
    assert_eq!(line["validator"], "none");
    assert_eq!((&line["server"], &line["alternate"]), (&"server-1".into(), &"server-2".into()));
    assert_eq!(line["epoch"], 1);
    assert!(line["wire_bytes"].as_u64().unwrap() < 50);
    assert!(lines[1]["tag"].is_null() && lines[1]["crc32"].is_null());
    let text = std::str::from_utf8(&stdout).unwrap().lines().next().unwrap();
    let mut rest = text;
    for field in [
        "key",
        "reply",
        "bytes",
        "wire_bytes",
        "crc32",
        "tag",
        "validator",
        "client",
        "server",
        "alternate",
        "epoch",
        "elapsed_us",
    ] {
        let (_, after) = rest.split_once(&format!("\"{field}\":")).expect(field);
        rest = after;
    }
    assert_eq!(text.matches("\":").count(), 12, "{text}");
}

#[tokio::test]
async fn a_cache_outlives_the_run() {
    let (pool, router) = router();
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    let cache = cache.to_str().unwrap();
    for expected in ["full", "use_cached", "use_cached"] {
        let (_, stdout) = get(&router, &["--json", "--cache", cache, "/a"]).await;
        assert_eq!(json(&stdout)[0]["reply"], expected);
    }
    for (validator, word) in
        [("none", "none"), ("crc", "crc"), ("strong", "strong"), ("auto", "strong")]
    {
        let arguments = ["--json", "--cache", cache, "--validator", validator, "/a"];
        let (_, stdout) = get(&router, &arguments).await;
        let line = &json(&stdout)[0];
        assert_eq!((&line["reply"], &line["validator"]), (&"use_cached".into(), &word.into()));
    }
    pool.put("/a", "changed");
    let (_, stdout) = get(&router, &["--cache", cache, "/a"]).await;
    assert_eq!(stdout, b"changed");
}

#[tokio::test]
async fn bytes_go_where_they_are_wanted() {
    let (_pool, router) = router();
    let place = tempfile::tempdir().unwrap();
    let (file, directory) = (place.path().join("file"), place.path().join("x/y"));
    let arguments = ["--output", file.to_str().unwrap(), "/a"];
    let (_, stdout) = get(&router, &arguments).await;
    assert_eq!((stdout.len(), std::fs::read(&file).unwrap()), (0, b"first\n\0".to_vec()));
    let arguments = ["--json", "--output-dir", directory.to_str().unwrap(), "/a", "/b/c", "/d/"];
    let (outcome, stdout) = get(&router, &arguments).await;
    assert_eq!((outcome.failed, json(&stdout).len()), (0, 3));
    for (name, bytes) in [("a", &b"first\n\0"[..]), ("b/c", b"second"), ("d/index.html", b"")] {
        assert_eq!(std::fs::read(directory.join(name)).unwrap(), bytes, "{name}");
    }
    let unwritable = place.path().join("no/such/place");
    let (outcome, _) = get(&router, &["--output", unwritable.to_str().unwrap(), "/a"]).await;
    assert_eq!(outcome.failed, 1);
    assert!(SinkConfig::Directory(file).open().is_err(), "a file is no directory");
}

#[tokio::test]
async fn many_keys_are_answered_in_their_order() {
    let (pool, router) = router();
    let keys: Vec<_> = (0..500).map(|number| format!("/many/{number}")).collect();
    keys.iter().enumerate().for_each(|(size, key)| pool.put(key, vec![1; size * 50]));
    let address = router.address.to_string();
    let arguments = ["--json", "--keys", "-", "--router", &address];
    let plan = plan_with(&arguments, &keys.join("\n")).unwrap();
    let mut stdout = Vec::new();
    assert_eq!(fetch(plan, &mut stdout).await.unwrap(), Outcome { failed: 0 });
    for (size, (line, key)) in json(&stdout).iter().zip(&keys).enumerate() {
        assert_eq!((&line["key"], &line["bytes"]), (&key[..].into(), &(size * 50).into()));
    }
}

/// Standard output that somebody closes after a while.
struct Closing(usize);

impl Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let (_pool, router) = router();
    let address = router.address.to_string();
    let plan = plan(&["--router", &address, "--json", "--repeat", "1000000", "/a"]).unwrap();
    assert_eq!(fetch(plan, &mut Closing(10)).await.unwrap(), Outcome { failed: 0 });
}

#[tokio::test]
async fn a_router_that_is_not_there_is_one_clear_line() {
    let deserted = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plan = plan(&["--router", &deserted.to_string(), "/a"]).unwrap();
    let text = fetch(plan, &mut Vec::new()).await.unwrap_err().to_string();
    let expected =
        format!("no router could be reached: {deserted}: nobody listens there; is it running?");
    assert!(text.starts_with(&expected), "{text}");
}
