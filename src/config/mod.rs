//! What routers and servers are told: TOML files, read into plain data that has been checked.
//!
//! [`load()`] reads a file of either kind, [`load_router`] and [`load_server`] one that must be of
//! the named kind. A file with problems yields none of its data but all of its problems, each with
//! its line and what to do about it. Relative paths are relative to the file that has them.
//!
//! # A router
//!
#![doc = concat!("```toml\n", include_str!("example-router.toml"), "```")]
//!
//! # A server
//!
#![doc = concat!("```toml\n", include_str!("example-server.toml"), "```")]
//!
//! `seeds` may stand at the top of a file or in its `[backplane]`. Each is `"address:port"`,
//! `"name:port"`, or `"dns:name:port"` for a member at each address of a name; names are looked up
//! again every ten seconds. A member that listens on all addresses (`0.0.0.0`) and does not say
//! what to advertise is told of by the address from which it reached the first other member. A
//! router without `listen` in its `[backplane]` dials the others, and cannot be the seed of any.
//! Listening where other machines can reach it, or dialling them, is refused with the certificates
//! that are [`bundled`].
//!
//! The file of an `[access_log]` may be moved, removed or truncated while the router runs, which
//! goes on in a file at the same path within a second. Entries that cannot be written are lost, and
//! counted by the metric `understudy_access_log_entries_total`.

#![forbid(unsafe_code)]

#[cfg(feature = "server")]
mod access_log;
pub mod bundled;
#[cfg(feature = "server")]
mod document;
mod files;
#[cfg(feature = "server")]
mod load;
#[cfg(feature = "server")]
mod origin;
#[cfg(feature = "server")]
mod pools;
#[cfg(feature = "server")]
mod problem;
#[cfg(feature = "server")]
mod router;
#[cfg(feature = "server")]
mod section;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod shared;
#[cfg(all(test, feature = "server"))]
mod tests;
#[cfg(feature = "server")]
mod values;

#[cfg(feature = "cli")]
pub(crate) use files::write_whole;
pub(crate) use files::{MAX_PEM_FILE, read_bounded};
#[cfg(feature = "cli")]
pub(crate) use load::{Located, load_located};
#[cfg(feature = "server")]
pub(crate) use pools::routes;
#[cfg(feature = "cli")]
pub(crate) use server::{DEFAULT_VERIFY_MS, MAX_TTL_MS};
#[cfg(feature = "server")]
pub use {
    access_log::{AccessLogConfig, AccessLogFormat},
    load::{Config, load, load_router, load_server},
    origin::{OriginUrl, OriginUrlError},
    pools::RouterPool,
    problem::{ConfigErrors, Problem},
    router::{RouterConfig, RouterLimits, TokenKeyBytes},
    server::{Freshness, ServerConfig, ServerPool, SourceConfig},
    shared::{BackplaneFiles, MAX_WORKERS, TlsFiles, worker_count},
    values::PeerAddress,
};
