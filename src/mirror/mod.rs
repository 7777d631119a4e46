//! Mirrors: what servers know of clients' caches, and the decision that they are for.
//!
//! The only unsafe code is in `arena/page.rs`, where payloads are written.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod arena;
mod clock;
pub mod codings;
mod decision;
pub mod delta;
mod deltas;
mod freshness;
pub mod fuzzing;
mod interner;
mod items;
mod makings;
mod payloads;
mod store;
mod version;

pub use arena::{Arena, MAX_PAYLOAD};
pub use codings::{Coded, CodedForm, Coding, Codings};
pub use decision::{Verdict, decide};
pub use deltas::{Deltas, Difference, Pair};
pub use freshness::{Freshness, Lease};
pub use items::Items;
pub use makings::{Making, Makings, Size};
pub use store::{Held, Mirror, Store};
pub use version::{Known, Response, Version};
