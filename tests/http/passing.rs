//! Requests that are passed to an HTTP origin, and its answers.

use super::clients::{
    Answer, Ask, Client, Http1, Http2, Http3, Origin, Seen, all_versions, runtime,
};
use super::common::{Cluster, PATIENCE, wait_until};
use super::raw::{self, Raw};
use super::{Gate, bytes, primaries, reconfigure};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

const LARGE: usize = 5 << 20;

fn start(origin: &Origin, more: &[&str]) -> Cluster {
    Cluster::start(&[&["--origin", &origin.url()], more].concat())
}

/// An origin that gives back what it is sent, and more of its own.
fn origin() -> Origin {
    Origin::start(|seen, stream| match seen.target.as_str() {
        "/large" => plain(stream, &bytes(LARGE, 7)),
        "/pieces" => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")?;
            write!(stream, "Trailer: x-sum\r\nCache-Control: no-store\r\n\r\n")?;
            for piece in bytes(300_000, 9).chunks(7001) {
                write!(stream, "{:x}\r\n", piece.len())?;
                stream.write_all(piece)?;
                write!(stream, "\r\n")?;
            }
            write!(stream, "0\r\nX-Sum: 300000\r\n\r\n")
        }
        "/teapot" => write!(stream, "HTTP/1.1 418 Short\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n"),
        "/none" => write!(stream, "HTTP/1.1 204 None\r\n\r\n"),
        "/hints" => {
            write!(stream, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
            plain(stream, b"hinted")
        }
        "/until-close" => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end")?;
            stream.shutdown(std::net::Shutdown::Write)
        }
        "/short" => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all")?;
            stream.shutdown(std::net::Shutdown::Both)
        }
        _ => plain(stream, &seen.body),
    })
}

fn plain(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)
}

#[test]
fn content_passes_both_ways_over_all_versions() {
    let origin = origin();
    let cluster = start(&origin, &["--servers", "2"]);
    for (version, mut client) in all_versions(cluster.router()) {
        for length in [0, 1, 100, 16_000, 16_384, 70_000, LARGE] {
            let sent = bytes(length, length as u64);
            let answer = client.ask(&Ask::post("/echo", sent.clone()));
            assert_eq!(answer.status, 200, "{version} {length}: {:?}", answer.fields);
            assert!(answer.body == sent, "{version}: {} of {length} came", answer.body.len());
            let seen = origin.seen().pop().expect("it was asked");
            assert!(seen.method == "POST" && seen.body == sent, "{version} {length}");
        }
        let put = Ask { body: bytes(1000, 3), ..Ask::new("PUT", "/echo") };
        assert_eq!(client.ask(&put).body, put.body, "{version}");
        assert!(client.get("/large").body == bytes(LARGE, 7), "{version}");
        assert_eq!(client.get("/until-close").body, b"to the end", "{version}");
        assert_eq!(client.get("/hints").must_be(200).body, b"hinted", "{version}");
        assert_eq!(client.get("/teapot").must_be(418).needed("x-a"), "1", "{version}");
        assert_eq!(client.get("/none").must_be(204).body.len(), 0, "{version}");
        for method in ["DELETE", "PATCH", "BREW"] {
            client.ask(&Ask::new(method, "/any")).must_be(200);
            assert_eq!(origin.seen().pop().expect("it was asked").method, method, "{version}");
        }
    }
}

#[test]
fn pieces_and_trailers_pass() {
    let origin = origin();
    let cluster = start(&origin, &["--servers", "2"]);
    for (version, mut client) in all_versions(cluster.router()) {
        let answer = client.ask(&Ask::get("/pieces").with("te", "trailers"));
        assert!(answer.body == bytes(300_000, 9), "{version}: {}", answer.body.len());
        let trailers = [("x-sum".to_owned(), "300000".to_owned())];
        assert_eq!(answer.trailers, trailers, "{version}");
    }
    let mut client = Http1::connect(cluster.router());
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                Trailer: x-sum, x-other\r\n\r\n";
    client.send(head.as_bytes()).expect("it is sent");
    for piece in bytes(50_000, 2).chunks(999) {
        client.send(format!("{:x}\r\n", piece.len()).as_bytes()).expect("it is sent");
        client.send(piece).expect("it is sent");
        client.send(b"\r\n").expect("it is sent");
    }
    client.send(b"0\r\nX-Sum: 50000\r\n\r\n").expect("it is sent");
    let answer = client.receive(false).expect("it is answered");
    assert!(answer.must_be(200).body == bytes(50_000, 2));
    let seen = origin.wait_for("/echo");
    assert_eq!(seen.trailers, [("x-sum".to_owned(), "50000".to_owned())]);
    assert_eq!(client.get("/pieces").body.len(), 300_000, "the connection goes on");
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let origin = origin();
    let cluster = start(&origin, &["--servers", "2"]);
    for (version, mut client) in all_versions(cluster.router()) {
        let answer = client.try_ask(&Ask::get("/short"));
        assert!(answer.as_ref().map_or(true, |it| it.status == 502), "{version}: {answer:?}");
    }
}

