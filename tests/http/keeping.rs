//! What of an origin's answers is kept for later requests, and for whom.

use super::Gate;
use super::clients::{Ask, Client, Http3, Origin, all_versions, runtime};
use super::common::Cluster;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An origin that numbers its answers. What follows `/NAME/` in a target, with `;` for the ends of
/// lines and `_` for spaces, is its status and its fields.
fn numbering(gate: Arc<Gate>) -> Origin {
    let number = AtomicU64::new(0);
    Origin::start(move |seen, stream| {
        let body = number.fetch_add(1, Ordering::SeqCst).to_string();
        if seen.target.starts_with("/held") {
            gate.pass();
        }
        if !seen.all("if-none-match").is_empty() && seen.target.contains("same") {
            return write!(stream, "HTTP/1.1 304 Same\r\nETag: \"same\"\r\n\r\n");
        }
        reply(stream, seen.target.splitn(3, '/').nth(2).unwrap_or("200_OK"), &body)
    })
}

fn reply(stream: &mut TcpStream, head: &str, body: &str) -> std::io::Result<()> {
    let head = head.replace(';', "\r\n").replace('_', " ").replace('\'', "\"");
    let body = if head.starts_with("204") { "" } else { body };
    write!(stream, "HTTP/1.1 {head}\r\n")?;
    if !head.starts_with("204") {
        write!(stream, "Content-Length: {}\r\n", body.len())?;
    }
    write!(stream, "\r\n{body}")
}

fn open() -> Arc<Gate> {
    let gate = Arc::<Gate>::default();
    gate.open();
    gate
}

fn start(origin: &Origin) -> Cluster {
    Cluster::start(&["--origin", &origin.url(), "--servers", "1"])
}

#[test]
fn what_is_fresh_is_used_again() {
    let origin = numbering(open());
    let cluster = start(&origin);
    for (version, mut client) in all_versions(cluster.router()) {
        let target = format!("/{}/200_OK;Cache-Control:max-age=3600;ETag:'1'", &version[5..6]);
        let first = client.get(&target);
        for _ in 0..3 {
            let again = client.get(&target);
            assert_eq!((again.status, &again.body), (200, &first.body), "{version}");
            assert!(again.needed("age").parse::<u64>().expect("seconds") < 3600, "{version}");
            assert_eq!(again.needed("etag"), "\"1\"", "{version}");
        }
        let same = client.ask(&Ask::get(&target).with("if-none-match", "\"1\""));
        assert_eq!((same.status, same.body.len()), (304, 0), "{version}");
        let part = client.ask(&Ask::get(&target).with("range", "bytes=0-0"));
        assert_eq!(part.must_be(206).body, first.body[..1], "{version}");
        assert_eq!(origin.seen_of(&target).len(), 1, "{version}");
        client.ask(&Ask::get(&target).with("cache-control", "no-cache")).must_be(200);
        assert_eq!(origin.seen_of(&target).len(), 2, "{version}: who wants it anew gets that");
    }
}

#[test]
fn answers_that_are_kept_keep_their_status() {
    let origin = numbering(open());
    let cluster = start(&origin);
    let mut client = Http3::connect(cluster.router());
    for status in ["203_A", "404_A", "410_A", "301_A;Location:/there", "308_A;Location:/there"] {
        let target = format!("/a/{status};Cache-Control:max-age=3600;ETag:'1'");
        let code: u16 = status[..3].parse().expect("it is a number");
        let first = client.get(&target);
        let second = client.get(&target);
        for answer in [&first, &second] {
            assert_eq!(answer.must_be(code).body, first.body, "{status}");
            let location = status.contains("Location").then_some("/there");
            assert_eq!(answer.field("location"), location, "{status}");
        }
        let head = client.ask(&Ask::head(&target));
        head.must_be(code);
        assert_eq!(head.field("content-length").unwrap_or("1"), first.body.len().to_string());
        // Conditions and ranges are about what there is (RFC 9110, sections 13.2.1 and 14.2).
        if code != 203 {
            client.ask(&Ask::get(&target).with("if-none-match", "\"1\"")).must_be(code);
            client.ask(&Ask::get(&target).with("range", "bytes=0-0")).must_be(code);
        }
        assert_eq!(origin.seen_of(&target).len(), 1, "{status} is kept");
    }
    let none = "/a/204_A;Cache-Control:max-age=3600";
    client.get(none).must_be(204);
    assert_eq!(client.get(none).must_be(204).body.len(), 0);
}

