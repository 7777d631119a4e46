//! Who and what: clients, members and pools, keys.

use super::version::{Digest, Tag};
use crate::wire::codec::{DecodeError, Reader, put};
use bytes::{BufMut, Bytes};
use std::fmt;
use std::sync::Arc;

/// Longest name of a router, server or pool: a DNS label.
pub const MAX_NAME: usize = 63;
/// Longest key, in bytes.
pub const MAX_KEY: usize = 1024;

/// Names one client. Issued by a router inside a sealed token; a client cannot choose it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub [u8; 16]);

sixteen_bytes!(ClientId, "client id");

impl ClientId {
    /// Which of a server's workers owns the client: its first eight bytes modulo their number.
    /// Routers draw ids at random, so all workers get the same share.
    pub fn owner(&self, workers: u64) -> u64 {
        let [first, _] = self.halves();
        first % workers.max(1)
    }

    /// The id as two numbers.
    pub fn halves(&self) -> [u64; 2] {
        let number = u128::from_be_bytes(self.0);
        [(number >> 64) as u64, number as u64]
    }
}

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
        Self::new(reader.text("name", MAX_NAME)?)
    }

    /// Reads a length and a name; length 0 stands for none.
    pub fn decode_option(reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        match reader.text("name", MAX_NAME)? {
            "" => Ok(None),
            text => Self::new(text).map(Some),
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
/// The path has no empty, `.` or `..` segments (a final `/` is fine), and nothing of the key is a
/// control character. Percent-encodings are left as they are: what they mean is the source's to
/// decide.
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

    /// A name for one variant of the item, which differs by what else a request says. No client can
    /// ask for it: keys that come over the wire have no control characters.
    pub fn variant(&self, variant: &[u8; 16]) -> Self {
        let mut name = Vec::with_capacity(self.0.len() + 33);
        name.extend_from_slice(&self.0);
        name.push(b'\n');
        for byte in variant {
            name.extend_from_slice(&[b'a' + (byte >> 4), b'a' + (byte & 15)]);
        }
        Self(name.into())
    }

    /// The same key in memory of its own: for what is kept for long, when this one is a slice of a
    /// frame.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
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

#[cfg(test)]
mod tests {
    use super::super::fingerprint;
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
    fn a_tag_depends_on_the_key_and_the_digest() {
        let version = fingerprint(b"", b"hello").digest;
        let other = fingerprint(b"", b"world").digest;
        let tag = key("/a").unwrap().tag(&version);
        assert_ne!(tag, key("/b").unwrap().tag(&version));
        assert_ne!(tag, key("/a").unwrap().tag(&other));
    }
}