#[test]
fn the_origin_learns_who_asks_from_the_router_alone() {
    let origin = origin();
    let cluster = start(&origin, &["--servers", "2"]);
    for (version, mut client) in all_versions(cluster.router()) {
        let mut ask = Ask::get("/echo?a=b&a=%20c").with("x-mine", "kept");
        for forged in ["x-forwarded-for", "x-forwarded-proto", "x-real-ip", "x_forwarded_for"] {
            ask = ask.with(forged, "192.0.2.9");
        }
        client.ask(&ask.with("forwarded", "for=192.0.2.9")).must_be(200);
        let seen = origin.seen().pop().expect("it was asked");
        assert_eq!(seen.target, "/echo?a=b&a=%20c", "{version}");
        assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"], "{version}");
        assert_eq!(seen.all("x-forwarded-proto"), ["https"], "{version}");
        assert_eq!(seen.all("forwarded"), ["for=127.0.0.1;host=localhost;proto=https"]);
        assert_eq!((seen.all("host"), seen.all("x-mine")), (vec!["localhost"], vec!["kept"]));
        let all = format!("{seen:?}");
        assert!(!all.contains("192.0.2.9"), "{version} {all}");
        assert_eq!(seen.all("via").len(), 1, "{version}");
    }
}

#[test]
fn an_origin_that_is_down_is_said_to_be() {
    // A connection holds its port, so that nobody else gets it, and nobody listens there.
    let holder = TcpStream::connect(origin().address()).expect("it listens");
    let nobody = holder.local_addr().expect("it has a port");
    let cluster = Cluster::start(&["--servers", "2", "--origin", &format!("http://{nobody}")]);
    for (version, mut client) in all_versions(cluster.router()) {
        for ask in [Ask::get("/a"), Ask::post("/a", b"b"), Ask::post("/a", bytes(LARGE, 1))] {
            let answer = client.ask(&ask);
            assert_eq!(answer.must_be(502).field("etag"), None, "{version}");
            let text = answer.text();
            assert!(text.contains("the origin cannot be reached"), "{version} {text}");
        }
    }
}

#[test]
fn an_origin_that_is_slow_is_given_up() {
    let gate = Arc::<Gate>::default();
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |seen, stream| {
        if seen.target == "/slow" {
            held.pass();
        }
        plain(stream, b"here")
    });
    let state = tempfile::tempdir().expect("a temporary directory");
    let place = state.path().to_str().expect("temporary paths are text");
    let cluster = start(&origin, &["--servers", "1", "--state", place]);
    reconfigure(&cluster, state.path(), "server-1", |text| {
        let url = format!("http = \"{}\"", origin.url());
        assert!(text.contains(&url), "{text}");
        text.replace(&url, &format!("{url}\ntimeout_ms = 300"))
    });
    for (version, mut client) in all_versions(cluster.router()) {
        let answer = client.get("/slow");
        let text = answer.must_be(504).text();
        assert!(text.contains("the origin took too long"), "{version} {text}");
        client.ask(&Ask::post("/slow", b"a")).must_be(504);
        assert_eq!(client.get("/fast").body, b"here", "{version}");
    }
    gate.open();
}

/// What became of a POST whose server was killed while the origin had it.
fn post_while_the_server_is_killed(ask: Ask) -> (Answer, Vec<Seen>) {
    let gate = Arc::<Gate>::default();
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |seen, stream| {
        if seen.target == "/once" {
            held.pass();
        }
        plain(stream, b"done")
    });
    let cluster = start(&origin, &["--no-restart"]);
    let mut client = Http3::connect(cluster.router());
    client.get("/first").must_be(200);
    let (_, primary) = primaries(&cluster).pop().expect("it has a primary");
    let asking = client.clone();
    let answer = runtime().spawn(async move { asking.answer(&ask).await });
    origin.wait_for("/once");
    cluster.kill(&primary);
    let answer = runtime().block_on(async { tokio::time::timeout(PATIENCE, answer).await });
    let answer = answer.expect("it ends").expect("it does not panic").expect("it is answered");
    gate.open();
    client.get("/second").must_be(200);
    (answer, origin.seen_of("/once"))
}

