//! The Huffman code of HPACK and QPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their
//! symbols, and go on where the shorter ones end. So the lengths alone say everything, and all
//! tables are computed from them when the crate is compiled. Decoding looks up twelve bits at a
//! time, which settles two letters or digits, and all usual signs; longer codes are found by their
//! length, which compares the next bits with the largest code of each length.

/// How many symbols there are: all bytes, and the end of the string.
const SYMBOLS: usize = 257;
/// The symbol that ends a string. It is never sent as a whole.
const END_OF_STRING: u16 = 256;
/// Bits of the longest code.
const MAX_BITS: usize = 30;
/// Bits of the shortest code: what bounds how much longer a decoded string is.
const MIN_BITS: usize = 5;
/// How many bits are looked up at once: enough for two letters or digits. The table has 16 KiB.
const LOOKUP_BITS: usize = 12;

/// Bits of the code of each symbol (RFC 7541, appendix B).
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The code of each symbol, in the low bits.
static CODES: [u32; SYMBOLS] = CANON.codes;
/// The symbols in the order of their codes.
static SORTED: [u16; SYMBOLS] = CANON.sorted;
/// For each length, the codes of that length and where their symbols stand in `SORTED`.
static ROWS: [Row; MAX_BITS + 1] = CANON.rows;
/// What the next bits say.
static LOOKUP: [Entry; 1 << LOOKUP_BITS] = lookup();

/// What stands at the start of some bits.
#[derive(Clone, Copy)]
struct Entry {
    /// One symbol, or two if both codes fit.
    symbols: [u8; 2],
    /// How long the code of the first symbol is, in bits; 0 where it is longer than what is looked
    /// up.
    first: u8,
    /// How long all codes are.
    total: u8,
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct Row {
    /// One more than the largest code of at most this length, in the high bits of 32. Wider, as it
    /// is 2^32 behind the last code of all.
    end: u64,
    /// The first code of this length, in the low bits.
    first: u32,
    /// Where the symbol of the first code stands among the sorted ones.
    place: u16,
}

struct Canon {
    codes: [u32; SYMBOLS],
    sorted: [u16; SYMBOLS],
    rows: [Row; MAX_BITS + 1],
}

const CANON: Canon = canon();

const fn canon() -> Canon {
    let mut codes = [0; SYMBOLS];
    let mut sorted = [0; SYMBOLS];
    let mut rows = [Row { end: 0, first: 0, place: 0 }; MAX_BITS + 1];
    let (mut code, mut place, mut bits) = (0u32, 0, 1);
    while bits <= MAX_BITS {
        code <<= 1;
        rows[bits].first = code;
        rows[bits].place = place as u16;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == bits {
                codes[symbol] = code;
                sorted[place] = symbol as u16;
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        rows[bits].end = (code as u64) << (32 - bits);
        bits += 1;
    }
    assert!(place == SYMBOLS && code == 1 << MAX_BITS, "every sequence of bits is some code");
    Canon { codes, sorted, rows }
}

const fn lookup() -> [Entry; 1 << LOOKUP_BITS] {
    const SIZE: usize = 1 << LOOKUP_BITS;
    let mut table = [Entry { symbols: [0; 2], first: 0, total: 0 }; SIZE];
    let mut symbol = 0;
    while symbol < END_OF_STRING as usize {
        let bits = LENGTHS[symbol] as usize;
        if bits <= LOOKUP_BITS {
            let start = (CANON.codes[symbol] as usize) << (LOOKUP_BITS - bits);
            let mut at = start;
            while at < start + (1 << (LOOKUP_BITS - bits)) {
                table[at].symbols[0] = symbol as u8;
                table[at].first = bits as u8;
                table[at].total = bits as u8;
                at += 1;
            }
        }
        symbol += 1;
    }
    let mut at = 0;
    while at < SIZE {
        let first = table[at].first as usize;
        let next = table[(at << first) % SIZE];
        if first > 0 && next.first > 0 && first + next.first as usize <= LOOKUP_BITS {
            table[at].symbols[1] = next.symbols[0];
            table[at].total = first as u8 + next.first;
        }
        at += 1;
    }
    table
}

/// Why a string could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HuffmanError {
    /// The symbol that ends strings stands in it (RFC 7541, section 5.2).
    EndOfString,
    /// What is left behind the last symbol is more than seven bits, or not all ones.
    Padding,
    /// More bytes come out than are allowed.
    TooLong,
}

/// Decodes a string, and appends at most `limit` bytes to `out`.
///
/// # Errors
/// What stands behind the former end of `out` then means nothing.
pub fn decode(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), HuffmanError> {
    let start = out.len();
    // Room for all that can come, so that running out of it is the same as passing the limit.
    out.resize(start + max_decoded_length(input.len()).min(limit), 0);
    let room = &mut out[start..];
    let mut size = 0;
    let mut bits = Bits { inverted: 0, held: 0, rest: input };
    loop {
        if bits.held < MAX_BITS {
            bits.refill();
        }
        let entry = bits.entry();
        // A short string of one symbol may not have room for two.
        if entry.first > 0
            && usize::from(entry.total) <= bits.held
            && let Some(pair) = room.get_mut(size..size + 2)
        {
            pair.copy_from_slice(&entry.symbols);
            size += if entry.total > entry.first { 2 } else { 1 };
            bits.take(usize::from(entry.total));
            continue;
        }
        let (symbol, length) = bits.symbol();
        if length > bits.held {
            break;
        }
        if symbol == END_OF_STRING {
            return Err(HuffmanError::EndOfString);
        }
        *room.get_mut(size).ok_or(HuffmanError::TooLong)? = symbol as u8;
        size += 1;
        bits.take(length);
    }
    if bits.held >= 8 || bits.inverted != 0 {
        return Err(HuffmanError::Padding);
    }
    out.truncate(start + size);
    Ok(())
}

/// Bits that are being decoded.
struct Bits<'a> {
    /// The next `held` bits, from the top, each inverted. Below stand bits that will come again,
    /// or, behind the last byte, zeros: a string that ends early looks like one that is padded
    /// with ones.
    inverted: u64,
    held: usize,
    rest: &'a [u8],
}

