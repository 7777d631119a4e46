//! What routers and servers know of each other, and how they choose among the servers.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod board;
mod choice;
#[cfg(feature = "server")]
pub mod membership;
mod policy;
mod tally;

pub use board::{Board, Member};
pub use choice::{Choice, Weighed};
pub use policy::Policy;
pub use tally::{Count, Tally};
