//! Frames of a lane: requests one way, replies the other, in any order.

mod batch;
mod body;
mod call;
mod reply;
mod request;

pub use batch::{
    BATCH_VERSION, Batch, BatchRest, Inventory, InventoryEntry, MAX_BATCH, MAX_BATCH_REST,
    MAX_INVENTORY, SlotRange, Unchanged, UnchangedHash,
};
pub use body::{Body, BodyStart, has_streamed_body, streamed_tag};
pub(in crate::wire) use call::decode_status;
pub use call::{CALL_IDEMPOTENT, CALL_VERSION, Call, MAX_STATUS, MIN_STATUS, is_idempotent};
pub use reply::{ErrorCode, Outcome, Reply};
pub use request::{Get, MAX_SLOTS, Validator};