impl Bits<'_> {
    /// Holds as many bits as there is room for.
    fn refill(&mut self) {
        let taken = if let Some(word) = self.rest.first_chunk() {
            self.inverted |= !u64::from_be_bytes(*word) >> self.held;
            (64 - self.held) / 8
        } else {
            let taken = self.rest.len().min((64 - self.held) / 8);
            for (place, byte) in self.rest[..taken].iter().enumerate() {
                self.inverted |= u64::from(!byte) << (56 - self.held - 8 * place);
            }
            taken
        };
        self.rest = &self.rest[taken..];
        self.held += 8 * taken;
    }

    fn take(&mut self, count: usize) {
        self.inverted <<= count;
        self.held -= count;
    }

    fn entry(&self) -> Entry {
        LOOKUP[(!self.inverted >> (64 - LOOKUP_BITS)) as usize]
    }

    /// The first symbol, and how many bits its code has: more than are held, if it is cut short.
    fn symbol(&self) -> (u16, usize) {
        let entry = self.entry();
        if entry.first > 0 {
            return (u16::from(entry.symbols[0]), usize::from(entry.first));
        }
        let top = !self.inverted >> 32;
        let length = (LOOKUP_BITS + 1..MAX_BITS).find(|length| top < ROWS[*length].end);
        let length = length.unwrap_or(MAX_BITS);
        let row = &ROWS[length];
        let code = (top >> (32 - length)) as u32;
        (SORTED[usize::from(row.place) + (code - row.first) as usize], length)
    }
}

/// The most bytes that as many encoded bytes decode to.
pub const fn max_decoded_length(encoded: usize) -> usize {
    encoded.saturating_mul(8) / MIN_BITS
}

