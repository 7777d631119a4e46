//! Field sections without a dynamic table (RFC 9204, section 4.5).
//!
//! We announce a capacity of 0, so that every section can be decoded when it is there, and no
//! client makes us remember anything. What refers to a dynamic table all the same cannot be
//! decoded, and ends the connection.
//!
//! Decoding hands out each field where it stands: in the table, in the section, or, when it is
//! Huffman-coded, in one buffer that is used again for the next field. Sizes are counted while that
//! goes on, so that a short section cannot unfold into something large.

use super::error::{Code, Error};
use super::huffman::{self, HuffmanError};
use super::integer::{IntegerTooLarge, peek_integer, put_integer};
use super::static_table::{Found, STATIC_ENTRIES, STATIC_TABLE, find, find_pseudo, find_status};
use crate::wire::http::{MAX_AUTHORITY, MAX_FIELDS, MAX_FIELDS_BYTES, MAX_METHOD, MAX_TARGET};
use bytes::{BufMut, BytesMut};

/// Largest field section, in bytes, both as it goes over the wire and as RFC 9114, section 4.2.2,
/// counts it.
pub const MAX_FIELD_SECTION_SIZE: usize = 32 * 1024;
/// Fields and pseudo-headers of a section, at the most. Browsers may send each cookie as a field of
/// its own, so there are more than a message has in the end.
pub const MAX_FIELD_LINES: usize = 256;
/// Bytes that each field counts for beside its name and value (RFC 9114, section 4.2.2).
pub const FIELD_OVERHEAD: usize = 32;

const _: () = assert!(
    MAX_FIELD_SECTION_SIZE
        >= MAX_FIELDS_BYTES
            + MAX_TARGET
            + MAX_AUTHORITY
            + MAX_METHOD
            + (MAX_FIELDS + 8) * FIELD_OVERHEAD,
    "what fits a message must fit a section"
);
const _: () = assert!(MAX_FIELD_LINES >= MAX_FIELDS + 8);

/// How much a field section may unfold to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all names and values, and [`FIELD_OVERHEAD`] for each field.
    pub size: usize,
    /// Fields and pseudo-headers.
    pub count: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: MAX_FIELD_SECTION_SIZE, count: MAX_FIELD_LINES }
    }
}

/// Why a section could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionError {
    /// It is not a section, or needs a dynamic table. Ends the connection.
    Undecodable(&'static str),
    /// It is above one of its limits.
    TooLarge,
}

impl From<SectionError> for Error {
    fn from(error: SectionError) -> Self {
        match error {
            SectionError::Undecodable(why) => Self::connection(Code::QpackDecompressionFailed, why),
            SectionError::TooLarge => Self::stream(Code::ExcessiveLoad, "a field section is large"),
        }
    }
}

impl From<HuffmanError> for SectionError {
    fn from(error: HuffmanError) -> Self {
        match error {
            HuffmanError::EndOfString => Self::Undecodable("the end of a string stands in it"),
            HuffmanError::Padding => Self::Undecodable("a string is padded wrongly"),
            HuffmanError::TooLong => Self::TooLarge,
        }
    }
}

/// Bytes that a Huffman-coded field of a browser rarely has more of.
const USUAL_SCRATCH: usize = 512;

impl From<IntegerTooLarge> for SectionError {
    fn from(_: IntegerTooLarge) -> Self {
        Self::Undecodable("a number is too large")
    }
}

const CUT_SHORT: SectionError = SectionError::Undecodable("a field section is cut short");
const DYNAMIC: SectionError = SectionError::Undecodable("there is no dynamic table to refer to");

/// Decodes a section, and calls `visit` with each name and value in order.
///
/// # Errors
/// Those of the section as soon as they are found, or the first one of `visit`. Fields before it
/// have been visited.
pub fn decode<E: From<SectionError>>(
    section: &[u8],
    limits: Limits,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = section;
    read_prefix(&mut rest)?;
    let mut scratch = Vec::new();
    let Limits { size: mut room, mut count } = limits;
    while !rest.is_empty() {
        scratch.clear();
        count = count.checked_sub(1).ok_or(SectionError::TooLarge)?;
        room = room.checked_sub(FIELD_OVERHEAD).ok_or(SectionError::TooLarge)?;
        let (name, value) = read_line(&mut rest, room, &mut scratch)?;
        let (name, value) = (name.of(&scratch), value.of(&scratch));
        room = room.checked_sub(name.len() + value.len()).ok_or(SectionError::TooLarge)?;
        visit(name, value)?;
    }
    Ok(())
}

/// Reads what stands before the fields (RFC 9204, section 4.5.1): what the section needs of the
/// dynamic table, which must be nothing, and a base, which then means nothing.
fn read_prefix(rest: &mut &[u8]) -> Result<(), SectionError> {
    if read_integer(rest, 8)? != 0 {
        return Err(DYNAMIC);
    }
    let below_zero = rest.first().ok_or(CUT_SHORT)? & 0x80 != 0;
    read_integer(rest, 7)?;
    if below_zero {
        return Err(SectionError::Undecodable("the base is below zero"));
    }
    Ok(())
}

