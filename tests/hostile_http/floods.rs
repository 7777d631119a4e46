//! More of something than anybody needs.

use super::Scene;
use super::clients::runtime;
use super::common::wait_until;
use super::raw::{Outcome, Raw, frame, frame_head, headers, pseudo, request};
use Outcome::{Closed, Status};
use quinn::{RecvStream, SendStream};

/// Growth that is nobody's fault: of what is kept for the next connection, and of the allocator.
const ROOM_KIB: u64 = 8 << 10;

#[test]
fn floods_of_frames_that_bring_nothing() {
    let mut scene = Scene::start();
    let post = request("POST", "/bad", &[]);
    let settings = [&[0x00], &*frame(0x04, b"")].concat();
    let priority = frame(0xf_0700, b"\x00u=3");
    let cases = [
        ("empty content", post.clone(), frame(0x00, b"")),
        ("empty frames", Vec::new(), frame(0x21, b"")),
        ("frames of HTTP's future", post, frame(0x21, &[0; 200])),
    ];
    for (what, start, one) in &cases {
        let raw = Raw::connect(scene.cluster.router());
        let (_send, _receive) = raw.begin(&[&**start, &one.repeat(2000)].concat());
        assert_eq!(raw.closed(), Closed(0x107), "{what}");
        scene.others_are_served(what);
    }
    for (what, one) in [
        ("priorities", &*priority),
        ("empty frames", &*frame(0x21, b"")),
        ("limits", &*frame(0x0d, b"\x05")),
    ] {
        let raw = Raw::silent(scene.cluster.router());
        let _open = raw.one_way(&[&*settings, &one.repeat(2000)].concat());
        assert_eq!(raw.closed(), Closed(0x107), "{what} on the control stream");
        scene.others_are_served(what);
    }
    for (what, bytes) in [("capacities", b"\x02\x20"), ("cancellations", b"\x03\x40")] {
        let raw = Raw::silent(scene.cluster.router());
        let _open = raw.one_way(&[&bytes[..1], &bytes[1..].repeat(2000)].concat());
        assert_eq!(raw.closed(), Closed(0x107), "{what}");
        scene.others_are_served(what);
    }
}

/// Takes requests back until the router has had enough.
fn take_back(scene: &Scene, take: impl Fn(SendStream, RecvStream)) {
    let raw = Raw::connect(scene.cluster.router());
    for at in 0..2000 {
        let bytes = request("GET", &format!("/never/{at}"), &[]);
        let begun = runtime().block_on(async {
            let (mut send, receive) = raw.connection.open_bi().await.ok()?;
            send.write_all(&bytes).await.ok()?;
            Some((send, receive))
        });
        match begun {
            Some((send, receive)) => take(send, receive),
            None => break,
        }
    }
    assert_eq!(raw.closed(), Closed(0x107));
}

#[test]
fn requests_that_are_taken_back() {
    let mut scene = Scene::start();
    // Each fails where the router has closed the connection.
    take_back(&scene, |mut send, mut receive| {
        let _ = send.finish();
        let _ = receive.stop(0x10c_u32.into());
    });
    scene.others_are_served("requests that nobody wants answered");
    take_back(&scene, |mut send, mut receive| {
        let _ = send.reset(0x10c_u32.into());
        let _ = receive.stop(0x10c_u32.into());
    });
    scene.others_are_served("requests that are reset at once");
    // What reached the origin was given up there too.
    wait_until("nothing is left under way", || {
        let asked = scene.origin.seen().iter().filter(|it| it.target != "/well").count();
        scene.origin.closed() >= asked
    });
}

#[test]
fn slow_heads_and_bodies_stop_nobody() {
    let mut scene = Scene::start();
    let raws: Vec<_> = (0..5).map(|_| Raw::connect(scene.cluster.router())).collect();
    let head = request("GET", "/bad", &[]);
    let post = request("POST", "/well", &[("content-length", "5")]);
    let mut open = Vec::new();
    for raw in &raws {
        for at in 0..90 {
            let bytes = if at % 2 == 0 { &head[..at / 3 + 1] } else { &post };
            open.push(raw.begin(bytes));
            if at % 30 == 0 {
                scene.others_are_served("many slow requests");
            }
        }
        assert_eq!(raw.ask(&request("GET", "/well", &[])), Status(200), "the last places");
    }
    scene.others_are_served("all of them");
    assert!(scene.origin.seen().iter().all(|seen| seen.target == "/well"));
}

/// One of many connections that do harm each in its own way.
fn harm(scene: &Scene, round: usize) {
    let router = scene.cluster.router();
    let large = "a".repeat(15_000);
    match round % 8 {
        0 => drop(Raw::connect(router).ask(&frame_head(0x01, (1 << 62) - 1))),
        1 => drop(Raw::connect(router).ask(&frame(0x01, b"\x02\x00\xd1"))),
        2 => drop(Raw::connect(router).ask(&request("GET", "/well", &[("a", &large)]))),
        3 => {
            let half = request("GET", "/well", &[("a", &large)]);
            let raw = Raw::connect(router);
            drop((0..20).map(|_| raw.begin(&half[..10_000])).collect::<Vec<_>>());
        }
        4 => {
            let raw = Raw::silent(router);
            drop([raw.one_way(&[0x00, 0x04, 0x00]), raw.one_way(&[0x00, 0x04, 0x00])]);
            raw.closed();
        }
        5 => drop(Raw::connect(router).ask(&headers(&pseudo("GET", "bad")))),
        6 => {
            let raw = Raw::connect(router);
            let post = request("POST", "/well", &[("content-length", "100000")]);
            drop(
                (0..5)
                    .map(|_| raw.begin(&[&*post, b"\x00\x40\x40ab"].concat()))
                    .collect::<Vec<_>>(),
            );
        }
        _ => {
            let raw = Raw::connect(router);
            drop((0..20).map(|_| raw.begin(&request("GET", "/never", &[]))).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_thousand_hostile_connections_leave_nothing_behind() {
    let mut scene = Scene::start();
    // What one keeps for good, as pools and buffers, is there after the first few hundred.
    (0..400).for_each(|round| harm(&scene, round));
    scene.others_are_served("the first few hundred");
    let before = scene.resident_kib();
    (0..1000).for_each(|round| harm(&scene, round));
    scene.others_are_served("a thousand more");
    wait_until("memory is given back", || scene.resident_kib() <= before + ROOM_KIB);
}
