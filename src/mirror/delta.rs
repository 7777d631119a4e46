//! Differences between two versions: zstd, with the bytes of the old one as prefix.

use bytes::Bytes;
use zstd::zstd_safe::{CCtx, CParameter, DCtx};

/// Neither version may be larger.
pub const MAX_INPUT: usize = 16 << 20;
/// Smaller versions go out whole.
const MIN_INPUT: usize = 64;

/// Why a difference leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the difference leads to no version of {length} bytes")]
pub struct DeltaError {
    length: usize,
}

/// Whether a version of so many bytes may come as a difference, or be what one starts from.
pub fn fits(length: usize) -> bool {
    (MIN_INPUT..=MAX_INPUT).contains(&length)
}

/// The difference, if it saves at least a third.
pub fn encode(old: &[u8], new: &[u8]) -> Option<Bytes> {
    if !fits(old.len()) || !fits(new.len()) {
        return None;
    }
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(3)).ok()?;
    context.ref_prefix(old).ok()?;
    // Stops where it would not pay.
    let mut delta = vec![0; new.len() * 2 / 3];
    let length = context.compress2(&mut delta[..], new).ok()?;
    delta.truncate(length);
    Some(delta.into())
}

/// The version of `length` bytes that a difference leads to.
///
/// # Errors
/// It leads to none of that length. Nobody has room for more.
pub fn decode(old: &[u8], delta: &[u8], length: usize) -> Result<Bytes, DeltaError> {
    let wrong = || DeltaError { length };
    let mut context = DCtx::create();
    context.ref_prefix(old).map_err(|_| wrong())?;
    let mut new = vec![0; length];
    let found = context.decompress(&mut new[..], delta).map_err(|_| wrong())?;
    (found == length).then(|| new.into()).ok_or_else(wrong)
}
