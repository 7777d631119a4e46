//! Items of a directory, over all three versions.

use super::bytes;
use super::clients::{Ask, Client, Http1, Http2, Http3, all_versions};
use super::common::Cluster;
use std::net::SocketAddr;
use tempfile::TempDir;

const SMALL: &[u8] = b"a small item, of which there is one";
const LARGE: usize = 5 << 20;

struct Scene {
    cluster: Cluster,
    _files: TempDir,
}

impl Scene {
    fn start() -> Self {
        let files = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(files.path().join(name), bytes).expect("it can be written");
        };
        write("small.txt", SMALL);
        write("large.bin", &bytes(LARGE, 1));
        write("empty", b"");
        let dir = files.path().to_str().expect("temporary paths are text").to_owned();
        Self { cluster: Cluster::start(&["--servers", "2", "--dir", &dir]), _files: files }
    }

    fn router(&self) -> SocketAddr {
        self.cluster.router()
    }
}

#[test]
fn items_are_the_same_over_all_versions() {
    let scene = Scene::start();
    let mut tags = Vec::new();
    for (version, mut client) in all_versions(scene.router()) {
        let small = client.get("/small.txt");
        assert_eq!((small.status, &*small.body), (200, SMALL), "{version}");
        assert_eq!(small.needed("content-type"), "text/plain; charset=utf-8", "{version}");
        assert_eq!(small.needed("content-length"), SMALL.len().to_string(), "{version}");
        let head = client.ask(&Ask::head("/small.txt"));
        assert_eq!((head.status, head.body.len()), (200, 0), "{version}");
        for same in ["etag", "content-type", "content-length"] {
            assert_eq!(head.needed(same), small.needed(same), "{version} {same}");
        }
        assert!(small.field("date").is_some(), "{version}");
        let large = client.get("/large.bin");
        assert_eq!(large.needed("content-length"), LARGE.to_string());
        assert!(large.body == bytes(LARGE, 1), "{version}: {} bytes came", large.body.len());
        assert_eq!(client.get("/empty").must_be(200).body, [0; 0], "{version}");
        tags.push((small.needed("etag").to_owned(), large.needed("etag").to_owned()));
        // Those of one connection do not wait for each other's end to be right.
        assert_eq!(client.get("/small.txt").body, SMALL, "{version}");
    }
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    assert_ne!(tags[0].0, tags[0].1);
}

#[test]
fn http3_is_announced_over_tcp() {
    let scene = Scene::start();
    let port = scene.router().port();
    for (version, mut client) in all_versions(scene.router()) {
        for target in ["/small.txt", "/missing"] {
            let answer = client.get(target);
            match version {
                "HTTP/3" => assert_eq!(answer.field("alt-svc"), None),
                _ => assert_eq!(answer.needed("alt-svc"), format!("h3=\":{port}\"; ma=86400")),
            }
        }
    }
}

#[test]
fn conditions_are_honoured_over_all_versions() {
    let scene = Scene::start();
    for (version, mut client) in all_versions(scene.router()) {
        let etag = client.get("/small.txt").needed("etag").to_owned();
        let ask = |name: &str, value: &str| Ask::get("/small.txt").with(name, value);
        let weak = format!("W/{}", etag.trim_start_matches("W/"));
        let list = format!("\"other\", {etag}, \"third\"");
        // So many are not all looked at.
        let many = format!("{}, {etag}", vec!["\"0123456789\""; 500].join(", "));
        for same in [&*etag, &weak, &list, "*"] {
            let answer = client.ask(&ask("if-none-match", same));
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{version} {same}");
            assert_eq!(answer.needed("etag"), etag);
            let head = client.ask(&Ask::head("/small.txt").with("if-none-match", same));
            assert_eq!(head.status, 304, "{version} {same}");
        }
        for other in ["\"other\"", "W/\"other\"", "other", "\"a", "", &many] {
            let answer = client.ask(&ask("if-none-match", other));
            assert_eq!((answer.status, &*answer.body), (200, SMALL), "{version} {other:.20}");
        }
        client.ask(&ask("if-match", &etag)).must_be(200);
        client.ask(&ask("if-match", "*")).must_be(200);
        for other in ["\"other\"", &weak] {
            let answer = client.ask(&ask("if-match", other));
            assert_eq!((answer.status, answer.body.len()), (412, 0), "{version} {other}");
        }
    }
}

