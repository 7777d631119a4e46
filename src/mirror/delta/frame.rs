//! What a frame says of itself before anything is decoded (RFC 8878, section 3.1.1), so that no
//! memory is taken on the word of a few bytes.

use super::{DeltaError, MAX_WINDOW};

const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// The most that a block decodes to.
const MAX_BLOCK: u64 = 128 << 10;

/// Whether `delta` is exactly one frame, of a kind that `encode` makes, whose content is `length`
/// bytes long.
pub(super) fn check(delta: &[u8], length: usize) -> Result<(), DeltaError> {
    let mut rest = delta.strip_prefix(&MAGIC).ok_or(DeltaError::NotAFrame)?;
    let header = Header::read(&mut rest)?;
    let stated = header.content.ok_or(DeltaError::NoLength)?;
    if stated != length as u64 {
        return Err(DeltaError::OtherLength { stated, announced: length });
    }
    let window = header.window.unwrap_or(stated);
    if window > MAX_WINDOW {
        return Err(DeltaError::Window(window));
    }
    let most = skip_blocks(&mut rest)?;
    if most < stated {
        return Err(DeltaError::OtherLength { stated: most, announced: length });
    }
    if header.checksum {
        take(&mut rest, 4)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(DeltaError::Trailing(rest.len())) }
}

struct Header {
    /// `None`: as large as the content.
    window: Option<u64>,
    content: Option<u64>,
    checksum: bool,
}

impl Header {
    fn read(rest: &mut &[u8]) -> Result<Self, DeltaError> {
        let descriptor = number(rest, 1)?;
        let single_segment = descriptor & 0x20 != 0;
        let window = if single_segment { None } else { Some(window(number(rest, 1)?)) };
        if descriptor & 0x03 != 0 {
            return Err(DeltaError::NamesDictionary);
        }
        let content = match descriptor >> 6 {
            0 if single_segment => Some(number(rest, 1)?),
            0 => None,
            1 => Some(number(rest, 2)? + 256),
            2 => Some(number(rest, 4)?),
            _ => Some(number(rest, 8)?),
        };
        Ok(Self { window, content, checksum: descriptor & 0x04 != 0 })
    }
}

/// The window that a window descriptor stands for, in bytes.
fn window(descriptor: u64) -> u64 {
    let base = 1 << (10 + (descriptor >> 3));
    base + base / 8 * (descriptor & 0x07)
}

/// Passes over all blocks, and says to how many bytes they can decode at most.
fn skip_blocks(rest: &mut &[u8]) -> Result<u64, DeltaError> {
    let mut most = 0;
    loop {
        let header = number(rest, 3)?;
        let size = header >> 3;
        let (stored, decoded) = match header >> 1 & 0x03 {
            0 => (size, size),
            1 => (1, size),
            2 => (size, MAX_BLOCK),
            _ => return Err(DeltaError::Broken("a block of a kind that does not exist")),
        };
        // A size has 21 bits.
        take(rest, stored as usize)?;
        most += decoded;
        if header & 0x01 != 0 {
            return Ok(most);
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], DeltaError> {
    let (taken, left) = rest.split_at_checked(count).ok_or(DeltaError::CutShort)?;
    *rest = left;
    Ok(taken)
}

/// A number of at most eight bytes, the lowest one first.
fn number(rest: &mut &[u8], size: usize) -> Result<u64, DeltaError> {
    let bytes = take(rest, size)?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
