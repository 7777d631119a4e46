//! Round trips, and deltas that are wrong in one way each.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use zstd::zstd_safe::{DParameter, InBuffer, OutBuffer};

/// Text that does not repeat itself much: numbers from a small generator.
fn text(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut text = Vec::with_capacity(length + 24);
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1 << 32 | 0xF00D);
        text.extend_from_slice(format!("{} ", state >> 16).as_bytes());
    }
    text.truncate(length);
    text
}

/// A version, another one that differs in a few bytes of its middle, and the delta.
fn versions(length: usize) -> (Vec<u8>, Vec<u8>, Bytes) {
    let old = text(length, 1);
    let mut new = old.clone();
    new.splice(length / 2..length / 2 + 10, *b"a few other bytes");
    let delta = encode(&old, &new).expect("it pays");
    (old, new, delta)
}

/// A frame with this descriptor and what follows it.
fn frame(descriptor: u8, rest: &[&[u8]]) -> Vec<u8> {
    [&0xFD2F_B528_u32.to_le_bytes(), &[descriptor][..], &rest.concat()].concat()
}

/// A block that repeats a byte.
fn repeated(byte: u8, count: u32, last: bool) -> Vec<u8> {
    let header = count << 3 | 1 << 1 | u32::from(last);
    [&header.to_le_bytes()[..3], &[byte]].concat()
}

const SINGLE_SEGMENT: u8 = 0x20;
const LENGTH_IN_4: u8 = 0x80;
const LENGTH_IN_8: u8 = 0xC0;

#[test]
fn a_small_change_makes_a_small_delta() {
    for length in [200, 1_000, 30_000, 700_000, 5_000_000] {
        let (old, new, delta) = versions(length);
        assert!(delta.len() < 80 + length / 1_000, "{} bytes for {length}", delta.len());
        assert_eq!(decode(&old, &delta, new.len()).unwrap(), new);
    }
}

#[test]
fn the_largest_versions_have_a_delta() {
    let mut old = text(1 << 20, 1).repeat(MAX_INPUT >> 20);
    // Pieces that are found only where the window reaches back over all of old and new.
    old[..4_000].copy_from_slice(&text(4_000, 2));
    let mut new = old.clone();
    new[MAX_INPUT - 4_000..].copy_from_slice(&old[..4_000]);
    let delta = encode(&old, &new).unwrap();
    assert!(delta.len() < 20_000, "{} bytes", delta.len());
    assert!(decode(&old, &delta, MAX_INPUT).unwrap() == new);
    old.push(0);
    assert_eq!(encode(&old, &new), None);
    assert_eq!(encode(&new, &old), None);
}

#[test]
fn what_does_not_pay_has_no_delta() {
    // Neither does it repeat itself, nor what is in `old`.
    let noise = |seed| (0..50_000_u32).flat_map(move |i| blake(i, seed)).collect::<Vec<u8>>();
    assert_eq!(encode(&noise(1), &noise(2)), None);
    assert!(encode(&noise(1), &noise(1)).is_some());
    // Two fifths are new: that pays; half is new: that does not.
    let (old, other) = (noise(1), noise(2));
    let mixed = |share: usize| [&other[..share * 1_000], &old[..100_000 - share * 1_000]].concat();
    assert!(encode(&old, &mixed(60)).is_some());
    assert_eq!(encode(&old, &mixed(70)), None);

    let (old, new) = (text(MIN_INPUT, 1), text(MIN_INPUT, 1));
    assert!(encode(&old, &new).is_some());
    assert_eq!(encode(&old, &new[1..]), None);
    assert_eq!(encode(&old, b""), None);
}

fn blake(number: u32, seed: u8) -> [u8; 4] {
    let hash = blake3::hash(&[&number.to_le_bytes()[..], &[seed]].concat());
    *hash.as_bytes().first_chunk().unwrap()
}

#[test]
fn our_frames_are_what_a_browser_decodes() {
    for length in [64, 255, 256, 65_791, 65_792, 3_000_000] {
        let (old, new, delta) = versions(length);
        // No window but the content, no dictionary by number, no checksum.
        assert_eq!(delta[4] & 0x3F, SINGLE_SEGMENT, "for {length}");
        assert_eq!(frame::check(&delta, new.len()), Ok(()));
        // As a browser: in small pieces, and with a window of 8 MiB at most.
        let mut context = DCtx::create();
        context.set_parameter(DParameter::WindowLogMax(23)).unwrap();
        context.ref_prefix(&old).unwrap();
        let mut decoded = Vec::new();
        let mut input = InBuffer::around(&delta);
        loop {
            let mut piece = [0; 1_000];
            let mut output = OutBuffer::around(&mut piece[..]);
            let left = context.decompress_stream(&mut output, &mut input).unwrap();
            decoded.extend_from_slice(output.as_slice());
            if left == 0 {
                break;
            }
        }
        assert_eq!(decoded, new);
    }
}

