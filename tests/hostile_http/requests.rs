//! Bad bytes on the streams of requests.

use super::Scene;
use super::raw::{MOST, Outcome, Raw, frame, frame_head, headers, pseudo, request, section};
use Outcome::{Closed, Reset, Status};

/// Sends each case on a connection of its own, and checks what comes of it.
fn check(cases: &[(&str, Vec<u8>, &[Outcome])]) {
    let mut scene = Scene::start();
    let router = scene.cluster.router();
    let before = scene.origin.seen().len();
    for (count, (what, bytes, expected)) in cases.iter().enumerate() {
        let outcome = Raw::connect(router).ask(bytes);
        assert!(expected.contains(&outcome), "{what}: {outcome:x?} is not of {expected:x?}");
        scene.others_are_served(what);
        let seen = scene.origin.seen();
        let bad: Vec<_> = seen.iter().filter(|seen| seen.target != "/well").collect();
        assert!(bad.is_empty(), "{what}: {bad:?}");
        assert!(seen.len() >= before + count);
    }
}

#[test]
fn lengths_that_are_lies() {
    let post = request("POST", "/bad", &[("content-length", "5")]);
    let after = |frame: &[u8]| [&*post, frame].concat();
    check(&[
        ("a section of 2^62-1 bytes", frame_head(0x01, MOST), &[Status(431)]),
        ("an unknown frame of as many", frame_head(0x21, MOST), &[Closed(0x107)]),
        ("trailers of as many", after(&frame_head(0x01, MOST)), &[Reset(0x107), Reset(0x10e)]),
        (
            "a frame that is cut short",
            frame(0x01, &section(&pseudo("GET", "/bad")))[..9].to_vec(),
            &[Closed(0x106)],
        ),
        ("nothing", Vec::new(), &[Reset(0x10d)]),
        ("too little content", after(&frame(0x00, b"abc")), &[Reset(0x10e), Status(400)]),
        ("too much content", after(&frame(0x00, b"abcdef")), &[Reset(0x10e), Status(400)]),
        ("no content", post.clone(), &[Reset(0x10e), Status(400)]),
    ]);
}

#[test]
fn sections_that_unfold_or_lead_nowhere() {
    let many: Vec<_> = std::iter::repeat_n(("a", ""), 300).collect();
    let long = "a".repeat(20_000);
    // One reference of a byte for each copy of a field of the static table.
    let copies = [section(&pseudo("GET", "/bad")), vec![0xc0 | 29; 12_000]].concat();
    let with = |bytes: &[u8]| frame(0x01, &[&section(&pseudo("GET", "/bad")), bytes].concat());
    check(&[
        ("many fields", request("GET", "/bad", &many), &[Status(431)]),
        ("a long field", request("GET", "/bad", &[("a", &long)]), &[Status(431)]),
        ("a field many times", frame(0x01, &copies), &[Status(431)]),
        ("a needed insert", frame(0x01, b"\x02\x00\xd1"), &[Closed(0x200)]),
        ("a dynamic entry", with(b"\x80"), &[Closed(0x200)]),
        ("an entry behind the base", with(b"\x10"), &[Closed(0x200)]),
        ("a dynamic name", with(b"\x40\x01a"), &[Closed(0x200)]),
        ("a name behind the base", with(b"\x00\x01a"), &[Closed(0x200)]),
        ("no such static entry", with(b"\xff\x24"), &[Closed(0x200)]),
        (
            "a number without end",
            with(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            &[Closed(0x200)],
        ),
        ("a text without its end", with(b"\x21a\x7f\x10abc"), &[Closed(0x200)]),
        ("the end of strings in a text", with(b"\x21a\x84\xff\xff\xff\xff"), &[Closed(0x200)]),
        ("padding of zeros in a text", with(b"\x21a\x81\x18"), &[Closed(0x200)]),
    ]);
}

#[test]
fn pseudo_headers_that_are_wrong() {
    let good = pseudo("GET", "/bad");
    let without = |name| good.iter().copied().filter(|(found, _)| *found != name).collect();
    let with = |line| [&good[..], &[line]].concat();
    let instead = |name, value| {
        let changed = |(found, old)| (found, if found == name { value } else { old });
        good.iter().copied().map(changed).collect()
    };
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no authority", without(":authority")),
        ("no path", without(":path")),
        ("two methods", with((":method", "GET"))),
        ("two schemes", with((":scheme", "https"))),
        ("two authorities", with((":authority", "localhost"))),
        ("two paths", with((":path", "/bad"))),
        ("an unknown one", with((":other", "a"))),
        ("a status", with((":status", "200"))),
        ("a late one", vec![good[0], good[1], good[2], ("a", "b"), good[3]]),
        ("another host", with(("host", "other"))),
        ("an empty path", instead(":path", "")),
        ("a relative path", instead(":path", "bad")),
        ("a path with a space", instead(":path", "/bad HTTP/1.1")),
        ("a path with a line", instead(":path", "/bad\r\nx: y")),
        ("a star", instead(":path", "*")),
        ("another scheme", instead(":scheme", "ftp")),
        ("an empty authority", instead(":authority", "")),
        ("a user", instead(":authority", "user@localhost")),
        ("an authority with a line", instead(":authority", "a\r\nx: y")),
        ("an authority with a path", instead(":authority", "a/b")),
        ("a method with a space", instead(":method", "GET /other")),
        ("an empty method", instead(":method", "")),
        ("nothing but fields", vec![("a", "b")]),
    ];
    let expected: &[Outcome] = &[Status(400)];
    let cases = cases.into_iter().map(|(what, lines)| (what, headers(&lines), expected));
    check(&cases.collect::<Vec<_>>());
}

