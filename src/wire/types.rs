//! The names of things: clients, servers, keys, versions, epochs.

use super::codec::{DecodeError, Reader, put};
use bytes::{BufMut, Bytes};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Longest name of a router, server or pool: a DNS label.
pub const MAX_NAME: usize = 63;
/// Longest key, in bytes.
pub const MAX_KEY: usize = 1024;
/// Largest value of an epoch's two counters.
pub const MAX_EPOCH_COUNTER: u64 = u32::MAX as u64;

/// Names one client. Issued by a router inside a sealed token; a client cannot choose it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub [u8; 16]);

/// Names one version of an item, whatever its key: BLAKE3, first 128 bits, over the length of the
/// header block, the header block and the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

/// Names one version of one key: BLAKE3, first 128 bits, over the key's length, the key and the
/// digest. See [`Key::tag`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub [u8; 16]);

macro_rules! sixteen_bytes {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Reads 16 bytes.
            pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
                reader.array($what).map(Self)
            }

            /// Writes 16 bytes.
            pub fn encode(&self, out: &mut impl BufMut) {
                out.put_slice(&self.0);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Result<Self, DecodeError> {
                let wrong = DecodeError::Invalid { what: $what, why: "it is not 32 hex digits" };
                if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(wrong);
                }
                let number = u128::from_str_radix(text, 16).map_err(|_| wrong)?;
                Ok(Self(number.to_be_bytes()))
            }
        }
    };
}

sixteen_bytes!(ClientId, "client id");
sixteen_bytes!(Digest, "digest");
sixteen_bytes!(Tag, "tag");

/// The stable name of a router, a server or a pool: a lower-case DNS label. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks that `text` is 1 to 63 of `a-z`, `0-9` and `-`, and does not start or end with `-`.
    pub fn new(text: &str) -> Result<Self, DecodeError> {
        let wrong = |why| Err(DecodeError::Invalid { what: "name", why });
        if text.is_empty() || text.len() > MAX_NAME {
            return wrong("it must have 1 to 63 characters");
        }
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !text.bytes().all(allowed) {
            return wrong("only a-z, 0-9 and '-' are allowed");
        }
        if text.starts_with('-') || text.ends_with('-') {
            return wrong("it must not start or end with '-'");
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a length and a name.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Self::new(&reader.text("name", MAX_NAME)?)
    }

    /// Reads a length and a name; length 0 stands for none.
    pub fn decode_option(reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        match reader.text("name", MAX_NAME)? {
            text if text.is_empty() => Ok(None),
            text => Self::new(&text).map(Some),
        }
    }

    /// Writes the length and the name.
    pub fn encode(&self, out: &mut impl BufMut) {
        put::bytes(out, self.0.as_bytes(), MAX_NAME);
    }

    /// Writes a name, or length 0 for none.
    pub fn encode_option(name: Option<&Self>, out: &mut impl BufMut) {
        match name {
            Some(name) => name.encode(out),
            None => put::varint(out, 0),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names an item inside a pool: an absolute path with an optional query, 1 to 1,024 bytes of UTF-8.
/// Cheap to clone.
///
/// The path has no empty, `.` or `..` segments (a final `/` is fine), and nothing of it is a control
/// character. Percent-encodings are left as they are: what they mean is the source's to decide.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Bytes);

impl Key {
    /// Checks the rules above.
    pub fn new(bytes: Bytes) -> Result<Self, DecodeError> {
        let wrong = |why| Err(DecodeError::Invalid { what: "key", why });
        if bytes.len() > MAX_KEY {
            let (found, limit) = (bytes.len() as u64, MAX_KEY as u64);
            return Err(DecodeError::AboveLimit { what: "length of the key", found, limit });
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return wrong("it is not UTF-8");
        };
        let Some(path) = text.split('?').next().and_then(|path| path.strip_prefix('/')) else {
            return wrong("it must start with '/'");
        };
        if text.chars().any(char::is_control) {
            return wrong("it has a control character");
        }
        let last = path.split('/').count() - 1;
        for (place, segment) in path.split('/').enumerate() {
            match segment {
                "" if place < last => return wrong("it has an empty path segment"),
                "." | ".." => return wrong("it has a '.' or '..' path segment"),
                _ => {}
            }
        }
        Ok(Self(bytes))
    }

    /// Reads a length and a key.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Self::new(reader.bytes("length of the key", MAX_KEY)?)
    }

    /// Writes the length and the key.
    pub fn encode(&self, out: &mut impl BufMut) {
        put::bytes(out, &self.0, MAX_KEY);
    }

    /// The whole key, query included.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("Key::new checked that it is UTF-8")
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The tag of the version of this key that has `digest`.
    pub fn tag(&self, digest: &Digest) -> Tag {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.0.len() as u64).to_be_bytes());
        hasher.update(&self.0);
        hasher.update(&digest.0);
        let mut tag = [0; 16];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Tag(tag)
    }
}

