//! Lists in the values of fields: elements between commas, where quoted strings may hold commas
//! (RFC 9110, section 5.6).

use crate::wire::http::is_token_byte;

/// Elements of one field that are looked at, at the most. Honest senders need a dozen; a list of
/// thousands is meant to cost us time.
pub(super) const MAX_ELEMENTS: usize = 64;

/// The elements of a list without white space around them, in order; empty ones are passed over.
/// `separator` is a comma, or a semicolon for parameters. A quoted string that does not end takes
/// the rest.
pub(super) fn elements(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = element_end(rest, separator);
            let element = rest[..end].trim_ascii();
            rest = rest.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    })
}

fn element_end(bytes: &[u8], separator: u8) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if *byte == separator && !quoted => return at,
            _ => {}
        }
    }
    bytes.len()
}

/// Splits `name=value` at the first `=`; the value is empty where there is none.
pub(super) fn pair(element: &[u8]) -> (&[u8], &[u8]) {
    match element.iter().position(|byte| *byte == b'=') {
        Some(at) => (element[..at].trim_ascii_end(), element[at + 1..].trim_ascii_start()),
        None => (element, &[]),
    }
}

/// A number in decimal digits and nothing else; one that is too large becomes the largest.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

/// A number as decimal text, without an allocation.
pub(super) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(super) fn new(mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, start };
            }
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// Whether bytes are a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commas_in_quotes_do_not_divide() {
        let listed = |text: &'static str| elements(text.as_bytes(), b',').collect::<Vec<_>>();
        assert_eq!(listed(" a, b=\"x,\\\",y\" ,, c"), [&b"a"[..], b"b=\"x,\\\",y\"", b"c"]);
        assert_eq!(listed("a=\"never, ends"), [&b"a=\"never, ends"[..]]);
        assert!(listed(" , ,\t,").is_empty());
        assert_eq!(pair(b"max-age = 5"), (&b"max-age"[..], &b"5"[..]));
        assert_eq!(pair(b"no-store"), (&b"no-store"[..], &b""[..]));
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"99999999999999999999999"), Some(u64::MAX));
        for bad in [&b""[..], b"-1", b"+1", b"1.0", b" 1", b"0x1", "١".as_bytes()] {
            assert_eq!(decimal(bad), None);
        }
        for number in [0, 9, 10, u64::MAX] {
            assert_eq!(Decimal::new(number).as_bytes(), number.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn elements_are_parts_of_the_value(value: Vec<u8>) {
            let total: usize = elements(&value, b',').map(<[u8]>::len).sum();
            prop_assert!(total <= value.len());
            prop_assert!(elements(&value, b',').all(|element| !element.is_empty()));
        }
    }
}
