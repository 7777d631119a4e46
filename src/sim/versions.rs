//! The versions that items have: new ones, and twins that no CRC tells apart.

use super::source::Kind;
use crate::mirror::Version;
use crate::wire::{HeaderBlock, HeaderName};
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use std::sync::Arc;

/// What may be laid over a message without changing its CRC-32: the generator polynomial itself,
/// highest power first, and the CRC takes the lowest bit of each byte first.
pub(super) const TWIN_MASK: [u8; 5] = {
    let polynomial: u64 = 0x1_04c1_1db7;
    let mut mask = [0; 5];
    let mut bit = 0;
    while bit < 33 {
        if polynomial >> (32 - bit) & 1 == 1 {
            mask[bit / 8] |= 1 << (bit % 8);
        }
        bit += 1;
    }
    mask
};

pub(super) fn make(random: &mut StdRng, kind: Kind, own: &str, number: u64) -> Version {
    let length = match kind {
        Kind::Tiny => random.random_range(0..60),
        Kind::Inline | Kind::Private | Kind::Unique | Kind::Fixed => random.random_range(60..2_000),
        Kind::Streamed => random.random_range(16_385..18_000),
        Kind::Unmirrored => random.random_range(1_000..18_000),
    };
    let text = format!("{own} {} ", number % 4);
    let body: Vec<u8> = text.bytes().cycle().take(length).collect();
    let fields = [(HeaderName::ContentType, "text/plain")];
    let fields = &fields[..random.random_range(0..=1)];
    let headers = HeaderBlock::new(fields.iter().copied()).expect("short headers");
    Version::new(headers, Bytes::from(body))
}

/// Other bytes of equal length and CRC.
pub(super) fn twin(random: &mut StdRng, of: &Version) -> Arc<Version> {
    let mut body = of.body().to_vec();
    let place = random.random_range(0..=body.len() - TWIN_MASK.len());
    for (byte, mask) in body[place..].iter_mut().zip(TWIN_MASK) {
        *byte ^= mask;
    }
    Arc::new(Version::new(of.headers().clone(), Bytes::from(body)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn twins_differ_and_no_crc_tells() {
        let mut random = StdRng::seed_from_u64(1);
        for length in [5, 6, 100, 20_000] {
            let one = Version::new(HeaderBlock::default(), Bytes::from(vec![7; length]));
            let other = twin(&mut random, &one);
            assert_ne!(one.body(), other.body());
            assert_ne!(one.fingerprint().digest, other.fingerprint().digest);
            let of = |version: &Version| (version.fingerprint().crc, version.fingerprint().length);
            assert_eq!(of(&one), of(&other));
        }
    }
}
