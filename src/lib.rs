//! Understudy: a QUIC edge router whose backup servers already know what every client has cached.
#![deny(rustdoc::broken_intra_doc_links)]

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
pub mod config;
pub mod mirror;
#[cfg(feature = "net")]
mod net;
#[cfg(feature = "server")]
pub mod source;
pub mod wire;
