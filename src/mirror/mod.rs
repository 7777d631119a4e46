//! Mirrors: what servers know of clients' caches, and the decision that they are for.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod version;

pub use version::Version;
