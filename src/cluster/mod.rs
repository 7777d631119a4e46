//! What routers and servers know of the servers, and how they choose among them.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod board;
mod choice;
mod policy;
mod tally;

pub use board::{Board, Member};
pub use choice::{Choice, Weighed};
pub use policy::Policy;
pub use tally::{Count, Tally};
