//! Deltas: a new version, told by what it shares with an old one.
//!
//! A delta is one Zstandard frame (RFC 8878) that was compressed with the old version's bytes as a
//! raw-content prefix, as `zstd --patch-from` and dictionary-compressed responses (`dcz`, RFC 9842)
//! have it: what follows the 40 bytes of the `dcz` header is this. A frame of ours states its
//! length, and its window is that length, so that all of the old version can be referred to up to
//! the end. A browser grants a window of 8 MiB or 1.25 times the dictionary, whichever is more:
//! what is to go there as `dcz` must be no longer than that.
//!
//! No checksum is in the frame: whoever decodes compares the tag (or, over HTTP, has TLS), for a
//! delta against another old version may well decode to something.

mod frame;

use bytes::Bytes;
use thiserror::Error;
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, ErrorCode};

/// Old and new are at most this long; longer ones have no delta. At this length `encode` takes 9
/// MiB and room for the delta, `decode` 0.2 MiB and room for `new`.
pub const MAX_INPUT: usize = 64 << 20;

/// Shorter ones have no delta: a request that was answered with one would save next to nothing.
pub const MIN_INPUT: usize = 64;

/// The largest window that a frame may need, in bytes: the most that a decoder of `dcz` grants. It
/// costs nothing here, for the bytes go straight to where they belong, but a frame that asks for
/// more is not one that `encode` made.
pub const MAX_WINDOW: u64 = 128 << 20;

/// The smallest window that Zstandard knows, as a power of two.
const MIN_WINDOW_LOG: u32 = 10;

/// From so many bytes of old and new together on less is searched.
const MEDIUM: usize = 1 << 20;

/// From so many on still less.
const LARGE: usize = 8 << 20;

const _: () = assert!(2 * MAX_INPUT as u64 <= MAX_WINDOW, "the window spans old and new");

/// Why a delta cannot be decoded. It is the fault of whoever sent it, if there is memory enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DeltaError {
    /// Nothing as long as this has a delta.
    #[error("a delta for {0} bytes, of which {MAX_INPUT} are allowed")]
    TooLong(usize),
    /// It does not begin as a frame does.
    #[error("a delta that is no Zstandard frame")]
    NotAFrame,
    /// It ends within its frame.
    #[error("a delta that is cut short")]
    CutShort,
    /// Bytes, or another frame, follow the frame.
    #[error("a delta with {0} bytes after its frame")]
    Trailing(usize),
    /// The frame names a dictionary by number.
    #[error("a delta that names a dictionary")]
    NamesDictionary,
    /// The frame does not say how long its content is.
    #[error("a delta that does not state its length")]
    NoLength,
    /// The content is not as long as was announced.
    #[error("a delta for {stated} bytes, where {announced} were announced")]
    OtherLength {
        /// What the frame states.
        stated: u64,
        /// What was announced.
        announced: usize,
    },
    /// The frame asks for a larger window than any may.
    #[error("a delta with a window of {0} bytes, of which {MAX_WINDOW} are allowed")]
    Window(u64),
    /// The frame's content is broken, or refers to more than the old version has.
    #[error("a delta that cannot be decoded: {0}")]
    Broken(&'static str),
}

impl DeltaError {
    fn broken(code: ErrorCode) -> Self {
        Self::Broken(zstd_safe::get_error_name(code))
    }
}

/// Whether a version of so many bytes may have a delta, or be what one is made from.
pub fn fits(length: usize) -> bool {
    (MIN_INPUT..=MAX_INPUT).contains(&length)
}

/// Makes a delta by which who has `old` gets `new`. `None` if that would not save a third of `new`,
/// if either is longer than [`MAX_INPUT`], or `new` is shorter than [`MIN_INPUT`].
///
/// The two must not overlap in memory: Zstandard would take what they share for overwritten, and
/// find less.
///
/// Takes time in proportion to `old` and `new`, up to some hundred milliseconds: not for an event
/// loop.
pub fn encode(old: &[u8], new: &[u8]) -> Option<Bytes> {
    if new.len() < MIN_INPUT || old.len().max(new.len()) > MAX_INPUT {
        return None;
    }
    let mut context = CCtx::try_create()?;
    for parameter in parameters(old.len(), new.len()) {
        context.set_parameter(parameter).expect("all parameters are within their bounds");
    }
    context.ref_prefix(old).expect("no frame is in progress");
    // What does not fit ends the work early.
    let mut delta = Vec::with_capacity(new.len() * 2 / 3);
    context.compress2(&mut delta, new).ok()?;
    let pays = delta.len() * 3 <= new.len() * 2;
    pays.then(|| delta.into_boxed_slice().into())
}

/// Long-distance matching finds what the versions share, at any level and at little cost; the level
/// says how hard to search for all else, within milliseconds for most, and at the highest speed for
/// the largest. (`benches/versions.rs` shows what comes of it.)
fn parameters(old: usize, new: usize) -> [CParameter; 3] {
    let both = old + new;
    let level = match both {
        LARGE.. => 1,
        MEDIUM.. => 3,
        _ => 7,
    };
    let window_log = both.next_power_of_two().ilog2().max(MIN_WINDOW_LOG);
    [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window_log),
        CParameter::EnableLongDistanceMatching(true),
    ]
}

/// What `delta` makes of `old`: exactly `length` bytes, the length that was announced, which the
/// caller has bounded. Whether they are the right ones only their tag can tell.
///
/// Takes the memory for `length` bytes, and only when the frame is whole, states this length and
/// has blocks enough to come to it; and less than 0.2 MiB more while it decodes. A window needs no
/// memory of its own, for the bytes are decoded to where they stay.
pub fn decode(old: &[u8], delta: &[u8], length: usize) -> Result<Bytes, DeltaError> {
    if length > MAX_INPUT {
        return Err(DeltaError::TooLong(length));
    }
    frame::check(delta, length)?;
    let mut context = DCtx::try_create().ok_or(DeltaError::Broken("no memory for a context"))?;
    context.ref_prefix(old).map_err(DeltaError::broken)?;
    let mut new = Vec::with_capacity(length);
    context.decompress(&mut new, delta).map_err(DeltaError::broken)?;
    if new.len() != length {
        return Err(DeltaError::OtherLength { stated: new.len() as u64, announced: length });
    }
    Ok(new.into())
}

#[cfg(test)]
mod tests;