#[test]
fn a_post_is_executed_once_although_its_server_is_killed() {
    for length in [5, 100_000] {
        let (answer, seen) = post_while_the_server_is_killed(Ask::post("/once", bytes(length, 1)));
        assert_eq!(seen.len(), 1, "{length}");
        if answer.status != 200 {
            let text = answer.must_be(502).text();
            assert!(text.contains("may have been executed, or not"), "{text}");
        }
    }
}

#[test]
fn a_get_is_answered_although_its_server_is_killed() {
    let gate = Arc::<Gate>::default();
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |seen, stream| {
        if seen.target == "/held" {
            held.pass();
        }
        plain(stream, b"done")
    });
    let cluster = start(&origin, &["--no-restart"]);
    let mut client = Http3::connect(cluster.router());
    client.get("/first").must_be(200);
    let (_, primary) = primaries(&cluster).pop().expect("it has a primary");
    let asking = client.clone();
    let answer = runtime().spawn(async move { asking.answer(&Ask::get("/held")).await });
    origin.wait_for("/held");
    cluster.kill(&primary);
    gate.open();
    let answer = runtime().block_on(answer).expect("it does not panic").expect("an answer");
    assert_eq!(answer.must_be(200).body, b"done");
}

/// An origin that begins to answer `/begun` and never goes on, and never begins with others.
fn held_origin() -> (Origin, Arc<Gate>) {
    let gate = Arc::<Gate>::default();
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |seen, stream| {
        if seen.target.starts_with("/begun") {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")?;
        }
        if seen.target != "/first" {
            // Reads until the other side has closed, or the test is over.
            std::io::copy(&mut stream.try_clone()?, &mut std::io::sink())?;
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        held.pass();
        plain(stream, b"first")
    });
    (origin, gate)
}

#[test]
fn who_gives_up_has_the_origin_give_up_too() {
    let (origin, gate) = held_origin();
    gate.open();
    let cluster = start(&origin, &["--servers", "1"]);
    let router = cluster.router();
    let mut client = Http3::connect(router);
    client.get("/first").must_be(200);
    let mut closed = origin.closed();
    let mut one_more_is_closed = |what: &str| {
        closed += 1;
        wait_until(what, || origin.closed() == closed);
    };
    let raw = Raw::connect(router);
    for target in ["/never", "/begun"] {
        let (mut send, mut receive) = raw.begin(&raw::request("GET", target, &[]));
        send.finish().expect("it is open");
        origin.wait_for(target);
        if target == "/begun" {
            // HEADERS, and the first bytes of the content.
            let mut bytes = [0; 64];
            let read = runtime().block_on(receive.read(&mut bytes));
            assert!(read.expect("it is answered").is_some());
        }
        receive.stop(0x10c_u32.into()).expect("it is open");
        one_more_is_closed(&format!("HTTP/3 {target}"));
    }
    for target in ["/never-2", "/begun-2"] {
        let gone = Http3::connect(router);
        let stream = runtime().block_on(gone.begin(&Ask::get(target))).expect("it is sent");
        origin.wait_for(target);
        gone.connection.close(0u32.into(), b"");
        one_more_is_closed(&format!("HTTP/3, connection closed, {target}"));
        drop(stream);
    }
    for target in ["/never-3", "/begun-3"] {
        let mut gone = Http1::connect(router);
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        gone.send(head.as_bytes()).expect("it is sent");
        origin.wait_for(target);
        if target.starts_with("/begun") {
            gone.head().expect("it has begun");
            assert_eq!(gone.chunk().expect("it has begun").as_deref(), Some(&b"begun"[..]));
        }
        gone.vanish();
        one_more_is_closed(&format!("HTTP/1.1 {target}"));
    }
    for target in ["/never-4", "/begun-4"] {
        let mut gone = Http2::connect(router);
        let asked = runtime().spawn(async move { gone.answer(&Ask::get(target)).await });
        origin.wait_for(target);
        asked.abort();
        one_more_is_closed(&format!("HTTP/2 {target}"));
    }
}

#[test]
fn who_gives_up_does_nothing_to_others() {
    let (origin, gate) = held_origin();
    gate.open();
    let cluster = start(&origin, &["--servers", "1", "--workers", "1"]);
    let raw = Raw::connect(cluster.router());
    let mut other = Http3::connect(cluster.router());
    for round in 0..100 {
        let target = format!("/never/{round}");
        let (mut send, mut receive) = raw.begin(&raw::request("GET", &target, &[]));
        send.finish().expect("it is open");
        origin.wait_for(&target);
        // What is given up ends while the next request begins.
        receive.stop(0x10c_u32.into()).expect("it is open");
        for _ in 0..3 {
            other.get("/first").must_be(200);
        }
    }
}
