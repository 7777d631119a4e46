//! A header block: what a version carries beside its bytes, from a short allow-list.

use super::codec::{DecodeError, Reader, put};
use bytes::{Bytes, BytesMut};
use std::fmt;

/// Longest value of one header, in bytes.
pub const MAX_HEADER_VALUE: usize = 1024;
/// Largest encoded header block, in bytes.
pub const MAX_HEADER_BLOCK: usize = 4096;

/// The headers that belong to a version. Their numbers are their codes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum HeaderName {
    /// `content-type`
    ContentType = 1,
    /// `content-encoding`
    ContentEncoding = 2,
    /// `content-language`
    ContentLanguage = 3,
    /// `etag`, as the source gave it.
    Etag = 4,
    /// `last-modified`, as the source gave it.
    LastModified = 5,
}

const NAMES: [HeaderName; 5] = [
    HeaderName::ContentType,
    HeaderName::ContentEncoding,
    HeaderName::ContentLanguage,
    HeaderName::Etag,
    HeaderName::LastModified,
];

impl HeaderName {
    /// Every one, in the order of their codes.
    pub const ALL: [Self; 5] = NAMES;

    /// The HTTP field name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContentType => "content-type",
            Self::ContentEncoding => "content-encoding",
            Self::ContentLanguage => "content-language",
            Self::Etag => "etag",
            Self::LastModified => "last-modified",
        }
    }
}

/// Headers in the order of their codes, each at most once, kept as they go over the wire.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HeaderBlock(Bytes);

impl HeaderBlock {
    /// Builds a block.
    ///
    /// # Errors
    /// A name that occurs twice, a value above [`MAX_HEADER_VALUE`], or one with a control
    /// character.
    pub fn new<'a>(
        headers: impl IntoIterator<Item = (HeaderName, &'a str)>,
    ) -> Result<Self, DecodeError> {
        let mut headers: Vec<_> = headers.into_iter().collect();
        headers.sort_by_key(|(name, _)| *name);
        let mut out = BytesMut::new();
        for (name, value) in headers {
            if value.len() > MAX_HEADER_VALUE {
                let (found, limit) = (value.len() as u64, MAX_HEADER_VALUE as u64);
                return Err(DecodeError::AboveLimit { what: "header value", found, limit });
            }
            put::varint(&mut out, name as u64);
            put::bytes(&mut out, value.as_bytes(), MAX_HEADER_VALUE);
        }
        Self::parse(out.freeze())
    }

    /// Checks a block that came over the wire.
    pub fn parse(bytes: Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_HEADER_BLOCK {
            let (found, limit) = (bytes.len() as u64, MAX_HEADER_BLOCK as u64);
            return Err(DecodeError::AboveLimit { what: "header block", found, limit });
        }
        let mut reader = Reader::new(&bytes);
        let mut last = 0;
        while reader.remaining() > 0 {
            let code = reader.varint("header code", 63)?;
            if !NAMES.iter().any(|name| *name as u64 == code) {
                return Err(DecodeError::Unknown { what: "header code", found: code });
            }
            if code <= last {
                return Err(DecodeError::Invalid {
                    what: "header block",
                    why: "it is not in order",
                });
            }
            last = code;
            let value = reader.text("header value", MAX_HEADER_VALUE)?;
            if value.chars().any(char::is_control) {
                let why = "it has a control character";
                return Err(DecodeError::Invalid { what: "header value", why });
            }
        }
        Ok(Self(bytes))
    }

    /// Reads a length and a block.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Self::parse(reader.bytes("header block", MAX_HEADER_BLOCK)?)
    }

    /// Writes the length and the block.
    pub fn encode(&self, out: &mut BytesMut) {
        put::bytes(out, &self.0, MAX_HEADER_BLOCK);
    }

    /// The block as it goes over the wire, and into the digest.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The headers, in the order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = (HeaderName, &str)> {
        let mut reader = Reader::new(&self.0);
        std::iter::from_fn(move || {
            let code = reader.varint("header code", 63).ok()?;
            let name = NAMES.iter().find(|name| **name as u64 == code)?;
            Some((*name, reader.text("header value", MAX_HEADER_VALUE).ok()?))
        })
    }

    /// The value of one header.
    pub fn value(&self, wanted: HeaderName) -> Option<&str> {
        self.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
    }
}

impl fmt::Debug for HeaderBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name.as_str(), value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_does_not_matter_and_doubles_are_refused() {
        let typed = (HeaderName::ContentType, "text/html");
        let tagged = (HeaderName::Etag, "\"1\"");
        let block = HeaderBlock::new([typed, tagged]).unwrap();
        assert_eq!(block, HeaderBlock::new([tagged, typed]).unwrap());
        assert_eq!(block.value(HeaderName::Etag), Some("\"1\""));
        assert!(HeaderBlock::new([typed, typed]).is_err());
        assert!(HeaderBlock::new([(HeaderName::Etag, "a\r\nb")]).is_err());
    }

    proptest! {
        #[test]
        fn parsing_anything_never_panics(bytes: Vec<u8>) {
            if let Ok(block) = HeaderBlock::parse(Bytes::from(bytes)) {
                let listed: Vec<_> = block.iter().collect();
                let again = HeaderBlock::new(listed.iter().copied()).unwrap();
                prop_assert_eq!(again.iter().collect::<Vec<_>>(), listed);
            }
        }
    }
}
