//! The cookie by which a client is known again.

use super::clients::{Answer, Ask, Client, Http3, Origin, all_versions};
use super::common::{Cluster, wait_until};
use super::{primaries, reconfigure};
use std::io::Write;

/// An origin that answers `/a/VALUE` with that `cache-control`.
fn origin() -> Origin {
    Origin::start(|seen, stream| {
        let value = seen.target.rsplit('/').next().unwrap_or_default();
        let length = value.len();
        let control = format!("Cache-Control: {value}\r\n");
        let control = if value == "none" { "" } else { &control };
        write!(stream, "HTTP/1.1 200 OK\r\n{control}Content-Length: {length}\r\n\r\n{value}")
    })
}

fn start(origin: &Origin, more: &[&str]) -> Cluster {
    Cluster::start(&[&["--origin", &origin.url()], more].concat())
}

#[test]
fn it_is_set_only_on_answers_that_no_cache_shares() {
    let origin = origin();
    let cluster = start(&origin, &["--servers", "2"]);
    for (version, mut client) in all_versions(cluster.router()) {
        for shared in ["none", "max-age=60", "public", "no-cache", "s-maxage=5"] {
            let answer = client.get(&format!("/a/{shared}"));
            assert_eq!(answer.must_be(200).cookie(), None, "{version} {shared}");
        }
        let answer = client.get("/a/private");
        let cookie = answer.cookie().expect("it is set on what is for one").to_owned();
        let whole = answer.needed("set-cookie").to_owned();
        for needed in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
            assert!(whole.contains(needed), "{version} {whole}");
        }
        // It is not given a second time to who has it.
        assert_eq!(client.get("/a/no-store").cookie(), None, "{version}");
        let shown = client.ask(&Ask::get("/a/no-store").with("cookie", &cookie));
        assert_eq!(shown.cookie(), None, "{version}");
    }
    let mut fresh = Http3::connect(cluster.router());
    assert!(fresh.get("/a/no-store").cookie().is_some());
}

#[test]
fn who_shows_it_is_the_same_client() {
    let origin = origin();
    let cluster = start(&origin, &[]);
    let cookie_of = |answer: &Answer| answer.cookie().expect("it is set").to_owned();
    let mut first = Http3::connect(cluster.router());
    let cookie = cookie_of(&first.get("/a/private"));
    let before = primaries(&cluster);
    assert_eq!(before.len(), 1, "{before:?}");
    for (version, mut client) in all_versions(cluster.router()) {
        let ask = Ask::get("/a/private").with("cookie", &format!("a=b; {cookie}; c=d"));
        assert_eq!(client.ask(&ask).text(), "private", "{version}");
        assert_eq!(primaries(&cluster), before, "{version}");
        let seen = origin.seen().pop().expect("it was asked");
        assert_eq!(seen.all("cookie"), ["a=b; c=d"], "{version}: the origin does not see it");
    }
    let only = Ask::get("/a/private").with("cookie", &cookie);
    first.ask(&only).must_be(200);
    assert_eq!(origin.seen().pop().expect("it was asked").all("cookie"), [""; 0]);
    // After the first connection has ended too.
    first.connection.close(0u32.into(), b"");
    drop(first);
    let mut again = Http3::connect(cluster.router());
    again.ask(&only).must_be(200);
    assert_eq!(primaries(&cluster), before);
    // Whoever shows none, or a broken one, is another client.
    let mut other = Http3::connect(cluster.router());
    let forged = format!("{}AAAA", &cookie[..cookie.len() - 4]);
    let answer = other.ask(&Ask::get("/a/private").with("cookie", &forged));
    assert_ne!(cookie_of(&answer), cookie);
    wait_until("there are two", || primaries(&cluster).len() == 2);
}

#[test]
fn it_is_not_set_where_that_is_turned_off() {
    let origin = origin();
    let state = tempfile::tempdir().expect("a temporary directory");
    let cluster = start(
        &origin,
        &["--servers", "2", "--state", state.path().to_str().expect("temporary paths are text")],
    );
    reconfigure(&cluster, state.path(), "router", |text| format!("cookies = false\n{text}"));
    for (version, mut client) in all_versions(cluster.router()) {
        for value in ["private", "no-store"] {
            let answer = client.get(&format!("/a/{value}"));
            assert_eq!(answer.must_be(200).field("set-cookie"), None, "{version}");
        }
    }
}
