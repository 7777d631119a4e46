//! Bad bytes on streams that go one way: control, and the two of QPACK.

use super::Scene;
use super::raw::{MOST, Outcome, Raw, frame, frame_head, number, request};
use Outcome::{Closed, Status};

/// A control stream with settings, and what follows them.
fn control(rest: &[u8]) -> Vec<u8> {
    [&[0x00], &*frame(0x04, b""), rest].concat()
}

fn setting(identifier: u64, value: u64) -> Vec<u8> {
    [number(identifier), number(value)].concat()
}

/// Writes each stream on a connection of its own that has said nothing yet, and checks with which
/// code that ends.
fn check(cases: &[(&str, Vec<u8>, u64)]) {
    let mut scene = Scene::start();
    for (what, bytes, code) in cases {
        let raw = Raw::silent(scene.cluster.router());
        let _open = raw.one_way(bytes);
        assert_eq!(raw.closed(), Closed(*code), "{what}");
        scene.others_are_served(what);
    }
}

#[test]
fn bad_control_streams() {
    let twice = [setting(0x06, 1), setting(0x06, 1)].concat();
    let many: Vec<u8> = (0..100).flat_map(|at| setting(0x1000 + at, 0)).collect();
    check(&[
        ("no settings", [vec![0x00], frame(0x07, b"\x00")].concat(), 0x10a),
        ("an unknown frame before them", [vec![0x00], frame(0x21, b"")].concat(), 0x10a),
        ("settings twice", control(&frame(0x04, b"")), 0x105),
        ("a setting twice", [&[0x00], &*frame(0x04, &twice)].concat(), 0x109),
        ("a setting of HTTP/2", [&[0x00], &*frame(0x04, &setting(0x04, 1))].concat(), 0x109),
        ("many settings", [&[0x00], &*frame(0x04, &many)].concat(), 0x107),
        ("settings cut short", [&[0x00], &*frame(0x04, b"\x06")].concat(), 0x106),
        ("endless settings", [&[0x00], &*frame_head(0x04, MOST)].concat(), 0x107),
        ("content", control(&frame(0x00, b"a")), 0x105),
        ("a head", control(&frame(0x01, b"\x00\x00")), 0x105),
        ("a promise", control(&frame(0x05, b"\x00")), 0x105),
        ("a frame of HTTP/2", control(&frame(0x06, b"")), 0x105),
        ("a limit of pushes that falls", control(b"\x0d\x01\x05\x0d\x01\x04"), 0x108),
        ("a limit cut short", control(&frame(0x0d, b"")), 0x106),
        ("a limit and more", control(&frame(0x0d, b"\x05\x00")), 0x106),
        ("a goodbye that goes up", control(b"\x07\x01\x04\x07\x01\x08"), 0x108),
        ("a cancelled push", control(&frame(0x03, b"\x00")), 0x108),
        ("an endless unknown frame", control(&frame_head(0x21, MOST)), 0x107),
        ("an endless priority", control(&frame_head(0xf_0700, MOST)), 0x107),
        ("a push", vec![0x01], 0x103),
    ]);
}

#[test]
fn bad_streams_of_qpack() {
    check(&[
        ("an insert", b"\x02\xc0\x01a".to_vec(), 0x201),
        ("an insert with a name", b"\x02\x41a\x01b".to_vec(), 0x201),
        ("a duplicate", b"\x02\x00".to_vec(), 0x201),
        ("a capacity", b"\x02\x3f\x00".to_vec(), 0x201),
        ("an endless number", [&b"\x02\x3f"[..], &[0xff; 12]].concat(), 0x201),
        ("an acknowledgment", b"\x03\x80".to_vec(), 0x202),
        ("an increment", b"\x03\x01".to_vec(), 0x202),
        ("an endless cancellation", [&b"\x03\x7f"[..], &[0xff; 12]].concat(), 0x202),
    ]);
}

#[test]
fn streams_that_may_be_there_once_and_may_not_end() {
    let mut scene = Scene::start();
    let router = scene.cluster.router();
    for (what, first) in [("control", control(b"")), ("encoder", vec![2]), ("decoder", vec![3])] {
        let raw = Raw::silent(router);
        let _streams = [raw.one_way(&first), raw.one_way(&first)];
        assert_eq!(raw.closed(), Closed(0x103), "two of {what}");
        let raw = Raw::silent(router);
        raw.one_way(&first).finish().expect("it is open");
        assert_eq!(raw.closed(), Closed(0x104), "the end of {what}");
        let raw = Raw::silent(router);
        let mut stream = raw.one_way(&first);
        // It has a type before it is reset.
        assert_eq!(raw.ask(&request("GET", "/well", &[])), Status(200));
        stream.reset(0u32.into()).expect("it is open");
        assert_eq!(raw.closed(), Closed(0x104), "{what} is reset");
        scene.others_are_served(what);
    }
}

#[test]
fn streams_of_unknown_types_are_refused_and_do_no_harm() {
    let scene = Scene::start();
    let raw = Raw::connect(scene.cluster.router());
    for round in 0..20 {
        let stream = raw.one_way(&[&*number(0x21 + 0x1f * round), b"whatever"].concat());
        let stopped = super::clients::runtime().block_on(stream.stopped());
        assert_eq!(stopped.expect("it stands").map(u64::from), Some(0x103));
        assert_eq!(raw.ask(&request("GET", "/well", &[])), Status(200));
    }
}

#[test]
fn requests_do_not_wait_for_settings() {
    let mut scene = Scene::start();
    let raw = Raw::silent(scene.cluster.router());
    assert_eq!(raw.ask(&request("GET", "/well", &[])), Status(200));
    scene.others_are_served("a connection without settings");
}
