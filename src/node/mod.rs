//! The machines: pure state machines of the three roles. Input goes in by `handle_*`, output comes
//! out by `poll_*`; the clock, the sockets and the randomness belong to whoever drives them.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod client;
