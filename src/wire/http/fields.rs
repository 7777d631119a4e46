//! HTTP fields: the headers or trailers of one message.
//!
//! They are kept as they go over the wire, checked once: passing them on, as routers do, costs a
//! reference, and looking for one of them a scan of a few hundred bytes.

use crate::wire::codec::{DecodeError, Reader, put};
use crate::wire::headers::{HeaderBlock, HeaderName};
use bytes::{Bytes, BytesMut};
use std::fmt;

/// Fields of one message, at the most. Browsers send some twenty.
pub const MAX_FIELDS: usize = 128;
/// Bytes of all names and values of one message with their lengths, at the most.
pub const MAX_FIELDS_BYTES: usize = 16 * 1024;
/// Longest name of a field, in bytes.
pub const MAX_FIELD_NAME: usize = 256;

/// One field: its name in lower case, and its value.
pub type Field<'a> = (&'a str, &'a [u8]);

/// The fields of one message in the order in which they came. Cheap to clone.
///
/// Names are tokens in lower case (RFC 9110, section 5.6.2). Values have no control characters but
/// tabs, and neither begin nor end with white space; bytes from 0x80 on are allowed (section 5.5).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Bytes);

impl Fields {
    /// Builds fields one by one.
    pub fn builder() -> FieldsBuilder {
        FieldsBuilder::default()
    }

    /// Builds from pairs that are known to be good, such as literals.
    ///
    /// # Panics
    /// If one is not.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut builder = Self::builder();
        for (name, value) in pairs {
            builder.push(name, value.as_bytes()).expect("the caller knows that the field is good");
        }
        builder.finish()
    }

    /// Checks fields that came over the wire.
    pub fn parse(bytes: Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_FIELDS_BYTES {
            let (found, limit) = (bytes.len() as u64, MAX_FIELDS_BYTES as u64);
            return Err(DecodeError::AboveLimit { what: "fields", found, limit });
        }
        let mut reader = Reader::copying(&bytes);
        let mut count = 0;
        while reader.remaining() > 0 {
            count += 1;
            if count > MAX_FIELDS {
                let (found, limit) = (count as u64, MAX_FIELDS as u64);
                return Err(DecodeError::AboveLimit { what: "count of fields", found, limit });
            }
            let name = reader.slice("field name", MAX_FIELD_NAME)?;
            check_name(name)?;
            check_value(reader.slice("field value", MAX_FIELDS_BYTES)?)?;
        }
        Ok(Self(bytes))
    }

    /// Reads a length and the fields.
    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Self::parse(reader.bytes("fields", MAX_FIELDS_BYTES)?)
    }

    /// Writes the length and the fields.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        put::bytes(out, &self.0, MAX_FIELDS_BYTES);
    }

    /// The fields as they go over the wire.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.iter_bytes().map_while(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
    }

    /// All fields, in order, with their names as bytes: who looks for some of them need not have
    /// every name checked for being text.
    pub fn iter_bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut reader = Reader::copying(&self.0);
        std::iter::from_fn(move || {
            let name = reader.slice("field name", MAX_FIELD_NAME).ok()?;
            Some((name, reader.slice("field value", MAX_FIELDS_BYTES).ok()?))
        })
    }

    /// The values of one field, in order; `name` in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let name = name.as_bytes();
        self.iter_bytes().filter(move |(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The first value of a field; `name` in lower case.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The value of a field that stands there once and is text; `name` in lower case.
    pub fn only<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut all = self.all(name);
        let value = all.next().filter(|_| all.next().is_none())?;
        std::str::from_utf8(value).ok()
    }

    /// Those that belong to a version, as native clients get them. What does not fit is left out.
    pub fn header_block(&self) -> HeaderBlock {
        let named = HeaderName::ALL.into_iter();
        let pairs = named.filter_map(|name| Some((name, self.only(name.as_str())?)));
        let fit = pairs.filter(|pair| HeaderBlock::new([*pair]).is_ok());
        HeaderBlock::new(fit).unwrap_or_default()
    }

    /// Whether a field is there; `name` in lower case.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, value.escape_ascii())))
            .finish()
    }
}

/// Fields that are being put together.
#[derive(Debug, Default)]
pub struct FieldsBuilder {
    out: BytesMut,
    count: usize,
}