#[test]
fn parts_are_sent_over_all_versions() {
    let scene = Scene::start();
    let large = bytes(LARGE, 1);
    for (version, mut client) in all_versions(scene.router()) {
        let etag = client.get("/large.bin").needed("etag").to_owned();
        let ask = |range: &str| Ask::get("/large.bin").with("range", range);
        let last = LARGE - 1;
        for (range, first, last) in [
            ("bytes=0-4", 0, 4),
            ("bytes=100000-4000000", 100_000, 4_000_000),
            ("bytes=5242870-", LARGE - 10, last),
            ("bytes=-7", LARGE - 7, last),
            ("bytes=5-99999999999", 5, last),
        ] {
            let answer = client.ask(&ask(range));
            answer.must_be(206);
            assert!(answer.body == large[first..=last], "{version} {range}");
            let said = format!("bytes {first}-{last}/{LARGE}");
            assert_eq!(answer.needed("content-range"), said, "{version} {range}");
        }
        let none = client.ask(&ask("bytes=5242880-"));
        assert_eq!((none.status, none.body.len()), (416, 0), "{version}");
        assert_eq!(none.needed("content-range"), format!("bytes */{LARGE}"));
        client.ask(&ask("bytes=0-4").with("if-range", &etag)).must_be(206);
        let changed = client.ask(&ask("bytes=0-4").with("if-range", "\"other\""));
        assert!(changed.must_be(200).body == large, "{version}");
        let bomb = format!("bytes={}", vec!["0-"; 3000].join(","));
        for whole in ["bytes=0-1,5-9", "bytes=4-1", "lines=0-4", "bytes=", &bomb] {
            let answer = client.ask(&ask(whole));
            assert_eq!((answer.status, answer.body.len()), (200, LARGE), "{version} {whole:.20}");
        }
    }
}

#[test]
fn what_cannot_be_done_is_said_over_all_versions() {
    let scene = Scene::start();
    for (version, mut client) in all_versions(scene.router()) {
        let missing = client.get("/missing");
        assert_eq!(missing.status, 404, "{version}");
        assert!(missing.needed("content-type").starts_with("text/plain"), "{version}");
        assert_eq!(client.ask(&Ask::head("/missing")).body.len(), 0, "{version}");
        let refused = client.ask(&Ask::new("DELETE", "/small.txt"));
        assert_eq!(refused.must_be(405).needed("allow"), "GET, HEAD, POST, OPTIONS", "{version}");
        client.ask(&Ask::new("BREW", "/small.txt")).must_be(405);
        client.ask(&Ask::new("OPTIONS", "/small.txt")).must_be(204);
        for outside in ["/../small.txt", "/a/../small.txt", "/%2e%2e/small.txt", "/%00"] {
            let status = client.get(outside).status;
            assert!(matches!(status, 400 | 403 | 404), "{version} {outside} {status}");
        }
        client.get(&format!("/{}", "a".repeat(1500))).must_be(414);
        client.get(&format!("/{}", "a".repeat(5000))).must_be(414);
        assert_eq!(client.get("/small.txt").body, SMALL, "{version} goes on");
    }
}

#[test]
fn too_many_or_too_long_fields_are_refused() {
    let scene = Scene::start();
    let long = Ask::get("/small.txt").with("x-long", &"a".repeat(20_000));
    let many = (0..200).fold(Ask::get("/small.txt"), |ask, at| ask.with(&format!("x-{at}"), "a"));
    for ask in [&long, &many] {
        Http1::connect(scene.router()).ask(ask).must_be(431);
        Http2::connect(scene.router()).ask(ask).must_be(431);
    }
    // The client keeps to what the router says of itself: it does not even send the long one.
    let mut client = Http3::connect(scene.router());
    client.ask(&many).must_be(431);
    assert_eq!(client.get("/small.txt").body, SMALL);
}

#[test]
fn many_requests_of_one_connection_are_answered_at_once() {
    let scene = Scene::start();
    let client = Http3::connect(scene.router());
    let answers = super::clients::runtime().block_on(async {
        let asked = (0..300).map(|at| {
            let (client, target) = (client.clone(), ["/small.txt", "/large.bin"][at % 30 / 29]);
            tokio::spawn(async move { client.answer(&Ask::get(target)).await })
        });
        let mut answers = Vec::new();
        for answer in asked.collect::<Vec<_>>() {
            answers.push(answer.await.expect("it does not panic"));
        }
        answers
    });
    let lengths = answers.into_iter().map(|answer| answer.expect("an answer").body.len());
    let total: usize = lengths.sum();
    assert_eq!(total, 290 * SMALL.len() + 10 * LARGE);
}
