//! HTTP fields: the headers or trailers of one message.
//!
//! They are kept as they go over the wire, checked once: passing them on, as routers do, costs a
//! reference, and looking for one of them a scan of a few hundred bytes.

use crate::wire::codec::{DecodeError, Reader, put};
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
        let mut reader = Reader::copying(&self.0);
        std::iter::from_fn(move || {
            let name = reader.text("field name", MAX_FIELD_NAME).ok()?;
            Some((name, reader.slice("field value", MAX_FIELDS_BYTES).ok()?))
        })
    }

    /// The values of one field, in order; `name` in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(found, _)| *found == name).map(|(_, value)| value)
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
    /// Starts with the fields there are.
    pub fn from_fields(fields: &Fields) -> Self {
        Self { out: BytesMut::from(fields.0.as_ref()), count: fields.iter().count() }
    }

    /// Adds a field; white space around its value is left out.
    ///
    /// # Errors
    /// A bad name or value, or one field or byte too many. What was added before stays.
    pub fn push(&mut self, name: &str, value: &[u8]) -> Result<(), DecodeError> {
        check_name(name.as_bytes())?;
        let value = value.trim_ascii();
        check_value(value)?;
        if self.count == MAX_FIELDS {
            let (found, limit) = (self.count as u64 + 1, MAX_FIELDS as u64);
            return Err(DecodeError::AboveLimit { what: "count of fields", found, limit });
        }
        let sizes = [name.len(), value.len()].map(|size| put::varint_size(size as u64) + size);
        let total = self.out.len() + sizes[0] + sizes[1];
        if total > MAX_FIELDS_BYTES {
            let (found, limit) = (total as u64, MAX_FIELDS_BYTES as u64);
            return Err(DecodeError::AboveLimit { what: "fields", found, limit });
        }
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
    if name.iter().any(u8::is_ascii_uppercase) {
        return wrong("it has an upper-case letter");
    }
    if !name.iter().all(|byte| is_token_byte(*byte)) {
        return wrong("it has a character that no field name has");
    }
    Ok(())
}

/// Whether a byte may stand in a token: a method, or the name of a field.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn check_value(value: &[u8]) -> Result<(), DecodeError> {
    let wrong = |why| Err(DecodeError::Invalid { what: "field value", why });
    if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
        return wrong("it has a control character");
    }
    if value.trim_ascii().len() != value.len() {
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