impl FieldsBuilder {
    /// Starts with room for so many bytes of names and values, at most [`MAX_FIELDS_BYTES`].
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: BytesMut::with_capacity(bytes.min(MAX_FIELDS_BYTES)), count: 0 }
    }

    /// Starts with the fields there are.
    pub fn from_fields(fields: &Fields) -> Self {
        Self { out: BytesMut::from(fields.0.as_ref()), count: fields.iter().count() }
    }

    /// Adds all fields of another message whose names are wanted, as they are.
    ///
    /// # Errors
    /// One field or byte too many. What was added before stays.
    pub fn extend(
        &mut self,
        fields: &Fields,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::copying(&fields.0);
        while reader.remaining() > 0 {
            let rest = reader.as_slice();
            let name = reader.text("field name", MAX_FIELD_NAME)?;
            reader.skip("field value", MAX_FIELDS_BYTES)?;
            if is_wanted(name) {
                let size = rest.len() - reader.remaining();
                self.check_room(1, size)?;
                self.out.extend_from_slice(&rest[..size]);
                self.count += 1;
            }
        }
        Ok(())
    }

    /// Whether so many more fields, of so many bytes in all, may be added.
    fn check_room(&self, fields: usize, bytes: usize) -> Result<(), DecodeError> {
        if self.count + fields > MAX_FIELDS {
            let (found, limit) = ((self.count + fields) as u64, MAX_FIELDS as u64);
            return Err(DecodeError::AboveLimit { what: "count of fields", found, limit });
        }
        let total = self.out.len() + bytes;
        if total > MAX_FIELDS_BYTES {
            let (found, limit) = (total as u64, MAX_FIELDS_BYTES as u64);
            return Err(DecodeError::AboveLimit { what: "fields", found, limit });
        }
        Ok(())
    }

    /// Adds a field; white space around its value is left out.
    ///
    /// # Errors
    /// A bad name or value, or one field or byte too many. What was added before stays.
    pub fn push(&mut self, name: &str, value: &[u8]) -> Result<(), DecodeError> {
        check_name(name.as_bytes())?;
        let value = value.trim_ascii();
        check_value(value)?;
        let sizes = [name.len(), value.len()].map(|size| put::varint_size(size as u64) + size);
        self.check_room(1, sizes[0] + sizes[1])?;
        put::bytes(&mut self.out, name.as_bytes(), MAX_FIELD_NAME);
        put::bytes(&mut self.out, value, MAX_FIELDS_BYTES);
        self.count += 1;
        Ok(())
    }

    /// The fields.
    pub fn finish(self) -> Fields {
        Fields(self.out.freeze())
    }
}

fn check_name(name: &[u8]) -> Result<(), DecodeError> {
    let wrong = |why| Err(DecodeError::Invalid { what: "field name", why });
    if name.is_empty() || name.len() > MAX_FIELD_NAME {
        return wrong("it must have 1 to 256 bytes");
    }
    if !name.iter().all(|byte| is_token_byte(*byte)) {
        return wrong("it has a character that no field name has");
    }
    if name.iter().any(u8::is_ascii_uppercase) {
        return wrong("it has an upper-case letter");
    }
    Ok(())
}

/// Whether a byte may stand in a token (RFC 9110, section 5.6.2): a method, or the name of a field.
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

/// A table, as every byte of every name of every message is looked up.
const TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let sign = matches!(
            byte as u8,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        table[byte] = sign || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

fn check_value(value: &[u8]) -> Result<(), DecodeError> {
    let wrong = |why| Err(DecodeError::Invalid { what: "field value", why });
    // Without a way out in the middle, so that many bytes are looked at together.
    let is_control = |byte: &u8| ((*byte < 0x20) & (*byte != b'\t')) | (*byte == 0x7f);
    if value.iter().fold(false, |found, byte| found | is_control(byte)) {
        return wrong("it has a control character");
    }
    let is_space = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    if is_space(value.first()) || is_space(value.last()) {
        return wrong("it begins or ends with white space");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_keep_their_order_and_are_found_by_name() {
        let fields = Fields::of([("accept", "*/*"), ("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(fields.iter().count(), 3);
        assert_eq!(fields.first("cookie"), Some(&b"a=1"[..]));
        assert_eq!(fields.all("cookie").count(), 2);
        assert_eq!((fields.only("accept"), fields.only("cookie")), (Some("*/*"), None));
        assert!(!fields.has("host"));
        let again = FieldsBuilder::from_fields(&fields).finish();
        assert_eq!(again, fields);
    }

    #[test]
    fn what_could_smuggle_something_is_refused() {
        let mut builder = Fields::builder();
        for name in ["", "Upper", "a b", "a:b", "a\0", "ä", &"n".repeat(257)] {
            assert!(builder.push(name, b"").is_err(), "{name:?}");
        }
        for value in [&b"a\r\nb"[..], b"a\nb", b"a\0b", b"a\x7fb", b"\x1b[2J"] {
            assert!(builder.push("name", value).is_err(), "{value:?}");
        }
        builder.push("name", b" \t a\tb\xff ").unwrap();
        assert_eq!(builder.finish().first("name"), Some(&b"a\tb\xff"[..]));
    }

    #[test]
    fn a_token_has_the_bytes_of_the_rfc() {
        let expected =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!((0..=255).all(|byte| is_token_byte(byte) == expected(byte)));
    }

    #[test]
    fn there_are_bounds() {
        let mut builder = Fields::builder();
        for _ in 0..MAX_FIELDS {
            builder.push("a", b"b").unwrap();
        }
        assert!(builder.push("a", b"b").is_err());
        let mut builder = Fields::builder();
        builder.push("a", &[b'x'; MAX_FIELDS_BYTES - 100]).unwrap();
        assert!(builder.push("a", &[b'x'; 100]).is_err());
        assert!(Fields::parse(Bytes::from(vec![0; MAX_FIELDS_BYTES + 1])).is_err());
    }

    proptest! {
        #[test]
        fn parsing_anything_never_panics(bytes: Vec<u8>) {
            if let Ok(fields) = Fields::parse(Bytes::from(bytes)) {
                let mut builder = Fields::builder();
                for (name, value) in fields.iter() {
                    builder.push(name, value).unwrap();
                }
                let again = builder.finish();
                prop_assert!(again.iter().eq(fields.iter()));
            }
        }
    }
}
