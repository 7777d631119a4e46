//! Frames of a lane: requests one way, replies the other, in any order.

mod body;
mod reply;
mod request;

pub use body::{Body, BodyStart};
pub use reply::{ErrorCode, Outcome, Reply};
pub use request::{Get, MAX_SLOTS, Validator, answer_reserved};