impl std::str::FromStr for Key {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        Self::new(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// How new an assignment is. The higher one wins everywhere.
///
/// `term` grows when the primary changes, `change` when only the alternate does. The primary's name
/// is compared last, so that two routers that decide at once never tie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Grows when the primary changes; starts at 1. What output calls "epoch".
    pub term: u64,
    /// Grows when only the alternate changes; starts at 0 in each term.
    pub change: u64,
    /// The server that this epoch makes primary.
    pub primary: Name,
}

impl Epoch {
    /// The first epoch of a term.
    pub fn new(term: u64, primary: Name) -> Self {
        Self { term, change: 0, primary }
    }

    /// Reads two counters and a name.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let term = reader.varint("term", MAX_EPOCH_COUNTER)?;
        let change = reader.varint("change", MAX_EPOCH_COUNTER)?;
        Ok(Self { term, change, primary: Name::decode(reader)? })
    }

    /// Writes two counters and a name.
    pub fn encode(&self, out: &mut impl BufMut) {
        put::varint(out, self.term);
        put::varint(out, self.change);
        self.primary.encode(out);
    }
}

impl Ord for Epoch {
    fn cmp(&self, other: &Self) -> Ordering {
        let ours = (self.term, self.change, &self.primary);
        ours.cmp(&(other.term, other.change, &other.primary))
    }
}

impl PartialOrd for Epoch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Who services a client, who would take over, and how new this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The epoch, which names the primary.
    pub epoch: Epoch,
    /// The server that holds the second mirror; none while there is no other server.
    pub alternate: Option<Name>,
}

impl Assignment {
    /// The server that services the client.
    pub fn primary(&self) -> &Name {
        &self.epoch.primary
    }

    /// Reads an epoch and a name that may be missing.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let epoch = Epoch::decode(reader)?;
        Ok(Self { epoch, alternate: Name::decode_option(reader)? })
    }

    /// Writes an epoch and a name that may be missing.
    pub fn encode(&self, out: &mut impl BufMut) {
        self.epoch.encode(out);
        Name::encode_option(self.alternate.as_ref(), out);
    }
}

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
        let length = reader.varint("length", super::codec::MAX_VARINT)?;
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
/// Hashes in pieces that stay in the first-level cache between the CRC and the digest.
pub fn fingerprint(headers: &[u8], bytes: &[u8]) -> Fingerprint {
    let mut pass = Fingerprinter::new(headers);
    bytes.chunks(16 * 1024).for_each(|piece| pass.update(piece));
    pass.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Key, DecodeError> {
        text.parse()
    }

    #[test]
    fn keys_are_absolute_and_plain() {
        for good in ["/", "/a", "/a/b.txt", "/a/", "/a?x=../..", "/ä b", "/%2e%2e/x", "/...", "/?"]
        {
            assert!(key(good).is_ok(), "{good}");
        }
        for bad in
            ["", "a", "../../etc/passwd", "//", "/a//b", "/.", "/a/../b", "/..", "/a\0", "/\n"]
        {
            assert!(key(bad).is_err(), "{bad:?}");
        }
        assert!(key(&format!("/{}", "k".repeat(1023))).is_ok());
        assert!(key(&format!("/{}", "k".repeat(1024))).is_err());
        assert!(Key::new(Bytes::from_static(b"/\xff")).is_err());
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "server-1", "0"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Server", "a.b", "-a", "a-", "a b", &"x".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn epochs_never_tie() {
        let name = |text| Name::new(text).unwrap();
        let epoch = |term, change, primary| Epoch { term, change, primary: name(primary) };
        assert!(epoch(2, 0, "a") > epoch(1, 9, "z"));
        assert!(epoch(1, 1, "a") > epoch(1, 0, "z"));
        assert!(epoch(1, 0, "b") > epoch(1, 0, "a"));
    }

    #[test]
    fn a_tag_depends_on_the_key_and_the_digest() {
        let version = fingerprint(b"", b"hello").digest;
        let other = fingerprint(b"", b"world").digest;
        let tag = key("/a").unwrap().tag(&version);
        assert_ne!(tag, key("/b").unwrap().tag(&version));
        assert_ne!(tag, key("/a").unwrap().tag(&other));
    }

    #[test]
    fn a_digest_separates_headers_from_bytes() {
        assert_ne!(fingerprint(b"ab", b"c").digest, fingerprint(b"a", b"bc").digest);
        assert_eq!(fingerprint(b"", b"123456789").crc, 0xcbf4_3926, "the CRC-32 check value");
    }
}