/// How many bytes [`encode`] writes.
pub fn encoded_length(input: &[u8]) -> usize {
    let bits: usize = input.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends the encoded string to `out`.
pub fn encode(input: &[u8], out: &mut impl bytes::BufMut) {
    // The bits that are not yet written stand at the bottom.
    let (mut bits, mut held) = (0u64, 0);
    for byte in input {
        let symbol = usize::from(*byte);
        bits = bits << LENGTHS[symbol] | u64::from(CODES[symbol]);
        held += usize::from(LENGTHS[symbol]);
        while held >= 8 {
            held -= 8;
            out.put_u8((bits >> held) as u8);
        }
    }
    if held > 0 {
        let padding = 8 - held;
        out.put_u8((bits << padding) as u8 | ((1 << padding) - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, HuffmanError> {
        let mut out = Vec::new();
        decode(input, usize::MAX, &mut out).map(|()| out)
    }

    fn encoded(input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(input, &mut out);
        assert_eq!(out.len(), encoded_length(input));
        out
    }

    #[test]
    fn codes_are_those_of_the_table() {
        // RFC 7541, appendix B, some of each region.
        let known = [
            (0, 0x1ff8, 13),
            (10, 0x3fff_fffc, 30),
            (22, 0x3fff_fffe, 30),
            (48, 0x0, 5),
            (32, 0x14, 6),
            (58, 0x5c, 7),
            (90, 0xfd, 8),
            (92, 0x7fff0, 19),
            (123, 0x7ffe, 15),
            (127, 0x0fff_fffc, 28),
            (128, 0xfffe6, 20),
            (200, 0x03ff_ffe2, 26),
            (249, 0x0fff_fffe, 28),
            (255, 0x03ff_ffee, 26),
            (256, 0x3fff_ffff, 30),
        ];
        for (symbol, code, length) in known {
            assert_eq!((CODES[symbol], LENGTHS[symbol]), (code, length), "symbol {symbol}");
        }
    }

    #[test]
    fn rfc_7541_examples_decode() {
        // RFC 7541, appendix C.4 and C.6.
        let examples: [(&[u8], &str); 7] = [
            (b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (
                b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\
                  \xa6\x2d\x1b\xff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (b"\x64\x02", "302"),
            (b"\x9b\xd9\xab", "gzip"),
        ];
        for (bytes, text) in examples {
            assert_eq!(decoded(bytes).unwrap(), text.as_bytes());
            assert_eq!(encoded(text.as_bytes()), bytes);
        }
    }

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&encoded(&all)).unwrap(), all);
        for byte in all {
            for count in 1..9 {
                let text = vec![byte; count];
                assert_eq!(decoded(&encoded(&text)).unwrap(), text, "{count} times {byte}");
            }
        }
    }

    #[test]
    fn padding_is_at_most_seven_ones() {
        assert_eq!(decoded(b""), Ok(Vec::new()));
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        assert_eq!(decoded(&[0b0000_0110]), Err(HuffmanError::Padding));
        assert_eq!(decoded(&[0b0000_0011]), Err(HuffmanError::Padding));
        assert_eq!(decoded(&[0xff]), Err(HuffmanError::Padding), "eight ones");
        assert_eq!(decoded(&[0b0000_0111, 0xff]), Err(HuffmanError::Padding), "eleven ones");
        assert_eq!(decoded(&[0xff, 0xff, 0xff]), Err(HuffmanError::Padding));
    }

    #[test]
    fn the_end_of_string_is_refused() {
        assert_eq!(decoded(&[0xff; 4]), Err(HuffmanError::EndOfString));
        assert_eq!(decoded(&[0b0000_0111, 0xff, 0xff, 0xff, 0xff]), Err(HuffmanError::EndOfString));
    }

    #[test]
    fn output_is_bounded() {
        let bytes = encoded(&[b'0'; 1000]);
        assert_eq!(max_decoded_length(bytes.len()), 1000);
        let mut out = b"before".to_vec();
        assert_eq!(decode(&bytes, 999, &mut out), Err(HuffmanError::TooLong));
        assert_eq!(&out[..7], b"before0");
        assert!(out.capacity() < 2100, "no more is reserved than is allowed");
        assert_eq!(decode(&bytes, 1000, &mut Vec::new()), Ok(()));
    }

    proptest! {
        #[test]
        fn decoding_anything_never_panics(bytes: Vec<u8>, limit in 0usize..64) {
            let mut out = Vec::new();
            let outcome = decode(&bytes, limit, &mut out);
            prop_assert!(out.len() <= limit);
            if outcome.is_ok() {
                prop_assert_eq!(encoded(&out), bytes, "there is one encoding of each string");
            }
        }

        #[test]
        fn strings_round_trip(bytes: Vec<u8>) {
            prop_assert_eq!(decoded(&encoded(&bytes)).unwrap(), bytes);
        }
    }
}
