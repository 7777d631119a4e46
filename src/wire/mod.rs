//! Every byte that crosses a network or a disk: names, frames, tokens. `docs/protocol.md` states
//! them; the test vectors there are checked by `tests/protocol.rs`.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod backplane;
pub mod codec;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod gather;
pub mod headers;
pub mod http;
pub mod lane;
pub mod session;
pub mod time;
pub mod token;
pub mod types;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod strategies;

pub use codec::DecodeError;
pub use frame::{Frame, FrameType};
pub use headers::{HeaderBlock, HeaderName};
pub use time::Time;
pub use types::{Assignment, ClientId, Digest, Epoch, Fingerprint, Key, Name, Tag};
