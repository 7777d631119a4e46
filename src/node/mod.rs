//! The machines: router, server and client, without sockets, clocks, tasks or randomness.
//!
//! Inputs go in by `handle_*`, with the time as an argument; outputs come out by `poll_output`,
//! which the shell drains after every input. The shells in `net` and the simulator drive
//! the same machines.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod client;
mod fault;
pub mod router;
pub mod server;
pub mod slots;
#[cfg(test)]
mod spreading;

pub use fault::{Fault, Planted};
