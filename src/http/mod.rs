//! What HTTP means, without a byte of how it travels: conditions, ranges, encodings, caching.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
