//! Bad bytes over HTTP/1.1: the origin never sees two requests for one, nor one for two.

use super::Scene;
use super::clients::Http1;

/// What must not reach the origin.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What the router may say; nothing is a connection that is closed without an answer.
type Expected = &'static [u16];

/// Sends these bytes on a connection of their own: the status, and whether the connection is closed.
fn send(scene: &Scene, bytes: &[u8]) -> (Option<u16>, bool) {
    let mut client = Http1::connect(scene.cluster.router());
    // It fails where the router has closed already.
    let _ = client.send(bytes);
    match client.receive(false) {
        Ok(answer) => (Some(answer.status), answer.field("connection") == Some("close")),
        Err(_) => (None, true),
    }
}

/// Checks that each is refused, that the connection ends with it, and that nothing of it reaches
/// the origin.
fn check_refused(cases: &[(&str, String, Expected)]) {
    let mut scene = Scene::start();
    for (what, bytes, expected) in cases {
        let (status, is_closed) = send(&scene, bytes.as_bytes());
        let is_expected = status.is_none_or(|status| expected.contains(&status));
        assert!(is_expected && is_closed, "{what}: {status:?}, closed: {is_closed}");
        scene.others_are_served(what);
        let seen = scene.origin.seen();
        assert!(seen.iter().all(|seen| seen.target == "/well"), "{what}: {seen:?}");
    }
}

