//! The answer to an HTTP request.

use super::fields::{Fields, MAX_FIELDS_BYTES};
use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_INLINE_BODY, MAX_PAYLOAD};
use crate::wire::lane::{MAX_STATUS, MIN_STATUS, decode_status};
use crate::wire::types::Tag;
use bytes::{BufMut, Bytes, BytesMut};

const _: () = assert!(MAX_PAYLOAD >= MAX_FIELDS_BYTES + 64, "every reply must fit a frame");

/// How the content of an answer travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpBody {
    /// There is none: the answer is to a HEAD, or a 204 or 304.
    None,
    /// In the frame.
    Inline(Bytes),
    /// On a stream of its own, which starts with a BODY frame.
    Stream {
        /// How many bytes.
        length: u64,
        /// What they are part of: another server that has the same version can go on with them.
        tag: Option<Tag>,
    },
    /// On a stream of its own, in pieces, each behind its length; a length of 0 and the trailers
    /// end it. How many bytes there will be is only known if the fields say so.
    Open,
}

const BODY_NONE: u8 = 0;
const BODY_INLINE: u8 = 1;
const BODY_STREAM: u8 = 2;
const BODY_VERSION: u8 = 3;
const BODY_OPEN: u8 = 4;

/// The answer to an HTTP request, what stands behind the request's id. New in version 4 of the
/// protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The final status.
    pub status: u16,
    /// Its fields, without those that are about the connection.
    pub fields: Fields,
    /// Its content.
    pub body: HttpBody,
}

impl HttpAnswer {
    /// An answer without content.
    pub fn new(status: u16, fields: Fields) -> Self {
        Self { status, fields, body: HttpBody::None }
    }

    /// Bytes that a body in the frame may have.
    pub fn room_inline(fields: &Fields) -> usize {
        MAX_INLINE_BODY.min(MAX_PAYLOAD - fields.as_bytes().len() - 64)
    }

    /// The content that travels in the frame.
    pub fn inline_body(&self) -> Option<&Bytes> {
        match &self.body {
            HttpBody::Inline(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Writes all but the bytes of a body, which end the frame.
    pub(in crate::wire) fn encode(&self, out: &mut BytesMut) {
        let status = self.status;
        assert!((MIN_STATUS..=MAX_STATUS).contains(&status), "{status} is no final status");
        out.put_u16(status);
        self.fields.encode(out);
        match &self.body {
            HttpBody::None => out.put_u8(BODY_NONE),
            HttpBody::Inline(bytes) => {
                out.put_u8(BODY_INLINE);
                put::limited(out, bytes.len() as u64, MAX_INLINE_BODY as u64);
            }
            HttpBody::Stream { length, tag: None } => {
                out.put_u8(BODY_STREAM);
                put::varint(out, *length);
            }
            HttpBody::Stream { length, tag: Some(tag) } => {
                out.put_u8(BODY_VERSION);
                put::varint(out, *length);
                tag.encode(out);
            }
            HttpBody::Open => out.put_u8(BODY_OPEN),
        }
    }

    pub(in crate::wire) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let status = decode_status(reader)?;
        let fields = Fields::decode(reader)?;
        let body = match reader.byte("body kind")? {
            BODY_NONE => HttpBody::None,
            BODY_INLINE => HttpBody::Inline(reader.bytes("body", MAX_INLINE_BODY)?),
            BODY_STREAM => {
                HttpBody::Stream { length: reader.varint("body length", MAX_VARINT)?, tag: None }
            }
            BODY_VERSION => {
                let length = reader.varint("body length", MAX_VARINT)?;
                HttpBody::Stream { length, tag: Some(Tag::decode(reader)?) }
            }
            BODY_OPEN => HttpBody::Open,
            found => return Err(DecodeError::Unknown { what: "body kind", found: found.into() }),
        };
        Ok(Self { status, fields, body })
    }

    /// How the content of the answer in a frame travels, without reading its fields: whether it has
    /// a stream of its own, and the version that the stream brings.
    pub(in crate::wire) fn peek_stream(frame: &Frame) -> Result<(bool, Option<Tag>), DecodeError> {
        let mut reader = frame.payload();
        reader.varint("request id", MAX_VARINT)?;
        reader.array::<2>("status")?;
        reader.skip("fields", MAX_FIELDS_BYTES)?;
        Ok(match reader.byte("body kind")? {
            BODY_VERSION => {
                reader.varint("body length", MAX_VARINT)?;
                (true, Some(Tag::decode(&mut reader)?))
            }
            kind => (matches!(kind, BODY_STREAM | BODY_OPEN), None),
        })
    }
}

/// The status of the answer in a frame, if it is one.
pub fn http_status(frame: &Frame) -> Option<u16> {
    let mut reader = (frame.kind() == FrameType::HttpReply).then(|| frame.payload())?;
    reader.varint("request id", MAX_VARINT).ok()?;
    Some(u16::from_be_bytes(reader.array("status").ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::lane::{Outcome, Reply};

    #[test]
    fn how_the_content_travels_is_seen_without_reading_the_fields() {
        let tag = Tag([7; 16]);
        let cases = [
            (HttpBody::None, (false, None)),
            (HttpBody::Inline(Bytes::from_static(b"hello")), (false, None)),
            (HttpBody::Stream { length: 70_000, tag: None }, (true, None)),
            (HttpBody::Stream { length: 70_000, tag: Some(tag) }, (true, Some(tag))),
            (HttpBody::Open, (true, None)),
        ];
        for (body, seen) in cases {
            let fields = Fields::of([("content-type", "text/plain")]);
            let answer = HttpAnswer { status: 200, fields, body };
            let reply = Reply { request_id: 5, outcome: Outcome::Http(answer) };
            let frame = reply.encode();
            assert_eq!(Reply::decode(&frame), Ok(reply));
            assert_eq!(HttpAnswer::peek_stream(&frame), Ok(seen));
        }
    }

    #[test]
    fn the_largest_answer_fits_a_frame() {
        let mut fields = Fields::builder();
        fields.push("a", &[b'x'; MAX_FIELDS_BYTES - 8]).unwrap();
        let fields = fields.finish();
        let body = HttpBody::Inline(Bytes::from(vec![1; HttpAnswer::room_inline(&fields)]));
        let answer = HttpAnswer { status: 999, fields, body };
        let reply = Reply { request_id: MAX_VARINT, outcome: Outcome::Http(answer) };
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }
}