#[test]
fn fields_that_are_wrong() {
    let lines = [
        ("Upper", "a"),
        ("a b", "a"),
        ("a:", "a"),
        ("", "a"),
        ("a\0", "a"),
        ("\u{e9}", "a"),
        ("a", "b\rc"),
        ("a", "b\nc"),
        ("a", "b\r\nx-smuggled: c"),
        ("a", "b\0c"),
        ("a", "\x7f"),
        ("connection", "close"),
        ("connection", "a"),
        ("keep-alive", "5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("content-length", "abc"),
        ("content-length", "-1"),
        ("content-length", "+1"),
        ("content-length", "0x1"),
        ("content-length", ""),
        ("content-length", "1, 2"),
        ("content-length", "99999999999999999999999"),
    ];
    let expected: &[Outcome] = &[Status(400)];
    let mut cases: Vec<_> =
        lines.iter().map(|line| (line.0, request("POST", "/bad", &[*line]), expected)).collect();
    let two = [("content-length", "1"), ("content-length", "2")];
    cases.push(("two lengths", request("POST", "/bad", &two), expected));
    let two = [("host", "localhost"), ("host", "localhost")];
    cases.push(("two hosts", request("POST", "/bad", &two), expected));
    check(&cases);
}

#[test]
fn what_is_not_offered() {
    let connect = [(":method", "CONNECT"), (":authority", "localhost:80")];
    let extended = [&pseudo("CONNECT", "/bad")[..], &[(":protocol", "websocket")]].concat();
    let protocol = [&pseudo("GET", "/bad")[..], &[(":protocol", "websocket")]].concat();
    let mixed = pseudo("CONNECT", "/bad");
    check(&[
        ("CONNECT", headers(&connect), &[Status(501)]),
        ("extended CONNECT", headers(&extended), &[Status(501)]),
        ("CONNECT to a path", headers(&mixed), &[Status(400)]),
        ("a protocol without CONNECT", headers(&protocol), &[Status(400)]),
        ("a long method", request(&"A".repeat(40), "/bad", &[]), &[Status(501)]),
        ("a long target", request("GET", &format!("/{}", "a".repeat(5000)), &[]), &[Status(414)]),
    ]);
}

#[test]
fn frames_that_do_not_belong_there() {
    let head = request("POST", "/bad", &[]);
    let trailers = headers(&[("a", "b")]);
    let data = frame(0x00, b"abc");
    let ended = [&*head, &data, &trailers].concat();
    let mut cases: Vec<(String, Vec<u8>, &[Outcome])> = vec![
        ("content before the head".to_owned(), data.clone(), &[Closed(0x105)]),
        (
            "content behind trailers".to_owned(),
            [&*ended, &data].concat(),
            &[Closed(0x105), Reset(0x10e)],
        ),
        (
            "trailers behind trailers".to_owned(),
            [&*ended, &trailers].concat(),
            &[Closed(0x105), Reset(0x10e)],
        ),
        (
            "a pseudo-header in trailers".to_owned(),
            [&*head, &data, &headers(&[(":path", "/other")])].concat(),
            &[Reset(0x10e), Status(400)],
        ),
    ];
    for kind in [0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0d, 0xf_0700] {
        cases.push((format!("{kind:x}"), frame(kind, b"\x01\x00"), &[Closed(0x105)]));
    }
    let cases: Vec<_> = cases.iter().map(|case| (&*case.0, case.1.clone(), case.2)).collect();
    check(&cases);
}

#[test]
fn what_looks_odd_and_is_right() {
    let mut scene = Scene::start();
    let raw = Raw::connect(scene.cluster.router());
    let get = request("GET", "/well", &[]);
    let post = request("POST", "/well", &[("content-length", "3, 3"), ("content-length", "3")]);
    let grease = frame(0x21 + 0x1f * 5, b"of no kind");
    for (what, bytes) in [
        ("frames of unknown kinds", [&*grease, &get, &grease].concat()),
        ("content in pieces", [&*post, &frame(0, b"a"), &frame(0, b""), &frame(0, b"bc")].concat()),
        ("content of a GET", [&*get, &frame(0x00, &[b'a'; 1000])].concat()),
        ("trailers of a GET", [&*get, &headers(&[("a", "b")])].concat()),
        ("te", request("GET", "/well", &[("te", "trailers")])),
        ("the host too", request("GET", "/well", &[("host", "localhost")])),
    ] {
        assert_eq!(raw.ask(&bytes), Status(200), "{what}");
        scene.others_are_served(what);
    }
    // It is answered although its content never ends.
    assert_eq!(raw.ask_open(&[&*get, &frame_head(0, MOST)].concat()), Status(200));
}