fn head(lines: &str) -> String {
    format!("POST /bad HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

#[test]
fn framing_that_can_be_read_in_two_ways_is_refused() {
    let five = "Content-Length: 5\r\n";
    let chunks = format!("0\r\n\r\n{SMUGGLED}");
    let lengths = |lines: &str| format!("{}hello{SMUGGLED}", head(lines));
    check_refused(&[
        ("two lengths", lengths(&format!("{five}Content-Length: 6\r\n")), &[400]),
        ("two lengths in one", lengths("Content-Length: 5, 6\r\n"), &[400]),
        ("a sign", lengths("Content-Length: +5\r\n"), &[400]),
        ("less than nothing", lengths("Content-Length: -5\r\n"), &[400]),
        ("hexadecimal", lengths("Content-Length: 0x5\r\n"), &[400]),
        ("no number", lengths("Content-Length: \r\n"), &[400]),
        ("a huge number", lengths("Content-Length: 99999999999999999999\r\n"), &[400, 413]),
        ("a space before the colon", lengths("Content-Length : 5\r\n"), &[400]),
        ("another coding", head("Transfer-Encoding: gzip\r\n") + &chunks, &[400, 501]),
        ("chunks not last", head("Transfer-Encoding: chunked, gzip\r\n") + &chunks, &[400, 501]),
        ("nearly chunks", head("Transfer-Encoding: xchunked\r\n") + &chunks, &[400, 501]),
        ("odd chunks", head("Transfer-Encoding: \x0bchunked\r\n") + &chunks, &[400, 501]),
        (
            "chunks twice",
            head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") + &chunks,
            &[400, 501],
        ),
        (
            "chunks of HTTP/1.0",
            head("Transfer-Encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0") + &chunks,
            &[400],
        ),
    ]);
}

#[test]
fn chunks_count_where_a_length_stands_beside_them_and_nothing_after_them() {
    let mut scene = Scene::start();
    let (five, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for fields in [[five, chunked], [chunked, five]] {
        let bytes = format!("{}0\r\n\r\n{SMUGGLED}", head(&fields.concat()));
        let before = scene.origin.seen().len();
        let mut client = Http1::connect(scene.cluster.router());
        client.send(bytes.as_bytes()).expect("it is sent");
        let answer = client.receive(false).expect("it is answered");
        assert_eq!(answer.needed("connection"), "close", "{fields:?}");
        assert_eq!(client.rest(), b"", "{fields:?}");
        let seen = scene.origin.seen();
        let added = seen[before..].iter().map(|seen| (&*seen.target, seen.body.len()));
        let added: Vec<_> = added.collect();
        assert!(matches!(added[..], [] | [("/bad", 0)]), "{added:?}");
        scene.others_are_served("chunks and a length");
    }
}

#[test]
fn heads_that_are_none_are_refused() {
    let huge = format!("X-A: {}\r\n", "a".repeat(60_000));
    let get = |rest: &str| format!("GET /bad HTTP/1.1\r\nHost: localhost\r\n{rest}");
    check_refused(&[
        ("a folded line", get("X-A: a\r\n b\r\n\r\n"), &[400]),
        ("a folded line first", format!("GET /bad HTTP/1.1\r\n Host: a\r\n\r\n{SMUGGLED}"), &[400]),
        ("a bare CR", get("X-A: a\rX-B: b\r\n\r\n"), &[400]),
        ("a NUL", get("X-A: a\0b\r\n\r\n"), &[400]),
        ("a NUL in a name", get("X\0A: a\r\n\r\n"), &[400]),
        ("a line without a colon", get("X-A\r\n\r\n"), &[400]),
        ("no name", get(": a\r\n\r\n"), &[400]),
        ("HTTP/0.9", "GET /bad\r\n\r\n".to_owned(), &[400]),
        ("HTTP/1.2 of a kind", "GET /bad HTTP/1.9\r\nHost: a\r\n\r\n".to_owned(), &[400, 505]),
        ("HTTP/2 in clear words", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[400, 505]),
        ("two spaces", "GET  /bad HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        ("a space in the target", "GET /bad /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        ("a huge head", get(&huge), &[431]),
        ("TLS once more", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}".to_owned(), &[400]),
    ]);
}

#[test]
fn whom_it_is_for_is_said_once() {
    let mut scene = Scene::start();
    for (what, bytes) in [
        ("no host", "GET /bad HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("the same twice", "GET /bad HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ("another host", "GET https://other/bad HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("a user", "GET https://user@a/bad HTTP/1.1\r\nHost: user@a\r\n\r\n"),
        ("a path in the host", "GET /bad HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("an empty host", "GET /bad HTTP/1.1\r\nHost: \r\n\r\n"),
    ] {
        assert_eq!(send(&scene, bytes.as_bytes()).0, Some(400), "{what}");
        scene.others_are_served(what);
    }
    let connect = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n";
    assert_eq!(send(&scene, connect).0, Some(501));
    assert!(scene.origin.seen().iter().all(|seen| seen.target == "/well"));
    let absolute = b"GET https://localhost/well?2 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(send(&scene, absolute).0, Some(200));
    assert_eq!(scene.origin.wait_for("/well?2").all("host"), ["localhost"]);
}

#[test]
fn content_is_never_taken_for_a_request() {
    let mut scene = Scene::start();
    let inner = SMUGGLED.replace("/smuggled", "/inner");
    let length = inner.len();
    let framed = |method: &str, target: &str| {
        let next = "GET /next HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        format!("{head}Content-Length: {length}\r\n\r\n{inner}{next}")
    };
    for (what, bytes) in [
        ("content of a GET", framed("GET", "/outer/1")),
        ("content of a HEAD", framed("HEAD", "/outer/2")),
        ("content of a POST", framed("POST", "/outer/3")),
        ("content that is refused", framed("CONNECT", "a:80")),
        ("content for nobody", framed("POST", "https://other/outer/4")),
        (
            "content that is expected",
            framed("POST", "/outer/5")
                .replace("\r\n\r\nGET /i", "\r\nExpect: 100-continue\r\n\r\nGET /i"),
        ),
    ] {
        let mut client = Http1::connect(scene.cluster.router());
        let _ = client.send(bytes.as_bytes());
        client.rest();
        let seen = scene.origin.seen();
        let inner: Vec<_> = seen.iter().filter(|seen| seen.target == "/inner").collect();
        assert!(inner.is_empty(), "{what}: {inner:?}");
        scene.others_are_served(what);
    }
}

#[test]
fn chunks_that_are_wrong_end_the_connection() {
    let mut scene = Scene::start();
    for (what, chunks) in [
        ("a huge size", "fffffffffffffffff\r\n".to_owned()),
        ("no size", "\r\n".to_owned()),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("more than it says", "3\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("an endless extension", format!("5;{}", "a".repeat(100_000))),
        ("endless trailers", format!("0\r\n{}", "X-A: a\r\n".repeat(20_000))),
    ] {
        let mut client = Http1::connect(scene.cluster.router());
        let bytes = head("Transfer-Encoding: chunked\r\n") + &chunks + SMUGGLED;
        let _ = client.send(bytes.as_bytes());
        let text = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(!text.starts_with("HTTP/1.1 2"), "{what}: {text}");
        let seen = scene.origin.seen();
        assert!(seen.iter().all(|seen| seen.target != "/smuggled"), "{what}: {seen:?}");
        scene.others_are_served(what);
    }
}

#[test]
fn requests_that_wait_for_each_other_are_answered_in_turn() {
    let scene = Scene::start();
    let mut client = Http1::connect(scene.cluster.router());
    let one = |at| format!("GET /turn/{at} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let all: String = (0..50).map(one).collect();
    client.send(all.as_bytes()).expect("it is sent");
    for _ in 0..50 {
        client.receive(false).expect("an answer").must_be(200);
    }
    let seen = scene.origin.seen().into_iter().filter(|seen| seen.target.starts_with("/turn"));
    let targets: Vec<_> = seen.map(|seen| seen.target).collect();
    assert_eq!(targets, (0..50).map(|at| format!("/turn/{at}")).collect::<Vec<_>>());
}
