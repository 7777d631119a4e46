//! What HTTP means, without a byte of how it travels: conditions, ranges, encodings, caching.
//!
//! The fields are those that `crate::wire::http` has checked; times are seconds since 1970.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod cache;
pub mod conditions;
pub mod control;
pub mod date;
pub mod encoding;
pub mod etag;
pub mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod list;
pub mod method;
pub mod range;
pub mod respond;
pub mod routes;
pub mod vary;
