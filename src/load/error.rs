//! Why a run came to nothing.

use crate::node::client::printable;
use std::fmt;
use std::net::SocketAddr;

/// Why a run came to nothing, in one line that says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct LoadError {
    what: String,
}

impl LoadError {
    pub(super) fn new(what: &(impl fmt::Display + ?Sized)) -> Self {
        // Some of it may be a peer's words, and ends on a terminal.
        Self { what: printable(&what.to_string()) }
    }

    /// What is wrong with who listens, or does not, at an address.
    pub(super) fn at(address: SocketAddr, why: &str) -> Self {
        Self::new(&format!("{address}: {why}"))
    }

    /// Nobody waits for the result any more.
    pub(super) fn given_up() -> Self {
        Self::new("the run was given up")
    }
}
