//! What heads and trailers have in common (RFC 9114, sections 4.1.2, 4.2 and 4.3).

use super::error::{Code, Error};
use super::frames::{DATA, HEADERS};
use super::qpack::{self, Limits, SectionError, Strings};
use crate::wire::codec::{DecodeError, put};
use crate::wire::http::{Fields, FieldsBuilder};
use bytes::{BufMut, BytesMut};

/// Why a field section is not a message that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The section cannot be decoded: the connection ends.
    #[error("the field section cannot be decoded: {0}")]
    Undecodable(&'static str),
    /// It breaks a rule of HTTP.
    #[error("the message is malformed: {0}")]
    Malformed(&'static str),
    /// Its fields are too many or too large.
    #[error("the fields are too large")]
    TooLarge,
    /// What the request is for is above [`crate::wire::http::MAX_TARGET`].
    #[error("the request target is too long")]
    TargetTooLong,
    /// The method is longer than any we know.
    #[error("the method is too long")]
    MethodTooLong,
    /// It asks for a tunnel (RFC 9114, section 4.4).
    #[error("CONNECT is not offered")]
    Connect,
    /// It asks for another protocol on the stream (RFC 9220), which we never announce.
    #[error("extended CONNECT is not offered")]
    ExtendedConnect,
}

impl MessageError {
    /// The status with which a server may answer instead of resetting the stream. `None` if the
    /// connection must end.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Undecodable(_) => None,
            Self::Malformed(_) => Some(400),
            Self::TooLarge => Some(431),
            Self::TargetTooLong => Some(414),
            Self::MethodTooLong | Self::Connect | Self::ExtendedConnect => Some(501),
        }
    }
}

impl From<MessageError> for Error {
    /// What to end, and how, where no answer is sent.
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Undecodable(why) => SectionError::Undecodable(why).into(),
            MessageError::Malformed(why) => Self::stream(Code::MessageError, why),
            MessageError::TooLarge => SectionError::TooLarge.into(),
            MessageError::TargetTooLong => Self::stream(Code::ExcessiveLoad, "a target is long"),
            MessageError::MethodTooLong => Self::stream(Code::RequestRejected, "a method is long"),
            MessageError::Connect | MessageError::ExtendedConnect => {
                Self::stream(Code::RequestRejected, "tunnels are not offered")
            }
        }
    }
}

impl From<SectionError> for MessageError {
    fn from(error: SectionError) -> Self {
        match error {
            SectionError::Undecodable(why) => Self::Undecodable(why),
            SectionError::TooLarge => Self::TooLarge,
        }
    }
}

impl From<DecodeError> for MessageError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::AboveLimit { .. } => Self::TooLarge,
            DecodeError::Invalid { why, .. } => Self::Malformed(why),
            _ => Self::Malformed("a field has no sense"),
        }
    }
}

/// Fields that speak of one connection of HTTP/1, not of the message (RFC 9114, section 4.2).
/// `te` is one unless it says `trailers`.
pub(super) fn is_connection_specific(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
    )
}

/// Puts together the fields of a message, pseudo-headers aside.
#[derive(Debug)]
pub(super) struct Collector {
    builder: FieldsBuilder,
    /// What the fields `cookie` say, joined (RFC 9114, section 4.2.1).
    cookies: Vec<u8>,
    content_length: Option<u64>,
    /// Whether there was a field: pseudo-headers may not follow.
    pub(super) has_fields: bool,
}

impl Collector {
    /// For a section of so many bytes as it goes over the wire.
    pub(super) fn new(section_size: usize) -> Self {
        // What is Huffman-coded or in the static table unfolds to about double.
        let builder = FieldsBuilder::with_capacity(2 * section_size);
        Self { builder, cookies: Vec::new(), content_length: None, has_fields: false }
    }

    /// Adds a field whose name does not begin with a colon.
    pub(super) fn push(&mut self, name: &str, value: &[u8]) -> Result<(), MessageError> {
        self.has_fields = true;
        match name {
            "cookie" => {
                if !self.cookies.is_empty() {
                    self.cookies.extend_from_slice(b"; ");
                }
                self.cookies.extend_from_slice(value.trim_ascii());
            }
            "content-length" => {
                let length = parse_content_length(value)?;
                if self.content_length.is_some_and(|other| other != length) {
                    return Err(MessageError::Malformed("the content has two lengths"));
                }
                self.content_length = Some(length);
            }
            "te" if !value.trim_ascii().eq_ignore_ascii_case(b"trailers") => {
                return Err(MessageError::Malformed("te may only say trailers"));
            }
            _ if is_connection_specific(name) => {
                return Err(MessageError::Malformed("a field is about the connection"));
            }
            _ => self.builder.push(name, value)?,
        }
        Ok(())
    }