#[test]
fn an_old_version_that_looks_like_a_dictionary_is_bytes_like_any_other() {
    let mut old = text(2_000, 1);
    old[..4].copy_from_slice(&0xEC30_A437_u32.to_le_bytes());
    let new = [b"new: ", &old[..]].concat();
    let delta = encode(&old, &new).unwrap();
    assert!(delta.len() < 60, "{} bytes", delta.len());
    assert_eq!(decode(&old, &delta, new.len()).unwrap(), new);
}

#[test]
fn another_old_version_gives_an_error_or_other_bytes_of_that_length() {
    let (_, new, delta) = versions(10_000);
    let other = decode(&text(10_000, 3), &delta, new.len()).unwrap();
    assert!(other.len() == new.len() && other != new);
    assert!(matches!(decode(b"", &delta, new.len()), Err(DeltaError::Broken(_))));
}

#[test]
fn a_bomb_does_not_go_off() {
    let claims = |length: u64, blocks: &[u8]| {
        frame(SINGLE_SEGMENT | LENGTH_IN_8, &[&length.to_le_bytes(), blocks])
    };
    let last = repeated(0, 1, true);
    // Says it is huge: not what was announced.
    let huge = DeltaError::OtherLength { stated: 1 << 60, announced: 1_000 };
    assert_eq!(decode(b"", &claims(1 << 60, &last), 1_000), Err(huge));
    // Is announced as huge.
    let huge = claims(1 << 40, &last);
    assert_eq!(decode(b"", &huge, 1 << 40), Err(DeltaError::TooLong(1 << 40)));
    // Announces and says what is allowed, but has far too little for it: no memory is taken.
    let lies = DeltaError::OtherLength { stated: 1, announced: MAX_INPUT };
    assert_eq!(decode(b"", &claims(MAX_INPUT as u64, &last), MAX_INPUT), Err(lies));
    // Decodes to more than it says.
    let blocks = [repeated(0, 100_000, false), repeated(0, 100_000, true)].concat();
    let more = decode(b"", &claims(150_000, &blocks), 150_000);
    assert!(matches!(more, Err(DeltaError::Broken(_))), "{more:?}");
    // What it says and what was announced may be made of few bytes.
    assert_eq!(decode(b"", &claims(200_000, &blocks), 200_000).unwrap(), vec![0; 200_000]);
}

#[test]
fn exactly_one_frame_is_read() {
    let (old, new, delta) = versions(1_000);
    let decode = |delta: &[u8]| decode(&old, delta, new.len());
    for length in 4..delta.len() {
        assert_eq!(decode(&delta[..length]), Err(DeltaError::CutShort), "of {length} bytes");
    }
    assert_eq!(decode(&delta[..3]), Err(DeltaError::NotAFrame));
    assert_eq!(decode(b""), Err(DeltaError::NotAFrame));
    assert_eq!(decode(&[0xAA; 100]), Err(DeltaError::NotAFrame));
    let trailing = |tail: &[u8]| decode(&[&delta[..], tail].concat());
    assert_eq!(trailing(&[0]), Err(DeltaError::Trailing(1)));
    assert_eq!(trailing(&delta), Err(DeltaError::Trailing(delta.len())));
    let skipped = [&0x184D_2A5E_u32.to_le_bytes()[..], &[0; 4]].concat();
    assert_eq!(trailing(&skipped), Err(DeltaError::Trailing(8)));
    assert_eq!(decode(&[&skipped, &delta[..]].concat()), Err(DeltaError::NotAFrame));
    let unknown = frame(SINGLE_SEGMENT, &[&[1], &[0x07, 0, 0]]);
    assert!(matches!(super::decode(b"", &unknown, 1), Err(DeltaError::Broken(_))));
}

