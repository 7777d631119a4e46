//! The sealed token: a router's memory of a client, kept by the client.
//!
//! Sealed with AES-256-GCM-SIV (RFC 8452), which keeps its promise even if a nonce should repeat:
//! routers that share keys draw nonces without talking to each other. Two keys may be live at a
//! time; the first one seals, both open.

use super::codec::{DecodeError, Reader, put};
use super::session::MAX_TOKEN;
use super::types::{Assignment, ClientId, Name};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Bytes of a token key.
pub const TOKEN_KEY_SIZE: usize = 32;
/// What makes a sealed token useless elsewhere, and another version's token useless here.
const CONTEXT: &[u8] = b"understudy token v1";
const SEAL_OVERHEAD: usize = 16;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who the client is.
    pub client: ClientId,
    /// The pool it is in.
    pub pool: Name,
    /// Who serviced it when the token was made.
    pub assignment: Assignment,
    /// From when on it is worth nothing, in seconds since 1970.
    pub expires_s: u64,
}

/// The keys of a set of routers. Cheap to clone.
#[derive(Clone)]
pub struct TokenKeys {
    keys: Arc<[LessSafeKey]>,
}

/// Why a token was not taken. The client goes on as a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No live key opens it: foreign, forged, damaged, or from a key that was rotated out.
    #[error("no live key opens the token")]
    NotOurs,
    /// It is past its time.
    #[error("the token has expired")]
    Expired,
}

impl Token {
    /// Writes what is to be sealed.
    pub fn encode(&self, out: &mut BytesMut) {
        self.client.encode(out);
        self.pool.encode(out);
        self.assignment.encode(out);
        put::varint(out, self.expires_s);
    }

    /// Reads what was sealed.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&bytes);
        let token = Self {
            client: ClientId::decode(&mut reader)?,
            pool: Name::decode(&mut reader)?,
            assignment: Assignment::decode(&mut reader)?,
            expires_s: reader.varint("expiry", super::codec::MAX_VARINT)?,
        };
        reader.finish("token")?;
        Ok(token)
    }
}

impl TokenKeys {
    /// Takes the key that seals, then others that still open.
    pub fn new(keys: &[[u8; TOKEN_KEY_SIZE]]) -> Self {
        let key = |bytes: &[u8; TOKEN_KEY_SIZE]| {
            let unbound = UnboundKey::new(&AES_256_GCM_SIV, bytes);
            LessSafeKey::new(unbound.expect("the array has the length of a key"))
        };
        Self { keys: keys.iter().map(key).collect() }
    }

    /// Seals a token under a nonce that should not have been used before.
    ///
    /// # Panics
    /// If there is no key.
    pub fn seal(&self, token: &Token, nonce: [u8; NONCE_LEN]) -> Bytes {
        let mut plain = BytesMut::with_capacity(192);
        token.encode(&mut plain);
        let key = self.keys.first().expect("a router has a token key");
        let unique = Nonce::assume_unique_for_key(nonce);
        let sealed = key.seal_in_place_separate_tag(unique, Aad::from(CONTEXT), &mut plain);
        let tag = sealed.expect("a token is far below the cipher's limits");
        let whole = [&nonce[..], &plain, tag.as_ref()].concat();
        assert!(whole.len() <= MAX_TOKEN, "a token of {} bytes", whole.len());
        Bytes::from(whole)
    }

    /// Opens a token that has not expired at `now_s`, in seconds since 1970.
    pub fn open(&self, sealed: &[u8], now_s: u64) -> Result<Token, TokenError> {
        if sealed.len() < NONCE_LEN + SEAL_OVERHEAD || sealed.len() > MAX_TOKEN {
            return Err(TokenError::NotOurs);
        }
        let (nonce, sealed) = sealed.split_at(NONCE_LEN);
        let opened = self.keys.iter().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut bytes = sealed.to_vec();
            let plain = key.open_in_place(nonce, Aad::from(CONTEXT), &mut bytes).ok()?.len();
            bytes.truncate(plain);
            Some(bytes)
        });
        let plain = opened.ok_or(TokenError::NotOurs)?;
        let token = Token::decode(Bytes::from(plain)).map_err(|_| TokenError::NotOurs)?;
        if token.expires_s <= now_s {
            return Err(TokenError::Expired);
        }
        Ok(token)
    }
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKeys({} keys)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::Epoch;
    use super::*;

    fn token() -> Token {
        let name = |text| Name::new(text).unwrap();
        Token {
            client: ClientId([7; 16]),
            pool: name("default"),
            assignment: Assignment {
                epoch: Epoch::new(3, name("server-1")),
                alternate: Some(name("server-2")),
            },
            expires_s: 1_000,
        }
    }

    #[test]
    fn opens_with_any_live_key_until_it_expires() {
        let (old, new) = ([1; TOKEN_KEY_SIZE], [2; TOKEN_KEY_SIZE]);
        let sealed = TokenKeys::new(&[old]).seal(&token(), [9; NONCE_LEN]);
        let rotated = TokenKeys::new(&[new, old]);
        assert_eq!(rotated.open(&sealed, 999), Ok(token()));
        assert_eq!(rotated.open(&sealed, 1_000), Err(TokenError::Expired));
        assert_eq!(TokenKeys::new(&[new]).open(&sealed, 0), Err(TokenError::NotOurs));
    }

    #[test]
    fn any_changed_byte_closes_it() {
        let keys = TokenKeys::new(&[[1; TOKEN_KEY_SIZE]]);
        let sealed = keys.seal(&token(), [9; NONCE_LEN]);
        for place in 0..sealed.len() {
            let mut forged = sealed.to_vec();
            forged[place] ^= 1;
            assert_eq!(keys.open(&forged, 0), Err(TokenError::NotOurs), "byte {place}");
            assert_eq!(keys.open(&sealed[..place], 0), Err(TokenError::NotOurs), "cut at {place}");
        }
    }
}