    /// The fields, and the length of the content. That stands among the fields too, once and in
    /// plain digits, however it came.
    pub(super) fn finish(mut self) -> Result<(Fields, Option<u64>), MessageError> {
        if !self.cookies.is_empty() {
            self.builder.push("cookie", &self.cookies)?;
        }
        if let Some(length) = self.content_length {
            self.builder.push("content-length", length.to_string().as_bytes())?;
        }
        Ok((self.builder.finish(), self.content_length))
    }
}

/// Reads the length of a content: digits, or a list in which all are equal (RFC 9110, section 8.6).
fn parse_content_length(value: &[u8]) -> Result<u64, MessageError> {
    const WRONG: MessageError = MessageError::Malformed("the length of the content is no number");
    let mut length = None;
    for one in value.split(|byte| *byte == b',') {
        let one = one.trim_ascii();
        if one.is_empty() || !one.iter().all(u8::is_ascii_digit) {
            return Err(WRONG);
        }
        let text = std::str::from_utf8(one).map_err(|_| WRONG)?;
        let one = text.parse().map_err(|_| WRONG)?;
        if length.is_some_and(|other: u64| other != one) {
            return Err(MessageError::Malformed("the content has two lengths"));
        }
        length = Some(one);
    }
    length.ok_or(WRONG)
}

/// Name and value as they came, with a name that is text.
pub(super) fn name_of(name: &[u8]) -> Result<&str, MessageError> {
    std::str::from_utf8(name).map_err(|_| MessageError::Malformed("a name is not ASCII"))
}

/// Reads trailers (RFC 9114, section 4.1): fields only, and none that say where a message ends or
/// where it goes (RFC 9110, section 6.5.1).
pub fn decode_trailers(section: &[u8], limits: Limits) -> Result<Fields, MessageError> {
    let mut builder = FieldsBuilder::with_capacity(2 * section.len());
    qpack::decode(section, limits, |name, value| {
        let name = name_of(name)?;
        if name.starts_with(':') {
            return Err(MessageError::Malformed("trailers have a pseudo-header"));
        }
        if is_connection_specific(name)
            || matches!(name, "content-length" | "host" | "te" | "trailer")
        {
            return Err(MessageError::Malformed("trailers have a field that must come before"));
        }
        Ok(builder.push(name, value)?)
    })?;
    Ok(builder.finish())
}

/// Writes the frame of trailers. Fields that trailers may not have are left out.
pub fn encode_trailers(fields: &Fields, out: &mut BytesMut) {
    put_headers_frame(out, section_bound(fields), |out| {
        for (name, value) in fields.iter() {
            if !is_connection_specific(name)
                && !matches!(name, "content-length" | "host" | "te" | "trailer")
            {
                qpack::put_field(out, name, value, Strings::Plain);
            }
        }
    });
}

/// Writes the start of a DATA frame: `length` bytes of content must follow.
pub fn encode_data_header(length: u64, out: &mut impl BufMut) {
    put::varint(out, DATA);
    put::varint(out, length);
}

/// Bytes that a section with these fields takes at the most, beside its pseudo-headers: a length
/// takes up to two bytes more in QPACK than in [`Fields`], where a field has three or more.
pub(super) fn section_bound(fields: &Fields) -> usize {
    fields.as_bytes().len() * 3
}

