//! Frames of a lane: requests one way, replies the other, in any order.

mod body;
mod reply;
mod request;

pub use body::{Body, BodyStart, has_streamed_body, streamed_tag};
pub use reply::{ErrorCode, Outcome, Reply};
pub use request::{CALL_IDEMPOTENT, Get, MAX_SLOTS, Validator, is_idempotent};
