//! Integers of QPACK, which begin in the low bits of a byte (RFC 7541, section 5.1).

use crate::wire::codec::MAX_VARINT;
use bytes::{BufMut, BytesMut};

/// Bytes of the longest integer.
pub const MAX_INTEGER_SIZE: usize = 10;

/// An integer is above 2^62 - 1, or written in more than [`MAX_INTEGER_SIZE`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntegerTooLarge;

/// Reads the integer at the start of `bytes`, of which the first byte has `prefix_bits` bits
/// (RFC 7541, section 5.1); also returns how many bytes it takes. `None` when it is cut short.
pub fn peek_integer(
    bytes: &[u8],
    prefix_bits: u32,
) -> Result<Option<(u64, usize)>, IntegerTooLarge> {
    let Some((first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let largest = (1u64 << prefix_bits) - 1;
    let mut value = u64::from(*first) & largest;
    if value < largest {
        return Ok(Some((value, 1)));
    }
    for (place, byte) in rest.iter().take(MAX_INTEGER_SIZE - 1).enumerate() {
        // At most 63 bits are added to at most 8, so that nothing overflows.
        value += u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let length = place + 2;
            return if value <= MAX_VARINT {
                Ok(Some((value, length)))
            } else {
                Err(IntegerTooLarge)
            };
        }
    }
    if rest.len() < MAX_INTEGER_SIZE - 1 { Ok(None) } else { Err(IntegerTooLarge) }
}

/// Writes an integer of which the first byte has `prefix_bits` bits, below other `bits`.
pub(super) fn put_integer(out: &mut BytesMut, bits: u8, prefix_bits: u32, value: u64) {
    assert!(value <= MAX_VARINT, "{value} is more than a reader accepts");
    let largest = (1u64 << prefix_bits) - 1;
    if value < largest {
        return out.put_u8(bits | value as u8);
    }
    out.put_u8(bits | largest as u8);
    let mut rest = value - largest;
    while rest >= 0x80 {
        out.put_u8(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_7541_integers_decode() {
        // RFC 7541, appendix C.1.
        assert_eq!(peek_integer(&[0b1110_1010], 5), Ok(Some((10, 1))));
        assert_eq!(peek_integer(&[0b0001_1111, 0b1001_1010, 0b0000_1010], 5), Ok(Some((1337, 3))));
        assert_eq!(peek_integer(&[0b0010_1010], 8), Ok(Some((42, 1))));
        assert_eq!(peek_integer(&[], 8), Ok(None));
        assert_eq!(peek_integer(&[0xff, 0x80], 8), Ok(None));
    }

    #[test]
    fn integers_are_bounded() {
        let mut bytes = vec![0xff; MAX_INTEGER_SIZE];
        assert_eq!(peek_integer(&bytes[..9], 7), Ok(None));
        assert_eq!(peek_integer(&bytes, 7), Err(IntegerTooLarge));
        bytes[9] = 0x7f;
        assert_eq!(peek_integer(&bytes, 7), Err(IntegerTooLarge), "above 2^62 - 1");
        bytes[1..9].fill(0x80);
        bytes[9] = 0;
        assert_eq!(peek_integer(&bytes, 7), Ok(Some((127, 10))), "longer than needed, still 127");
        let mut out = BytesMut::new();
        put_integer(&mut out, 0, 7, MAX_VARINT);
        assert_eq!(peek_integer(&out, 7), Ok(Some((MAX_VARINT, out.len()))));
    }

    proptest! {
        #[test]
        fn integers_round_trip(value in 0..=MAX_VARINT, prefix_bits in 3u32..=8) {
            let mut out = BytesMut::new();
            put_integer(&mut out, 0, prefix_bits, value);
            prop_assert_eq!(peek_integer(&out, prefix_bits), Ok(Some((value, out.len()))));
        }
    }
}
