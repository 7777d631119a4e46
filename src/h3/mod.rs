//! HTTP/3 as bytes: frames, field sections, and the rules of its streams (RFC 9114, RFC 9204).

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
