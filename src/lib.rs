//! Understudy: a QUIC edge router whose backup servers already know what every client has cached.
#![deny(rustdoc::broken_intra_doc_links)]

pub mod mirror;
#[cfg(feature = "net")]
mod net;
pub mod node;
#[cfg(feature = "server")]
pub mod source;
pub mod wire;
