//! An HTTP request on its way to a server.

use super::fields::{Fields, is_token_byte};
use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_INLINE_BODY, MAX_PAYLOAD};
use crate::wire::lane::CALL_IDEMPOTENT;
use bytes::{BufMut, Bytes};
use std::fmt;

/// Longest method, in bytes.
pub const MAX_METHOD: usize = 32;
/// Longest authority, in bytes: a DNS name with a port fits.
pub const MAX_AUTHORITY: usize = 262;
/// Longest request target, in bytes.
pub const MAX_TARGET: usize = 4 * 1024;

const _: () = assert!(
    MAX_PAYLOAD >= MAX_TARGET + MAX_AUTHORITY + MAX_METHOD + super::MAX_FIELDS_BYTES + 64,
    "every request must fit a frame, though perhaps not with its body"
);

/// By which scheme a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scheme {
    /// `http`
    Http = 0,
    /// `https`
    Https = 1,
}

impl Scheme {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What a request is for: an absolute path with an optional query, or `*`. Visible ASCII without
/// `#`, at most [`MAX_TARGET`] bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestTarget(Bytes);

impl RequestTarget {
    /// Checks the rules above.
    pub fn new(bytes: Bytes) -> Result<Self, DecodeError> {
        let wrong = |why| Err(DecodeError::Invalid { what: "request target", why });
        if bytes.len() > MAX_TARGET {
            let (found, limit) = (bytes.len() as u64, MAX_TARGET as u64);
            return Err(DecodeError::AboveLimit { what: "request target", found, limit });
        }
        if bytes.first() != Some(&b'/') && bytes != "*" {
            return wrong("it must start with '/'");
        }
        if !bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return wrong("it has a character that must be percent-encoded");
        }
        Ok(Self(bytes))
    }

    /// The target as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("RequestTarget::new checked that it is ASCII")
    }

    /// The target's bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The path alone.
    pub fn path(&self) -> &str {
        let text = self.as_str();
        text.split_once('?').map_or(text, |(path, _)| path)
    }
}

impl fmt::Debug for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// How the content of a request travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// There is none.
    None,
    /// In the frame.
    Inline(Bytes),
    /// On a stream of its own, once the server has sent WANT_BODY.
    Stream,
}

/// An HTTP request. New in version 4 of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Chosen by the router's front, unique among the unanswered requests of the session.
    pub request_id: u64,
    /// It may be sent again when it is not known what became of it: its method says so
    /// (RFC 9110, section 9.2.2), and its content can be had again.
    pub idempotent: bool,
    /// The method, a token; case matters.
    pub method: String,
    /// By which scheme it came.
    pub scheme: Scheme,
    /// Whom the client asked: host and perhaps port, in lower case.
    pub authority: String,
    /// What for.
    pub target: RequestTarget,
    /// Its fields, without those that are about the connection.
    pub fields: Fields,
    /// Its content.
    pub body: RequestBody,
}

const BODY_NONE: u8 = 0;
const BODY_INLINE: u8 = 1;
const BODY_STREAM: u8 = 2;

impl HttpRequest {
    /// Whether a GET or HEAD: a request that only reads.
    pub fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// Bytes that a body in the frame may have.
    pub fn room_inline(target: &RequestTarget, fields: &Fields) -> usize {
        // What the front adds to the fields says the authority twice.
        let added = 2 * MAX_AUTHORITY + 512;
        let fixed = MAX_AUTHORITY + MAX_METHOD + 64;
        let others = target.0.len() + fields.as_bytes().len() + fixed + added;
        MAX_INLINE_BODY.min(MAX_PAYLOAD.saturating_sub(others))
    }

    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(FrameType::HttpRequest, MAX_PAYLOAD, |out| {
            put::varint(out, self.request_id);
            out.put_u8(if self.idempotent { CALL_IDEMPOTENT } else { 0 });
            put::bytes(out, self.method.as_bytes(), MAX_METHOD);
            out.put_u8(self.scheme as u8);
            put::bytes(out, self.authority.as_bytes(), MAX_AUTHORITY);
            put::bytes(out, &self.target.0, MAX_TARGET);
            self.fields.encode(out);
            match &self.body {
                RequestBody::None => out.put_u8(BODY_NONE),
                RequestBody::Inline(bytes) => {
                    out.put_u8(BODY_INLINE);
                    put::bytes(out, bytes, MAX_INLINE_BODY);
                }
                RequestBody::Stream => out.put_u8(BODY_STREAM),
            }
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let request_id = reader.varint("request id", MAX_VARINT)?;
        let flags = reader.byte("flags")?;
        if flags & !CALL_IDEMPOTENT != 0 {
            return Err(DecodeError::Unknown { what: "flags", found: u64::from(flags) });
        }
        let method = reader.text("method", MAX_METHOD)?;
        if method.is_empty() || !method.bytes().all(is_token_byte) {
            return Err(DecodeError::Invalid { what: "method", why: "it is no token" });
        }
        let scheme = match reader.byte("scheme")? {
            0 => Scheme::Http,
            1 => Scheme::Https,
            found => return Err(DecodeError::Unknown { what: "scheme", found: found.into() }),
        };
        let authority = reader.text("authority", MAX_AUTHORITY)?;
        if !authority.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(DecodeError::Invalid { what: "authority", why: "it is not visible ASCII" });
        }
        let target = RequestTarget::new(reader.bytes("request target", MAX_TARGET)?)?;
        let fields = Fields::decode(&mut reader)?;
        let body = match reader.byte("body kind")? {
            BODY_NONE => RequestBody::None,
            BODY_INLINE => RequestBody::Inline(reader.bytes("body", MAX_INLINE_BODY)?),
            BODY_STREAM => RequestBody::Stream,
            found => return Err(DecodeError::Unknown { what: "body kind", found: found.into() }),
        };
        reader.finish("HTTP_REQUEST")?;
        Ok(Self {
            request_id,
            idempotent: flags & CALL_IDEMPOTENT != 0,
            method: method.to_owned(),
            scheme,
            authority: authority.to_owned(),
            target,
            fields,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_path_in_visible_ascii() {
        let target = |text: &'static str| RequestTarget::new(Bytes::from_static(text.as_bytes()));
        for good in ["/", "*", "/a?b=c", "//a", "/../x", "/%00"] {
            assert!(target(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "/a b", "/a#b", "/ä", "/\n", "**", "http://a/"] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
        assert_eq!(target("/a?b?c").unwrap().path(), "/a");
    }

    #[test]
    fn the_largest_request_fits_a_frame() {
        let mut fields = Fields::builder();
        fields.push("a", &[b'x'; super::super::MAX_FIELDS_BYTES - 8]).unwrap();
        let fields = fields.finish();
        let target = RequestTarget::new(Bytes::from(vec![b'/'; MAX_TARGET])).unwrap();
        let room = HttpRequest::room_inline(&target, &fields);
        let request = HttpRequest {
            request_id: MAX_VARINT,
            idempotent: true,
            method: "M".repeat(MAX_METHOD),
            scheme: Scheme::Https,
            authority: "a".repeat(MAX_AUTHORITY),
            target,
            fields,
            body: RequestBody::Inline(Bytes::from(vec![1; room])),
        };
        assert_eq!(HttpRequest::decode(request.encode().payload()), Ok(request));
    }
}