#[test]
fn frames_of_other_kinds_are_refused() {
    let block = repeated(b'x', 1_000, true);
    let length = 1_000_u32.to_le_bytes();
    let decode = |delta: &[u8], length| decode(b"old", delta, length);
    let whole = vec![b'x'; 1_000];

    let good = frame(SINGLE_SEGMENT | LENGTH_IN_4, &[&length, &block]);
    assert_eq!(decode(&good, 1_000).unwrap(), whole);
    for announced in [0, 999, 1_001] {
        let error = DeltaError::OtherLength { stated: 1_000, announced };
        assert_eq!(decode(&good, announced), Err(error));
    }
    let named = frame(SINGLE_SEGMENT | LENGTH_IN_4 | 1, &[&[7], &length, &block]);
    assert_eq!(decode(&named, 1_000), Err(DeltaError::NamesDictionary));

    // With a window of its own, of 128 MiB and above.
    let windowed = |window: u8| frame(LENGTH_IN_4, &[&[window], &length, &block]);
    assert_eq!(decode(&windowed(17 << 3), 1_000).unwrap(), whole);
    assert_eq!(decode(&windowed(17 << 3 | 1), 1_000), Err(DeltaError::Window(144 << 20)));
    assert_eq!(decode(&windowed(0xFF), 1_000), Err(DeltaError::Window(15 << 38)));
    let silent = frame(0, &[&[17 << 3], &block]);
    assert_eq!(decode(&silent, 1_000), Err(DeltaError::NoLength));

    let check = |sum: &[u8]| frame(SINGLE_SEGMENT | LENGTH_IN_4 | 4, &[&length, &block, sum]);
    assert_eq!(decode(&check(&[0; 3]), 1_000), Err(DeltaError::CutShort));
    assert!(matches!(decode(&check(&[0; 4]), 1_000), Err(DeltaError::Broken(_))));
}

#[test]
fn errors_say_what_is_wrong() {
    let told = |error: DeltaError| error.to_string();
    let error = DeltaError::OtherLength { stated: 7, announced: 9 };
    assert_eq!(told(error), "a delta for 7 bytes, where 9 were announced");
    assert_eq!(told(DeltaError::Trailing(3)), "a delta with 3 bytes after its frame");
    let (_, new, delta) = versions(1_000);
    let error = decode(b"", &delta, new.len()).unwrap_err();
    assert_eq!(told(error), "a delta that cannot be decoded: Data corruption detected");
}

/// Cuts out so many bytes at so many 65536ths of the whole, and puts others there.
type Edit = (u16, usize, Vec<u8>);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    vec((any::<u16>(), 0..200_usize, vec(any::<u8>(), 0..100)), 0..8)
}

fn edited(old: &[u8], edits: Vec<Edit>) -> Vec<u8> {
    let mut new = old.to_vec();
    for (at, cut, put) in edits {
        let at = (new.len() * usize::from(at)) >> 16;
        let end = new.len().min(at + cut);
        new.splice(at..end, put);
    }
    new
}

proptest! {
    #[test]
    fn what_is_encoded_decodes(
        length in 0..20_000_usize, seed: u64, edits in edits(), noise in vec(any::<u8>(), 0..500),
    ) {
        let old = [text(length, seed), noise].concat();
        let new = edited(&old, edits);
        if let Some(delta) = encode(&old, &new) {
            prop_assert!(delta.len() * 3 <= new.len() * 2);
            prop_assert_eq!(decode(&old, &delta, new.len()).unwrap(), &new);
            if let Ok(other) = decode(&new, &delta, new.len()) {
                prop_assert_eq!(other.len(), new.len());
            }
        } else {
            // Eight edits change less than a third of what is longer than this.
            prop_assert!(new.len() < 10_000);
        }
    }

    #[test]
    fn any_bytes_decode_to_that_length_or_to_nothing(
        bytes in vec(any::<u8>(), 0..300), old in vec(any::<u8>(), 0..99), length in 0..2_000_usize,
    ) {
        let framed = [&0xFD2F_B528_u32.to_le_bytes()[..], &bytes].concat();
        for delta in [&bytes, &framed] {
            if let Ok(new) = decode(&old, delta, length) {
                prop_assert_eq!(new.len(), length);
            }
        }
    }

    #[test]
    fn a_spoilt_delta_decodes_to_that_length_or_to_nothing(
        edits in edits(), at: prop::sample::Index, flipped in 1..=255_u8, cut: bool,
    ) {
        let old = text(3_000, 1);
        let new = edited(&old, edits);
        if let Some(delta) = encode(&old, &new) {
            let mut delta = delta.to_vec();
            let at = at.index(delta.len());
            if cut {
                delta.truncate(at);
            } else {
                delta[at] ^= flipped;
            }
            let decoded = decode(&old, &delta, new.len());
            prop_assert!(!cut || decoded.is_err());
            if let Ok(other) = decoded {
                prop_assert_eq!(other.len(), new.len());
            }
        }
    }
}
