//! Understudy: a QUIC edge router whose backup servers already know what every client has cached.
#![deny(rustdoc::broken_intra_doc_links)]

#[cfg(feature = "server")]
mod admin;
pub mod assign;
#[cfg(feature = "cli")]
pub mod cli;
pub mod cluster;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "server")]
pub mod h3;
pub mod http;
#[cfg(feature = "cli")]
mod load;
pub mod mirror;
#[cfg(feature = "net")]
mod net;
pub mod node;
#[cfg(feature = "cli")]
pub mod sim;
#[cfg(feature = "server")]
pub mod source;
pub mod wire;

/// Running a server in your own process.
#[cfg(feature = "server")]
pub mod server {
    pub use crate::net::router::StartError;
    pub use crate::net::server::{BuildError, Builder, Drainer, EmbeddedServer as Server};
}

/// Asking for items: the client library.
#[cfg(feature = "client")]
pub mod client {
    pub use crate::net::client::{
        Answered, CacheConfig, CallAnswered, CallReply, CallRequest, Client, ClientConfig,
        ConnectError, Details, Error, Failure, Pending, Reply, ReplyKind, Roots, Statistics,
        ValidatorKind, ValidatorPolicy,
    };
}
