//! What identifies the content of a version.

use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use bytes::BufMut;
use std::fmt;

/// Names one version of an item, whatever its key: BLAKE3, first 128 bits, over the length of the
/// header block, the header block and the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

/// Names one version of one key: BLAKE3, first 128 bits, over the key's length, the key and the
/// digest. See [`Key::tag`](super::Key::tag).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub [u8; 16]);

sixteen_bytes!(Digest, "digest");
sixteen_bytes!(Tag, "tag");

/// What identifies a version's content without holding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// BLAKE3 over header block and bytes.
    pub digest: Digest,
    /// CRC-32 (IEEE) over the bytes.
    pub crc: u32,
    /// How many bytes the version has.
    pub length: u64,
}

impl Fingerprint {
    /// Reads digest, CRC and length.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let digest = Digest::decode(reader)?;
        let crc = u32::from_be_bytes(reader.array("crc")?);
        let length = reader.varint("length", MAX_VARINT)?;
        Ok(Self { digest, crc, length })
    }

    /// Writes digest, CRC and length.
    pub fn encode(&self, out: &mut impl BufMut) {
        self.digest.encode(out);
        out.put_u32(self.crc);
        put::varint(out, self.length);
    }
}

/// Computes a [`Fingerprint`] in one pass over a version's bytes.
pub struct Fingerprinter {
    digest: blake3::Hasher,
    crc: crc32fast::Hasher,
    length: u64,
}

impl Fingerprinter {
    /// Starts with the header block, as it goes over the wire.
    pub fn new(headers: &[u8]) -> Self {
        let mut digest = blake3::Hasher::new();
        digest.update(&(headers.len() as u64).to_be_bytes());
        digest.update(headers);
        Self { digest, crc: crc32fast::Hasher::new(), length: 0 }
    }

    /// Takes the next piece of the bytes.
    pub fn update(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        self.crc.update(piece);
        self.length += piece.len() as u64;
    }

    /// The fingerprint of all that was taken.
    pub fn finish(self) -> Fingerprint {
        let mut digest = [0; 16];
        digest.copy_from_slice(&self.digest.finalize().as_bytes()[..16]);
        Fingerprint { digest: Digest(digest), crc: self.crc.finalize(), length: self.length }
    }
}

/// The fingerprint of a header block and bytes that are all at hand.
///
/// Hashes in pieces that stay in the second-level cache between the CRC and the digest. Smaller
/// ones cost more: only the middle of each is hashed by wide instructions, because the prefix has
/// moved it off BLAKE3's own boundaries.
pub fn fingerprint(headers: &[u8], bytes: &[u8]) -> Fingerprint {
    let mut pass = Fingerprinter::new(headers);
    bytes.chunks(256 * 1024).for_each(|piece| pass.update(piece));
    pass.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_separates_headers_from_bytes() {
        assert_ne!(fingerprint(b"ab", b"c").digest, fingerprint(b"a", b"bc").digest);
        assert_eq!(fingerprint(b"", b"123456789").crc, 0xcbf4_3926, "the CRC-32 check value");
    }
}