/// Writes a HEADERS frame whose section `write` makes, of at most `bound` bytes behind its prefix.
/// The length is written last, into as many bytes as the bound needs, which need not be the fewest.
pub(super) fn put_headers_frame(
    out: &mut BytesMut,
    bound: usize,
    write: impl FnOnce(&mut BytesMut),
) {
    let bound = bound + 2;
    out.reserve(16 + bound);
    put::varint(out, HEADERS);
    let width = put::varint_size(bound as u64);
    let place = out.len();
    out.put_bytes(0, width);
    qpack::put_prefix(out);
    write(out);
    let length = out.len() - place - width;
    assert!(length <= bound, "a section has {length} bytes, and not {bound} at the most");
    let length_bytes = (length as u64).to_be_bytes();
    out[place..place + width].copy_from_slice(&length_bytes[8 - width..]);
    out[place] |= (width.trailing_zeros() as u8) << 6;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h3::{Event, RequestReader};
    use bytes::Bytes;

    /// A section of these fields.
    fn section(lines: &[(&str, &str)]) -> Vec<u8> {
        let mut out = BytesMut::new();
        qpack::put_prefix(&mut out);
        for (name, value) in lines {
            qpack::put_field(&mut out, name, value.as_bytes(), Strings::Plain);
        }
        out.to_vec()
    }

    fn trailers(lines: &[(&str, &str)]) -> Result<Fields, MessageError> {
        decode_trailers(&section(lines), Limits::default())
    }

    #[test]
    fn trailers_have_fields_only() {
        let good = [("grpc-status", "0"), ("digest", "x")];
        assert_eq!(trailers(&good), Ok(Fields::of(good)));
        assert_eq!(trailers(&[]), Ok(Fields::default()));
        for name in [
            ":status",
            ":path",
            ":x",
            "content-length",
            "transfer-encoding",
            "host",
            "te",
            "trailer",
            "connection",
            "Upper",
            "a b",
            "",
        ] {
            let error = trailers(&[("a", "b"), (name, "0")]).unwrap_err();
            assert!(matches!(error, MessageError::Malformed(_)), "{name}");
            assert_eq!(Error::from(error).code, Code::MessageError);
        }
        assert!(trailers(&[("a", "b\r\nc")]).is_err());
    }

    #[test]
    fn trailers_survive() {
        let fields = Fields::of([("digest", "x"), ("upgrade", "h2c"), ("te", "trailers")]);
        let mut out = BytesMut::new();
        encode_trailers(&Fields::default(), &mut out);
        encode_trailers(&fields, &mut out);
        let mut reader = RequestReader::new(1000);
        reader.handle_chunk(out.freeze());
        assert_eq!(reader.poll_event(), Ok(Some(Event::Headers(Bytes::from_static(&[0, 0])))));
        let Ok(Some(Event::Trailers(section))) = reader.poll_event() else { panic!() };
        let expected = Fields::of([("digest", "x")]);
        assert_eq!(decode_trailers(&section, Limits::default()), Ok(expected));
    }

    #[test]
    fn lengths_of_contents_are_digits() {
        for (value, length) in [("0", 0), ("5", 5), ("5, 5", 5), ("5,5 ,05", 5), (" 7 ", 7)] {
            assert_eq!(parse_content_length(value.as_bytes()), Ok(length), "{value}");
        }
        let above = "18446744073709551616";
        for value in ["", "+5", "-5", "5,", ",5", "5, 6", "0x5", "5 5", "5.0", "\u{665}", above] {
            assert!(parse_content_length(value.as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn content_follows_its_length() {
        let mut out = BytesMut::new();
        encode_data_header(300, &mut out);
        assert_eq!(&out[..], b"\x00\x41\x2c");
    }

    #[test]
    fn frames_of_all_sizes_have_the_right_length() {
        for size in [0, 1, 10, 20, 100, 5000, 16_000] {
            let mut fields = Fields::builder();
            fields.push("a", &vec![b'x'; size]).unwrap();
            let fields = fields.finish();
            let mut out = BytesMut::from(&b"before"[..]);
            encode_trailers(&fields, &mut out);
            let mut reader = RequestReader::new(20_000);
            reader.handle_chunk(out.freeze().split_off(6));
            let Ok(Some(Event::Headers(section))) = reader.poll_event() else { panic!("{size}") };
            assert_eq!(decode_trailers(&section, Limits::default()), Ok(fields));
            assert_eq!(reader.handle_end(), Ok(()));
        }
    }

    #[test]
    fn many_short_fields_stay_within_the_bound() {
        let mut fields = Fields::builder();
        for _ in 0..128 {
            fields.push("abcdefg", b"").unwrap();
        }
        let fields = fields.finish();
        let mut out = BytesMut::new();
        encode_trailers(&fields, &mut out);
        assert!(out.len() > fields.as_bytes().len());
    }
}
