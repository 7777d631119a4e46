//! The head of an answer (RFC 9114, section 4.3.2).

use super::message::{
    Collector, MessageError, is_connection_specific, name_of, put_headers_frame, section_bound,
};
use super::qpack::{self, Limits, Strings};
use crate::wire::http::Fields;
use bytes::BytesMut;

/// Smallest status there is.
pub const MIN_STATUS: u16 = 100;
/// Largest status there is.
pub const MAX_STATUS: u16 = 599;
/// The one interim answer that HTTP/3 has not (RFC 9114, section 4.5).
const SWITCHING_PROTOCOLS: u16 = 101;

/// The head of an answer, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status. Below 200, another head follows.
    pub status: u16,
    /// Its fields.
    pub fields: Fields,
    /// How long its content is, if the fields say so.
    pub content_length: Option<u64>,
}

impl ResponseHead {
    /// Reads a field section.
    ///
    /// # Errors
    /// See [`MessageError`]. Nothing is kept.
    pub fn decode(section: &[u8], limits: Limits) -> Result<Self, MessageError> {
        let mut status = None;
        let mut collector = Collector::new(section.len());
        qpack::decode(section, limits, |name, value| {
            let name = name_of(name)?;
            if !name.starts_with(':') {
                return collector.push(name, value);
            }
            if name != ":status" || status.is_some() || collector.has_fields {
                return Err(MessageError::Malformed("a pseudo-header is unknown, twice, or late"));
            }
            status = Some(read_status(value)?);
            Ok(())
        })?;
        let status = status.ok_or(MessageError::Malformed("there is no status"))?;
        let (fields, content_length) = collector.finish()?;
        Ok(Self { status, fields, content_length })
    }

    /// Whether another head follows (RFC 9110, section 15.2).
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }
}

fn read_status(value: &[u8]) -> Result<u16, MessageError> {
    const WRONG: MessageError = MessageError::Malformed("the status is none of HTTP/3");
    let [hundreds, tens, ones] = value else {
        return Err(WRONG);
    };
    let mut status = 0;
    for digit in [hundreds, tens, ones] {
        if !digit.is_ascii_digit() {
            return Err(WRONG);
        }
        status = status * 10 + u16::from(digit - b'0');
    }
    if !(MIN_STATUS..=MAX_STATUS).contains(&status) || status == SWITCHING_PROTOCOLS {
        return Err(WRONG);
    }
    Ok(status)
}

/// Writes the HEADERS frame of an answer. Fields that are about a connection are left out.
///
/// # Panics
/// If `status` is no status that HTTP/3 has.
pub fn encode_response_head(status: u16, fields: &Fields, out: &mut BytesMut) {
    let is_known = (MIN_STATUS..=MAX_STATUS).contains(&status) && status != SWITCHING_PROTOCOLS;
    assert!(is_known, "{status} is no status of HTTP/3");
    put_headers_frame(out, section_bound(fields) + 8, |out| {
        qpack::put_status(out, status);
        for (name, value) in fields.iter() {
            if !is_connection_specific(name) {
                qpack::put_field(out, name, value, Strings::Plain);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h3::{Event, RequestReader};
    use proptest::prelude::*;

    fn decode(lines: &[(&str, &str)]) -> Result<ResponseHead, MessageError> {
        let mut out = BytesMut::new();
        qpack::put_prefix(&mut out);
        for (name, value) in lines {
            qpack::put_field(&mut out, name, value.as_bytes(), Strings::Plain);
        }
        ResponseHead::decode(&out, Limits::default())
    }

    fn again(status: u16, fields: &Fields) -> ResponseHead {
        let mut out = BytesMut::new();
        encode_response_head(status, fields, &mut out);
        let mut reader = RequestReader::new(super::super::MAX_FIELD_SECTION_SIZE);
        reader.handle_chunk(out.freeze());
        let Ok(Some(Event::Headers(section))) = reader.poll_event() else { panic!("no head") };
        assert_eq!((reader.poll_event(), reader.handle_end()), (Ok(None), Ok(())));
        ResponseHead::decode(&section, Limits::default()).unwrap()
    }

    #[test]
    fn a_status_stands_first_and_once() {
        let head = decode(&[(":status", "103"), ("link", "</a>")]).unwrap();
        assert!(head.is_interim() && head.fields.has("link"));
        assert!(!decode(&[(":status", "200")]).unwrap().is_interim());
        let bad: [&[_]; 9] = [
            &[],
            &[("a", "b"), (":status", "200")],
            &[(":status", "200"), (":status", "200")],
            &[(":status", "200"), (":path", "/")],
            &[(":status", "101")],
            &[(":status", "99")],
            &[(":status", "600")],
            &[(":status", "2000")],
            &[(":status", "+20")],
        ];
        for lines in bad {
            assert!(matches!(decode(lines), Err(MessageError::Malformed(_))), "{lines:?}");
        }
    }

    #[test]
    fn an_unchanged_answer_is_short() {
        let fields = Fields::of([("etag", "\"1\""), ("vary", "accept-encoding")]);
        let mut out = BytesMut::new();
        encode_response_head(304, &fields, &mut out);
        assert_eq!(&out[..], b"\x01\x40\x09\0\0\xda\x57\x03\"1\"\xfb");
    }

    #[test]
    fn fields_about_the_connection_are_left_out() {
        let fields = Fields::of([
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "1"),
            ("content-length", "7"),
            ("server", "x"),
        ]);
        let head = again(200, &fields);
        assert_eq!(head.fields, Fields::of([("server", "x"), ("content-length", "7")]));
        assert_eq!(head.content_length, Some(7));
    }

    proptest! {
        #[test]
        fn heads_survive(
            status in 200u16..=599,
            lines in prop::collection::vec(
                ("x-[a-z-]{1,20}|etag|vary|server", "[!-~]{0,200}"),
                0..30,
            ),
        ) {
            let mut fields = Fields::builder();
            for (name, value) in lines {
                fields.push(&name, value.as_bytes()).unwrap();
            }
            let fields = fields.finish();
            let head = again(status, &fields);
            prop_assert_eq!(head, ResponseHead { status, fields, content_length: None });
        }

        #[test]
        fn decoding_anything_never_panics(bytes: Vec<u8>) {
            let section = [&[0, 0], &bytes[..]].concat();
            let _ = ResponseHead::decode(&section, Limits::default());
        }
    }
}