#[test]
fn an_age_is_said_once() {
    let origin = numbering(open());
    let cluster = start(&origin);
    let mut client = Http3::connect(cluster.router());
    let target = "/a/200_OK;Cache-Control:max-age=3600;Age:1000";
    for _ in 0..2 {
        let age = client.get(target).needed("age").parse::<u64>().expect("seconds");
        assert!((1000..2000).contains(&age), "{age}");
    }
    assert_eq!(origin.seen_of(target).len(), 1);
    let confirmed = "/same/200_OK;Cache-Control:no-cache;ETag:'same';Age:7";
    for _ in 0..3 {
        let answer = client.get(confirmed);
        answer.must_be(200).field("age");
        assert_eq!(answer.needed("etag"), "\"same\"");
    }
}

#[test]
fn what_is_stale_is_confirmed_by_the_origin() {
    let origin = numbering(open());
    let cluster = start(&origin);
    let mut client = Http3::connect(cluster.router());
    let target = "/same/200_OK;Cache-Control:no-cache;ETag:'same'";
    let first = client.get(target);
    for count in 2..5 {
        assert_eq!(client.get(target).must_be(200).body, first.body);
        let seen = origin.seen_of(target);
        assert_eq!(seen.len(), count);
        assert_eq!(seen[count - 1].all("if-none-match"), ["\"same\""]);
    }
    client.ask(&Ask::get(target).with("if-none-match", "\"same\"")).must_be(304);
}

#[test]
fn a_change_is_seen_at_once() {
    let origin = numbering(open());
    let cluster = start(&origin);
    let mut client = Http3::connect(cluster.router());
    let target = "/a/200_OK;Cache-Control:max-age=3600";
    let first = client.get(target);
    assert_eq!(client.get(target).body, first.body);
    client.ask(&Ask::post(target, b"change")).must_be(200);
    assert_ne!(client.get(target).body, first.body);
}

#[test]
fn variants_are_told_apart() {
    let origin = numbering(open());
    let cluster = start(&origin);
    let mut client = Http3::connect(cluster.router());
    let target = "/a/200_OK;Cache-Control:max-age=3600;Vary:accept-language";
    let mut get = |language: &str| client.ask(&Ask::get(target).with("accept-language", language));
    let (one, other) = (get("de"), get("en"));
    assert_ne!(one.body, other.body);
    assert_eq!((get("de").body, get("en").body), (one.body, other.body));
    assert_eq!(origin.seen_of(target).len(), 2);
    // Another query, and another order of it, are other items.
    let item = "/a/200_OK;Cache-Control:max-age=3600";
    let queries = ["?a=1&b=2", "?b=2&a=1", ""].map(|query| format!("{item}{query}"));
    let bodies = queries.map(|target| client.get(&target).body);
    assert!(bodies[0] != bodies[1] && bodies[1] != bodies[2], "{bodies:?}");
}

#[test]
fn what_is_private_is_shared_with_nobody() {
    let gate = Arc::<Gate>::default();
    let origin = numbering(Arc::clone(&gate));
    let cluster = start(&origin);
    let clients: Vec<_> = (0..4).map(|_| Http3::connect(cluster.router())).collect();
    for fields in ["private,max-age=60", "no-store", "max-age=60;Set-Cookie:a=b"] {
        let target = format!("/held/200_OK;Cache-Control:{fields}");
        // All ask while the first one's question is open, so that some may wait together.
        let asked = clients.iter().map(|client| {
            let (client, ask) = (client.clone(), Ask::get(&target));
            runtime().spawn(async move { client.answer(&ask).await })
        });
        let asked: Vec<_> = asked.collect();
        origin.wait_for(&target);
        gate.open();
        let bodies = asked.into_iter().map(|answer| {
            let answer = runtime().block_on(answer).expect("it does not panic");
            answer.expect("an answer").must_be(200).body.clone()
        });
        let mut bodies: Vec<_> = bodies.collect();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), clients.len(), "{fields}: each has an answer of its own");
        assert!(origin.seen_of(&target).len() >= clients.len());
        let again = runtime().block_on(clients[0].answer(&Ask::get(&target))).expect("an answer");
        assert!(!bodies.contains(&again.body), "{fields}: nothing was kept");
    }
}

#[test]
fn what_was_asked_for_with_credentials_is_kept_for_nobody_else() {
    let origin = numbering(open());
    let cluster = start(&origin);
    let mut client = Http3::connect(cluster.router());
    let target = "/a/200_OK;Cache-Control:max-age=3600";
    let secret = client.ask(&Ask::get(target).with("authorization", "Basic abc"));
    let mut other = Http3::connect(cluster.router());
    assert_ne!(other.get(target).body, secret.body);
}
