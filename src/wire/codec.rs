//! One bounded reader and one writer for every byte that crosses a network.
//!
//! A [`Reader`] walks a [`Bytes`] from the front and hands out slices of it without copying: only a
//! slice that is kept counts as a holder of the bytes. It never allocates on behalf of a peer:
//! every length is checked against a named limit before it is used, and [`Reader::finish`] rejects
//! what is left over. The functions of [`put`] are its mirror image, and assert the same limits, so
//! that what we write is always what we would accept.
//!
//! Integers are QUIC variable-length integers (RFC 9000, section 16). Every encoding of a number is
//! accepted, the shortest is written.

use bytes::Bytes;

/// Largest number a variable-length integer carries: 2^62 - 1.
pub const MAX_VARINT: u64 = (1 << 62) - 1;

/// Why bytes from a peer (or a file) are not what they claim to be. It is always the sender's
/// fault, and nothing has been changed by reading them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside the named field.
    #[error("{what} is cut short")]
    Truncated {
        /// The field that was being read.
        what: &'static str,
    },
    /// The named field is longer, or its value greater, than the protocol allows.
    #[error("{what} is {found}, above the limit of {limit}")]
    AboveLimit {
        /// The field that was being read.
        what: &'static str,
        /// What the peer sent.
        found: u64,
        /// The largest accepted value.
        limit: u64,
    },
    /// The named field holds a value that means nothing.
    #[error("{what} has the unknown value {found:#x}")]
    Unknown {
        /// The field that was being read.
        what: &'static str,
        /// What the peer sent.
        found: u64,
    },
    /// The named field breaks one of its own rules.
    #[error("{what} is invalid: {why}")]
    Invalid {
        /// The field that was being read.
        what: &'static str,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// Bytes are left over behind the last field.
    #[error("{count} bytes are left over after {what}")]
    Trailing {
        /// The frame that was being read.
        what: &'static str,
        /// How many bytes were left.
        count: usize,
    },
}

/// Reads fields off the front of a [`Bytes`].
#[derive(Debug)]
pub struct Reader<'a> {
    /// What slices are taken from; without it they are copied.
    whole: Option<&'a Bytes>,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    pub fn new(bytes: &'a Bytes) -> Self {
        Self { whole: Some(bytes), rest: bytes }
    }

    /// Starts at a place within `bytes`.
    ///
    /// # Panics
    /// If `bytes` is shorter.
    pub fn starting_at(bytes: &'a Bytes, place: usize) -> Self {
        Self { whole: Some(bytes), rest: &bytes[place..] }
    }

    /// Starts at the first of bytes that nobody shares: slices of them are copies.
    pub fn copying(bytes: &'a [u8]) -> Self {
        Self { whole: None, rest: bytes }
    }

    /// What is still to be read.
    pub fn as_slice(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes are still to be read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Reads one byte.
    pub fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(*first)
    }

    /// Reads one variable-length integer of at most `limit`.
    pub fn varint(&mut self, what: &'static str, limit: u64) -> Result<u64, DecodeError> {
        let (found, length) = peek_varint(self.rest).ok_or(DecodeError::Truncated { what })?;
        self.rest = &self.rest[length..];
        if found > limit {
            return Err(DecodeError::AboveLimit { what, found, limit });
        }
        Ok(found)
    }

    /// Reads exactly `N` bytes.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (array, rest) =
            self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(*array)
    }

    /// Reads a length of at most `limit`, then as many bytes, as a slice of the input.
    pub fn bytes(&mut self, what: &'static str, limit: usize) -> Result<Bytes, DecodeError> {
        let bytes = self.slice(what, limit)?;
        Ok(self.share(bytes))
    }

    /// Passes over a length of at most `limit`, and as many bytes.
    pub fn skip(&mut self, what: &'static str, limit: usize) -> Result<(), DecodeError> {
        self.slice(what, limit).map(drop)
    }

    /// Reads a length of at most `limit`, then as many bytes of UTF-8.
    pub fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, DecodeError> {
        let bytes = self.slice(what, limit)?;
        std::str::from_utf8(bytes)
            .map_err(|_| DecodeError::Invalid { what, why: "it is not UTF-8" })
    }

    /// Takes everything that is left.
    pub fn rest(&mut self) -> Bytes {
        let rest = std::mem::take(&mut self.rest);
        self.share(rest)
    }

    /// Takes everything that is left: as `copy`, if there is one, else as what `share` makes of it.
    pub(super) fn rest_with<T>(&mut self, copy: Option<T>, share: impl FnOnce(Bytes) -> T) -> T {
        let rest = std::mem::take(&mut self.rest);
        copy.unwrap_or_else(|| share(self.share(rest)))
    }

    fn share(&self, bytes: &[u8]) -> Bytes {
        match self.whole {
            Some(whole) => whole.slice_ref(bytes),
            None => Bytes::copy_from_slice(bytes),
        }
    }

    /// Ends the reading: nothing may be left over.
    pub fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { what, count }),
        }
    }

    /// Reads a length of at most `limit`, then as many bytes, where they are.
    pub fn slice(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.varint(what, limit as u64)? as usize;
        let (bytes, rest) =
            self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// Reads the variable-length integer at the start of `bytes`; also returns how many bytes it takes.
/// `None` when it is cut short.
pub fn peek_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let value = match bytes.first()? >> 6 {
        0 => (u64::from(bytes[0]), 1),
        1 => (u64::from(u16::from_be_bytes(*bytes.first_chunk()?) & 0x3fff), 2),
        2 => (u64::from(u32::from_be_bytes(*bytes.first_chunk()?) & 0x3fff_ffff), 4),
        _ => (u64::from_be_bytes(*bytes.first_chunk()?) & MAX_VARINT, 8),
    };
    Some(value)
}

