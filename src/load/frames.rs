//! The lane's frames, for one who sends and reads millions: written in place, read where they
//! lie.
//!
//! [`crate::wire::lane`] says what the bytes mean, and allocates; the tests here hold both
//! together.

use crate::wire::codec::{peek_varint, put};
use crate::wire::frame::{MAX_INLINE_BODY, MAX_PAYLOAD};
use crate::wire::headers::MAX_HEADER_BLOCK;
use crate::wire::lane::Validator;
use crate::wire::{FrameType, Tag};
use bytes::{BufMut, BytesMut};

const KEY_GIVEN: u8 = 0b100;

/// Writes a GET.
pub(super) fn write_get(
    out: &mut BytesMut,
    request_id: u64,
    slot: u64,
    key: Option<&[u8]>,
    validator: &Validator,
) {
    let mut length = put::varint_size(request_id) + put::varint_size(slot) + 1;
    length += key.map_or(0, |key| put::varint_size(key.len() as u64) + key.len());
    let (code, validator_length) = match validator {
        Validator::None => (0, 0),
        Validator::Crc { length, .. } => (1, 4 + put::varint_size(*length)),
        Validator::Strong { .. } => (2, 4 + 16),
    };
    length += validator_length;
    out.reserve(1 + put::varint_size(length as u64) + length);
    out.put_u8(FrameType::Get as u8);
    put::varint(out, length as u64);
    put::varint(out, request_id);
    put::varint(out, slot);
    out.put_u8(code | if key.is_some() { KEY_GIVEN } else { 0 });
    if let Some(key) = key {
        put::varint(out, key.len() as u64);
        out.put_slice(key);
    }
    match validator {
        Validator::None => {}
        Validator::Crc { crc, length } => {
            out.put_u32(*crc);
            put::varint(out, *length);
        }
        Validator::Strong { crc, digest } => {
            out.put_u32(*crc);
            out.put_slice(&digest.0);
        }
    }
}

/// A frame where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawFrame<'a> {
    /// The byte that says its type.
    pub(super) kind: u8,
    /// What is in it.
    pub(super) payload: &'a [u8],
    /// How many bytes it takes in all.
    pub(super) size: usize,
}

/// The frame that `bytes` start with; `None` while it is not yet complete, an error if it is
/// longer than any may be.
pub(super) fn first_frame(bytes: &[u8]) -> Result<Option<RawFrame<'_>>, &'static str> {
    let Some((kind, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let Some((length, header)) = peek_varint(rest) else {
        return Ok(None);
    };
    if length > MAX_PAYLOAD as u64 {
        return Err("a frame is longer than any may be");
    }
    let end = header + length as usize;
    let payload = rest.get(header..end);
    Ok(payload.map(|payload| RawFrame { kind: *kind, payload, size: 1 + end }))
}

/// What FULL says, where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawFull<'a> {
    /// The version; zero for [`RawBody::Unmirrored`].
    pub(super) tag: Tag,
    /// The header block, as it goes into the digest.
    pub(super) headers: &'a [u8],
    /// The bytes, or how many come on a stream.
    pub(super) body: RawBody<'a>,
}

/// How the bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RawBody<'a> {
    /// Here.
    Inline(&'a [u8]),
    /// So many on a stream.
    Stream(u64),
    /// So many on a stream, then the tag.
    Unmirrored(u64),
}

/// Reads the request id that starts each reply; also returns what follows.
pub(super) fn request_id(payload: &[u8]) -> Option<(u64, &[u8])> {
    let (id, size) = peek_varint(payload)?;
    Some((id, &payload[size..]))
}

/// Reads all of USE_CACHED behind the request id.
pub(super) fn use_cached(rest: &[u8]) -> Option<Tag> {
    rest.try_into().ok().map(Tag)
}

/// Reads all of FULL behind the request id.
pub(super) fn full(rest: &[u8]) -> Option<RawFull<'_>> {
    let (tag, rest) = rest.split_first_chunk::<16>()?;
    let (headers, rest) = counted(rest, MAX_HEADER_BLOCK)?;
    let (kind, rest) = rest.split_first()?;
    let number = || peek_varint(rest).filter(|(_, size)| *size == rest.len()).map(|(n, _)| n);
    let body = match kind {
        0 => match counted(rest, MAX_INLINE_BODY)? {
            (body, []) => RawBody::Inline(body),
            _ => return None,
        },
        1 => RawBody::Stream(number()?),
        2 => RawBody::Unmirrored(number()?),
        _ => return None,
    };
    Some(RawFull { tag: Tag(*tag), headers, body })
}

/// Reads a length of at most `limit`, then as many bytes.
fn counted(bytes: &[u8], limit: usize) -> Option<(&[u8], &[u8])> {
    let (length, size) = peek_varint(bytes)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= limit)?;
    bytes[size..].split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::lane::{Body, Outcome, Reply};
    use crate::wire::{Frame, strategies};
    use bytes::Bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_get_is_written_as_the_protocol_says(get in strategies::get()) {
            let mut out = BytesMut::new();
            let key = get.key.as_ref().map(|key| &key.as_bytes()[..]);
            write_get(&mut out, get.request_id, get.slot, key, &get.validator);
            let frame = get.encode();
            prop_assert_eq!(&out[..], &frame.bytes()[..]);
        }

        #[test]
        fn a_reply_is_read_as_the_protocol_says(reply in strategies::reply()) {
            let frame = reply.encode();
            let raw = first_frame(frame.bytes()).unwrap().unwrap();
            prop_assert_eq!((raw.kind, raw.size), (frame.kind() as u8, frame.bytes().len()));
            let (id, rest) = request_id(raw.payload).unwrap();
            prop_assert_eq!(id, reply.request_id);
            match &reply.outcome {
                Outcome::UseCached { tag } => prop_assert_eq!(use_cached(rest), Some(*tag)),
                Outcome::Full { tag, headers, body } => {
                    let body = match body {
                        Body::Inline(bytes) => RawBody::Inline(bytes),
                        Body::Stream { length } => RawBody::Stream(*length),
                        Body::Unmirrored { length } => RawBody::Unmirrored(*length),
                    };
                    let expected = RawFull { tag: *tag, headers: headers.as_bytes(), body };
                    prop_assert_eq!(full(rest), Some(expected));
                }
                _ => {}
            }
        }

        #[test]
        fn reading_anything_never_panics_and_agrees_on_frames(bytes: Vec<u8>) {
            if let Ok(Some(raw)) = first_frame(&bytes) {
                prop_assert!(raw.size <= bytes.len());
                if FrameType::from_byte(raw.kind).is_ok() {
                    let whole = Bytes::copy_from_slice(&bytes[..raw.size]);
                    prop_assert!(Frame::parse(whole, MAX_PAYLOAD).is_ok());
                }
            }
            let _ = (request_id(&bytes), use_cached(&bytes), full(&bytes));
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_no_reply() {
        let outcome = Outcome::UseCached { tag: Tag([7; 16]) };
        let frame = Reply { request_id: 300, outcome }.encode();
        let raw = first_frame(frame.bytes()).unwrap().unwrap();
        let (_, rest) = request_id(raw.payload).unwrap();
        assert_eq!(use_cached(rest), Some(Tag([7; 16])));
        assert_eq!((use_cached(&rest[1..]), full(rest)), (None, None));
        assert_eq!(first_frame(&frame.bytes()[..5]), Ok(None));
        assert!(first_frame(&[0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
