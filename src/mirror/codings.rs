//! Versions in a content coding, each made once and shared by all clients that accept it.

use super::makings::{Making, Makings, Size};
use crate::http::encoding::Encoding;
use crate::wire::Digest;
use bytes::Bytes;

/// Longer content is sent as it is, in bytes. What Zstandard makes of the rest needs no larger
/// window than browsers grant (RFC 9659).
pub const MAX_LENGTH: u64 = 8 << 20;

/// Of which version, in which coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coding {
    /// The version.
    pub version: Digest,
    /// The coding.
    pub encoding: Encoding,
}

/// A version in a coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coded {
    /// The bytes as they are sent.
    pub bytes: Bytes,
    /// Of these bytes.
    pub digest: Digest,
}

/// What is known of a version in a coding.
pub type CodedForm = Making<Coded>;

/// Versions in codings as far as the budget goes, and those in work.
pub type Codings = Makings<Coding, Coded>;

impl Size for Coded {
    fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// Saves at least one part in so many, or is not worth it.
#[cfg(feature = "server")]
const LEAST_SAVED: usize = 10;

/// Codes content. `None` if that does not save enough, or there is no encoder for it.
///
/// The same content always gives the same bytes, on all machines with 128-bit SIMD, by which
/// Zstandard chooses how it searches. Where a change to this, or to a
/// library, gives others, the entity tags must change as well: see [`coded_tag`].
///
/// [`coded_tag`]: crate::http::etag::coded_tag
#[cfg(feature = "server")]
pub fn encode(encoding: Encoding, content: &[u8]) -> Option<Coded> {
    let coded = match encoding {
        Encoding::Zstd => zstd::bulk::compress(content, ZSTD_LEVEL).ok()?,
        Encoding::Gzip => gzip(content)?,
        Encoding::Brotli | Encoding::Identity => return None,
    };
    let worth_it = coded.len() <= content.len() - content.len().div_ceil(LEAST_SAVED);
    worth_it.then(|| {
        let digest = crate::wire::types::fingerprint(b"", &coded).digest;
        Coded { bytes: coded.into(), digest }
    })
}

/// Nearly as small as it gets before the next levels take several times as long.
#[cfg(feature = "server")]
const ZSTD_LEVEL: i32 = 6;

#[cfg(feature = "server")]
fn gzip(content: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write;
    let room = Vec::with_capacity(content.len() / 2);
    let mut encoder = flate2::write::GzEncoder::new(room, flate2::Compression::default());
    encoder.write_all(content).ok()?;
    encoder.finish().ok()
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        let read = match encoding {
            Encoding::Zstd => zstd::stream::copy_decode(bytes, &mut decoded).map(|()| 0),
            Encoding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut decoded),
            other => panic!("{other:?} is not decoded"),
        };
        read.expect("it is well formed");
        decoded
    }

    fn text() -> Vec<u8> {
        let lines = (0..3000u32).map(|at| format!(".a{} {{ width: {}px }}\n", at, at * at % 977));
        lines.collect::<String>().into_bytes()
    }

    #[test]
    fn what_repeats_itself_becomes_smaller_and_random_bytes_are_not_worth_it() {
        let noise: Vec<u8> =
            text().chunks(40).flat_map(|it| blake3::hash(it).as_bytes().to_vec()).collect();
        for encoding in [Encoding::Zstd, Encoding::Gzip] {
            let coded = encode(encoding, &text()).expect("it is worth it");
            assert!(coded.bytes.len() < text().len() / 3, "{encoding:?} {}", coded.bytes.len());
            assert_eq!(decode(encoding, &coded.bytes), text());
            assert_eq!(encode(encoding, &noise), None);
            assert_eq!(encode(encoding, b""), None);
        }
        assert_eq!(encode(Encoding::Identity, &text()), None);
    }

    /// If this fails, encoders give other bytes than those of the release before: the number in
    /// what entity tags end with (`http::etag`) goes up, and the digests here are made new.
    #[test]
    fn the_same_content_gives_the_same_bytes_as_ever() {
        for (encoding, digest) in [
            (Encoding::Zstd, "d44b9cbd3f3ee9520c400e826a2663fe"),
            (Encoding::Gzip, "09b938428112e6f61d4ac208a48bdf4e"),
        ] {
            let coded = encode(encoding, &text()).expect("it is worth it");
            assert_eq!(coded.digest.to_string(), digest, "{encoding:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_coded_is_decoded(content in "[ab ]{0,3000}", zstd: bool) {
            let encoding = if zstd { Encoding::Zstd } else { Encoding::Gzip };
            if let Some(coded) = encode(encoding, content.as_bytes()) {
                prop_assert!(coded.bytes.len() * 10 <= content.len() * 9);
                prop_assert_eq!(decode(encoding, &coded.bytes), content.as_bytes());
            }
        }
    }
}