/// The writing side.
pub mod put {
    use super::MAX_VARINT;
    use bytes::BufMut;

    /// Writes a number in its shortest encoding.
    ///
    /// # Panics
    /// If `value` is above [`MAX_VARINT`]: every caller's numbers are bounded by construction.
    pub fn varint(out: &mut impl BufMut, value: u64) {
        match value {
            0..=0x3f => out.put_u8(value as u8),
            0x40..=0x3fff => out.put_u16(0x4000 | value as u16),
            0x4000..=0x3fff_ffff => out.put_u32(0x8000_0000 | value as u32),
            _ => {
                assert!(value <= MAX_VARINT, "{value} does not fit a variable-length integer");
                out.put_u64(0xc000_0000_0000_0000 | value);
            }
        }
    }

    /// Writes a number that has a limit.
    ///
    /// # Panics
    /// If `value` is above `limit`: the reader would refuse what we are about to send.
    pub fn limited(out: &mut impl BufMut, value: u64, limit: u64) {
        assert!(value <= limit, "{value} is above the limit of {limit}");
        varint(out, value);
    }

    /// Writes a length, then the bytes.
    ///
    /// # Panics
    /// If there are more than `limit` bytes: the reader would refuse what we are about to send.
    pub fn bytes(out: &mut impl BufMut, bytes: &[u8], limit: usize) {
        assert!(bytes.len() <= limit, "{} bytes are above the limit of {limit}", bytes.len());
        varint(out, bytes.len() as u64);
        out.put_slice(bytes);
    }

    /// How many bytes [`varint`] takes for `value`.
    pub const fn varint_size(value: u64) -> usize {
        match value {
            0..=0x3f => 1,
            0x40..=0x3fff => 2,
            0x4000..=0x3fff_ffff => 4,
            _ => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_9000_examples_decode() {
        // RFC 9000, appendix A.1.
        let long = [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c];
        assert_eq!(peek_varint(&long), Some((151_288_809_941_952_652, 8)));
        assert_eq!(peek_varint(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(peek_varint(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(peek_varint(&[0x25]), Some((37, 1)));
        assert_eq!(peek_varint(&[0x40, 0x25]), Some((37, 2)), "longer than needed, still 37");
        assert_eq!(peek_varint(&[0x40]), None);
        assert_eq!(peek_varint(&[]), None);
    }

    #[test]
    fn limits_are_checked_before_lengths_are_used() {
        let ones = Bytes::from_static(&[0xff; 8]);
        let mut reader = Reader::new(&ones);
        let error = reader.bytes("key", 1024).unwrap_err();
        assert_eq!(error, DecodeError::AboveLimit { what: "key", found: MAX_VARINT, limit: 1024 });
    }

    proptest! {
        #[test]
        fn varints_round_trip(value in 0..=MAX_VARINT) {
            let mut out = Vec::new();
            put::varint(&mut out, value);
            prop_assert_eq!(out.len(), put::varint_size(value));
            prop_assert_eq!(peek_varint(&out), Some((value, out.len())));
        }

        #[test]
        fn reading_anything_never_panics(bytes: Vec<u8>, limit: usize) {
            let bytes = Bytes::from(bytes);
            let mut reader = Reader::new(&bytes);
            let _ = reader.varint("number", limit as u64);
            let _ = reader.bytes("bytes", limit);
            let _ = reader.array::<16>("array");
            let _ = reader.text("text", limit);
            let _ = reader.finish("test");
        }
    }
}
