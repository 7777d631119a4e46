//! What a client is told, and why it may not start.

use crate::wire::Name;
use bytes::Bytes;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Whom the client trusts to vouch for routers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The development CA that is part of the product. Its use is refused for routers beyond
    /// loopback, because everybody has its certificates.
    Bundled,
    /// The certificates in a PEM file.
    File(PathBuf),
    /// The certificates in this PEM text.
    Pem(Bytes),
}

/// Where the client keeps items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheConfig {
    /// In memory, for as long as the client lives.
    Memory {
        /// Bytes that are kept. Items that were asked for once go first, then those that were not
        /// asked for again for longest.
        max_bytes: u64,
    },
    /// In a directory, which outlives the process together with the client's token. One process
    /// at a time.
    Directory {
        /// Where; it is made if need be.
        path: PathBuf,
        /// Bytes that are kept, as in memory. So much the files take up, and while one is being
        /// written that one more; what the file system rounds up is not counted.
        max_bytes: u64,
        /// Of these, bytes that stay in memory as well.
        max_memory_bytes: u64,
    },
}

impl CacheConfig {
    /// A directory with the default budgets: 1 GiB, 64 MiB of it in memory.
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::Directory { path: path.into(), max_bytes: 1 << 30, max_memory_bytes: 64 << 20 }
    }
}

/// What a [`Client`](super::Client) is told. Start with [`ClientConfig::new`], then change fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The routers, tried in turn. With two or more, a router that falls silent while something is
    /// asked is left within about a quarter of a second (more where the round trip is long) for one
    /// that answers; the client is the same there if they share their token keys. With one, it is
    /// connected to anew.
    pub routers: Vec<SocketAddr>,
    /// The name that the routers' certificates must carry.
    pub server_name: String,
    /// Whom to trust.
    pub roots: Roots,
    /// The pool that is asked for; the router's first where there is none.
    pub pool: Option<Name>,
    /// Where items are kept.
    pub cache: CacheConfig,
    /// How long a get may take in all, reconnecting and asking again included.
    pub request_timeout: Duration,
    /// How long a connection may take to stand.
    pub connect_timeout: Duration,
    /// How often an idle connection is kept from being forgotten; `None` lets it be.
    pub keep_alive: Option<Duration>,
    /// After so much silence a connection counts as lost: what ends one on which nothing is asked,
    /// and one to a router of an earlier version, which cannot be asked whether it lives.
    pub idle_timeout: Duration,
    /// Items with more bytes than this are refused.
    pub max_body: u64,
    /// Asks again by itself when the pool is at its capacity, until the time of the get is up.
    pub retry_busy: bool,
}

impl ClientConfig {
    /// The defaults: a cache of 256 MiB in memory, the bundled CA, `localhost`.
    pub fn new(routers: Vec<SocketAddr>) -> Self {
        Self {
            routers,
            server_name: "localhost".to_owned(),
            roots: Roots::Bundled,
            pool: None,
            cache: CacheConfig::Memory { max_bytes: 256 << 20 },
            request_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(3),
            keep_alive: Some(Duration::from_secs(4)),
            idle_timeout: Duration::from_secs(9),
            max_body: 1 << 30,
            retry_busy: false,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConnectError> {
        let wrong = |what: &str| Err(ConnectError::Config { what: what.to_owned() });
        if self.routers.is_empty() {
            return wrong("no router is named");
        }
        if self.request_timeout.is_zero() || self.connect_timeout.is_zero() {
            return wrong("a timeout of nothing lets nothing be done");
        }
        if self.idle_timeout < Duration::from_secs(1) {
            return wrong("the idle timeout is below one second");
        }
        if self.keep_alive.is_some_and(|every| every.is_zero() || every >= self.idle_timeout) {
            return wrong("the keep-alive must be shorter than the idle timeout, and not zero");
        }
        if rustls_pki_types::ServerName::try_from(self.server_name.as_str()).is_err() {
            let what = format!("{:?} is neither a DNS name nor an address", self.server_name);
            return Err(ConnectError::Config { what });
        }
        let beyond = self.routers.iter().find(|router| !router.ip().is_loopback());
        match beyond.filter(|_| self.roots == Roots::Bundled) {
            None => Ok(()),
            Some(router) => {
                let what = format!(
                    "the bundled CA is trusted for routers on this machine only, and {router} is \
                     not on it; give the CA that signed its certificate"
                );
                Err(ConnectError::Config { what })
            }
        }
    }
}

/// Why a client did not start. Nothing was changed, but that a cache directory may have been made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The configuration contradicts itself. The caller's to mend.
    #[error("{what}")]
    Config {
        /// What is wrong with it.
        what: String,
    },
    /// The certificates that were to be trusted cannot be used. The caller's to mend.
    #[error("{what}")]
    Roots {
        /// What is wrong with them.
        what: String,
    },
    /// Another process has the cache directory.
    #[error("the cache {} is used by {}; give each process a directory of its own", path.display(),
        process.map_or_else(|| "another process".to_owned(), |id| format!("process {id}")))]
    CacheInUse {
        /// The directory.
        path: PathBuf,
        /// Which process, if it says.
        process: Option<u32>,
    },
    /// No router could be reached.
    #[error("no router could be reached: {}", list(attempts))]
    Unreachable {
        /// What became of each attempt.
        attempts: Vec<(SocketAddr, String)>,
    },
}

fn list(attempts: &[(SocketAddr, String)]) -> String {
    let lines = attempts.iter().map(|(address, why)| format!("{address}: {why}"));
    lines.collect::<Vec<_>>().join("; ")
}