/// Where a name or a value stands.
enum Text<'a> {
    /// In the table or the section.
    Shared(&'a [u8]),
    /// Between these places of the buffer for what was Huffman-coded.
    Scratch(usize, usize),
}

impl<'a> Text<'a> {
    fn of(self, scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Scratch(start, end) => &scratch[start..end],
        }
    }
}

/// Reads a field line, of the five kinds of RFC 9204, sections 4.5.2 to 4.5.6. Two of them are only
/// for a dynamic table.
fn read_line<'a>(
    rest: &mut &'a [u8],
    room: usize,
    scratch: &mut Vec<u8>,
) -> Result<(Text<'a>, Text<'a>), SectionError> {
    let first = *rest.first().ok_or(CUT_SHORT)?;
    match first >> 4 {
        0b1100..=0b1111 => {
            let (name, value) = read_static(rest, 6)?;
            Ok((Text::Shared(name.as_bytes()), Text::Shared(value.as_bytes())))
        }
        0b0101 | 0b0111 => {
            let (name, _) = read_static(rest, 4)?;
            let value = read_string(rest, 7, room, scratch)?;
            Ok((Text::Shared(name.as_bytes()), value))
        }
        0b0010 | 0b0011 => {
            let name = read_string(rest, 3, room, scratch)?;
            let room = room.saturating_sub(scratch.len());
            let value = read_string(rest, 7, room, scratch)?;
            Ok((name, value))
        }
        _ => Err(DYNAMIC),
    }
}

fn read_static(
    rest: &mut &[u8],
    prefix_bits: u32,
) -> Result<(&'static str, &'static str), SectionError> {
    let index = read_integer(rest, prefix_bits)?;
    if index >= STATIC_ENTRIES as u64 {
        return Err(SectionError::Undecodable("the static table has no such entry"));
    }
    Ok(STATIC_TABLE[index as usize])
}

/// Reads a string whose length has so many bits in the first byte, below the bit that says whether
/// it is Huffman-coded.
fn read_string<'a>(
    rest: &mut &'a [u8],
    prefix_bits: u32,
    room: usize,
    scratch: &mut Vec<u8>,
) -> Result<Text<'a>, SectionError> {
    let coded = rest.first().ok_or(CUT_SHORT)? & (1 << prefix_bits) != 0;
    let length = usize::try_from(read_integer(rest, prefix_bits)?).map_err(|_| CUT_SHORT)?;
    let (string, others) = rest.split_at_checked(length).ok_or(CUT_SHORT)?;
    *rest = others;
    if !coded {
        return Ok(Text::Shared(string));
    }
    if scratch.capacity() == 0 {
        scratch.reserve(USUAL_SCRATCH);
    }
    let start = scratch.len();
    huffman::decode(string, room, scratch)?;
    Ok(Text::Scratch(start, scratch.len()))
}

fn read_integer(rest: &mut &[u8], prefix_bits: u32) -> Result<u64, SectionError> {
    let (value, length) = peek_integer(rest, prefix_bits)?.ok_or(CUT_SHORT)?;
    *rest = &rest[length..];
    Ok(value)
}

/// How strings are written.
///
/// Answers are written plainly: a head fits a packet either way, and what an answer costs is
/// packets, not bytes, while coding costs a nanosecond a byte. Requests of clients are coded like
/// those of browsers, where it makes them shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strings {
    /// As they are.
    Plain,
    /// Huffman-coded where that is shorter.
    Huffman,
}

/// Writes what stands before the fields of a section.
pub fn put_prefix(out: &mut BytesMut) {
    out.put_slice(&[0, 0]);
}

/// Writes `:status`: one or two bytes for those of the static table.
pub fn put_status(out: &mut BytesMut, status: u16) {
    let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
    put_line(out, find_status(status), ":status", &digits, Strings::Plain);
}

/// Writes another pseudo-header.
pub fn put_pseudo(out: &mut BytesMut, name: &str, value: &[u8], strings: Strings) {
    put_line(out, find_pseudo(name, value), name, value, strings);
}

/// Writes a field.
pub fn put_field(out: &mut BytesMut, name: &str, value: &[u8], strings: Strings) {
    put_line(out, find(name, value), name, value, strings);
}

fn put_line(out: &mut BytesMut, found: Found, name: &str, value: &[u8], strings: Strings) {
    match found {
        Found::Both(index) => return put_integer(out, 0b1100_0000, 6, u64::from(index)),
        Found::Name(index) => put_integer(out, 0b0101_0000, 4, u64::from(index)),
        Found::Nothing => put_string(out, 0b0010_0000, 3, name.as_bytes(), strings),
    }
    put_string(out, 0, 7, value, strings);
}

fn put_string(out: &mut BytesMut, bits: u8, prefix_bits: u32, string: &[u8], strings: Strings) {
    if strings == Strings::Huffman {
        let length = huffman::encoded_length(string);
        if length < string.len() {
            put_integer(out, bits | 1 << prefix_bits, prefix_bits, length as u64);
            return huffman::encode(string, out);
        }
    }
    put_integer(out, bits, prefix_bits, string.len() as u64);
    out.put_slice(string);
}

#[cfg(test)]
mod tests;
