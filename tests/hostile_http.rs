//! Clients of HTTP that mean no good, against one router.
//!
//! Whatever a client sends, the router says what is wrong or ends the stream or the connection with
//! the right code, other clients are served meanwhile, and its memory stays what it was.

// The rules of the pure core are not for tests of processes.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "http/clients/mod.rs"]
mod clients;
mod common;
#[path = "hostile_http/control.rs"]
mod control;
#[path = "hostile_http/floods.rs"]
mod floods;
#[path = "hostile_http/http1.rs"]
mod http1;
#[path = "hostile_http/raw.rs"]
mod raw;
#[path = "hostile_http/requests.rs"]
mod requests;

use clients::{Client, Http3, Origin};
use common::Cluster;
use std::io::Write;

/// A router, an origin, and a client that means well.
struct Scene {
    origin: Origin,
    cluster: Cluster,
    other: Http3,
}

impl Scene {
    fn start() -> Self {
        let origin = Origin::start(|seen, stream| {
            if seen.target.starts_with("/never") {
                // Until the other side has closed.
                std::io::copy(&mut stream.try_clone()?, &mut std::io::sink())?;
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        });
        let cluster = Cluster::start(&["--servers", "1", "--origin", &origin.url()]);
        let mut other = Http3::connect(cluster.router());
        other.get("/well").must_be(200);
        Self { origin, cluster, other }
    }

    /// Checks that another client is served as if nothing had happened.
    #[track_caller]
    fn others_are_served(&mut self, after: &str) {
        let answer = self.other.try_ask(&clients::Ask::get("/well"));
        let answer = answer.unwrap_or_else(|why| panic!("after {after}: {why}"));
        assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]), "after {after}");
    }

    /// What the router holds of memory, in KiB.
    fn resident_kib(&self) -> u64 {
        let pid = self.cluster.process("router").pid;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.expect("the system says how much")
    }
}
