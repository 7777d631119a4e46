//! The assignment table: who services whom, as all workers of a router see it at once.
//!
//! Every forwarded request reads it, and a takeover that one worker decides has to hold for the
//! next request of every other worker. So it is the one structure of the machines that is shared,
//! and the one that is lock-free: a read waits for nobody, whatever writers do.
//!
//! - [`Names`] gives each server a small number, so that
//! - an [`Entry`], all that is known of one client, is one 64-bit word, which is read and replaced
//!   as a whole;
//! - a [`Table`] is a fixed number of shards (`shard`), each a pointer to an array of `slots` that
//!   is replaced by a larger or a cleaner one while readers still read the old one (`pointer`).
//!
//! The algorithm of a shard is checked by [loom](https://docs.rs/loom) over every order in which
//! two threads may take turns, and many of three; `model.rs` has the models and the command.
//!
//! The only unsafe code is in `pointer.rs`. None of it turns numbers into pointers, so that Miri
//! can follow it all. The epochs of crossbeam do, and what they have not freed by the end of the
//! process is no leak, hence the flags:
//!
//! ```text
//! MIRIFLAGS="-Zmiri-permissive-provenance -Zmiri-ignore-leaks" \
//!     cargo +nightly miri test --no-default-features --lib assign::
//! ```

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod entry;
mod id;
mod names;
mod pointer;
mod shard;
mod slots;
mod sync;
mod table;

#[cfg(all(test, understudy_loom))]
mod model;
#[cfg(test)]
mod tests;

pub use entry::{Entry, MAX_SERVERS, ServerIndex, Title};
pub use names::Names;
pub use table::{Reader, Table};
