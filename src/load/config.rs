//! What a run is told, checked already.

use crate::wire::{Key, Name};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Connections that one run makes, at the most.
pub(crate) const MAX_CONNECTIONS: usize = 100_000;
/// Requests in flight on one connection, at the most.
pub(crate) const MAX_IN_FLIGHT: usize = 65_536;
/// Threads that make load, at the most.
pub(crate) const MAX_WORKERS: usize = 256;
/// Keys of one run, at the most: a slot for each.
pub(crate) const MAX_KEYS: usize = 1 << 20;
/// Longest time that is measured, and longest warm-up: a run always ends.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

const _: () = assert!(MAX_KEYS as u64 <= crate::wire::lane::MAX_SLOTS, "each key has a slot");
const _: () = assert!(MAX_IN_FLIGHT <= MAX_KEYS, "each request in flight has a slot");

/// What a run is told.
#[derive(Clone, Debug)]
pub(crate) struct LoadConfig {
    /// Who is asked.
    pub(crate) target: Target,
    /// Whom to believe that the target is who it should be.
    pub(crate) trust: Trust,
    /// The name in the target's certificate.
    pub(crate) server_name: String,
    /// What is asked.
    pub(crate) mode: Mode,
    /// Which items.
    pub(crate) keys: KeyChoice,
    /// What is said of copies.
    pub(crate) claim: Claim,
    /// Connections that are open at a time, 1 to [`MAX_CONNECTIONS`].
    pub(crate) connections: usize,
    /// Requests in flight on each, 1 to [`MAX_IN_FLIGHT`].
    pub(crate) in_flight: usize,
    /// Requests a second in all, planned ahead; `None` asks again as soon as there is an answer.
    pub(crate) rate: Option<f64>,
    /// Load before anything is measured.
    pub(crate) warmup: Duration,
    /// How long is measured.
    pub(crate) duration: Duration,
    /// Threads that make load, at most one for each connection.
    pub(crate) workers: usize,
    /// Processes whose CPU time is measured.
    pub(crate) pids: Vec<u32>,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Routers, by the native protocol; connections are spread over them.
    Routers {
        /// Where they listen, at least one.
        addresses: Vec<SocketAddr>,
        /// The pool; the router's first where none is named.
        pool: Option<Name>,
    },
    /// An HTTP/3 server.
    Http3 {
        /// Where it listens.
        address: SocketAddr,
        /// Its name and port, as they stand in the URL.
        authority: String,
        /// What stands before each key, such as `/files`; empty most of the time.
        prefix: String,
    },
}

impl Target {
    /// Where connection number `connection` goes at its attempt number `attempt`.
    pub(crate) fn address(&self, connection: usize, attempt: usize) -> SocketAddr {
        match self {
            Self::Routers { addresses, .. } => {
                addresses[connection.wrapping_add(attempt) % addresses.len()]
            }
            Self::Http3 { address, .. } => *address,
        }
    }
}

/// Whom to believe that the target is who it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The bundled development CA; for this machine only.
    Bundled,
    /// The CAs in a PEM file.
    File(PathBuf),
    /// Anybody.
    Anybody,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Items that the client holds and that have not changed.
    UseCached,
    /// Items of which the client holds nothing, so that they come whole.
    Full,
    /// 80% of the first kind, 10% of the second, 10% that are asked for by a new key.
    Mixed,
    /// Handshakes: a connection is made, greeted, and closed.
    Connect,
    /// Frames that the peer sends back as they are. Measures the generator and the transport.
    Echo,
}

impl Mode {
    /// Its name on the command line and in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UseCached => "use-cached",
            Self::Full => "full",
            Self::Mixed => "mixed",
            Self::Connect => "connect",
            Self::Echo => "echo",
        }
    }

    /// Whether it asks for items.
    pub(crate) fn needs_keys(self) -> bool {
        matches!(self, Self::UseCached | Self::Full | Self::Mixed)
    }
}

/// What is said of copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing: the mirror decides.
    None,
    /// CRC and length.
    Crc,
    /// CRC and digest.
    Strong,
}

/// Which items are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyChoice {
    /// So many of those that the target lists.
    Listed(usize),
    /// These, at least one.
    Named(Vec<Key>),
}
