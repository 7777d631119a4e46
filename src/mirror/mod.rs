//! Mirrors: what servers know of clients' caches, and the decision that they are for.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod decision;
pub mod delta;
pub mod fuzzing;
mod interner;
mod items;
mod store;
mod version;

pub use decision::{Verdict, decide};
pub use items::Items;
pub use store::{Held, Mirror, Store};
pub use version::Version;
