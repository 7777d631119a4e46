//! Entity tags (RFC 9110, section 8.8.3): what clients name the copies by that they hold.

use super::encoding::Encoding;
use super::list::MAX_ELEMENTS;
use crate::wire::{Digest, Fingerprint};

/// Tags of one request that are looked at, at the most; what stands behind them matches nothing.
pub const MAX_TAGS: usize = MAX_ELEMENTS;

/// One entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// It only says that two representations serve equally well, not that their bytes are equal.
    pub weak: bool,
    /// The opaque part with its quotes.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads a value that is one tag and nothing else.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::split(value)?;
        rest.is_empty().then_some(tag)
    }

    /// Reads the tag at the start; also returns what follows.
    fn split(value: &'a [u8]) -> Option<(Self, &'a [u8])> {
        // The `W` is one of the few things in HTTP whose case matters.
        let (weak, quoted) = match value.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, value),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')?;
        let allowed = |byte: &u8| *byte > b' ' && *byte != 0x7f;
        let (opaque, rest) = quoted.split_at(end + 2);
        inner[..end].iter().all(allowed).then_some((Self { weak, opaque }, rest))
    }

    /// The strong comparison: neither is weak, and they are equal (section 8.8.3.2).
    pub fn strong_eq(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// The weak comparison: they are equal but for their weakness (section 8.8.3.2).
    pub fn weak_eq(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }
}

/// Reads the tags of one value of `If-Match` or `If-None-Match`, in order. Ends after an `Err`,
/// which says that the rest is no list of tags.
#[derive(Clone, Debug)]
pub struct TagList<'a> {
    rest: &'a [u8],
    first: bool,
}

/// A list that is not one of entity tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> TagList<'a> {
    /// Starts at the front of a value.
    pub fn new(value: &'a [u8]) -> Self {
        Self { rest: value, first: true }
    }
}

impl<'a> Iterator for TagList<'a> {
    type Item = Result<EntityTag<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        // Empty elements are allowed (section 5.6.1.2), two tags without a comma are not.
        let skipped = |byte: &u8| matches!(byte, b' ' | b'\t' | b',');
        let end = self.rest.iter().position(|byte| !skipped(byte)).unwrap_or(self.rest.len());
        let divided = self.first || self.rest[..end].contains(&b',');
        self.first = false;
        let list = std::mem::take(&mut self.rest);
        let list = &list[end..];
        if list.is_empty() {
            return None;
        }
        match EntityTag::split(list).filter(|_| divided) {
            Some((tag, rest)) => {
                self.rest = rest;
                Some(Ok(tag))
            }
            None => Some(Err(Malformed)),
        }
    }
}

/// How tags are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// For what needs equal bytes: `If-Match`, `If-Range`.
    Strong,
    /// For what may be served from a copy: `If-None-Match`.
    Weak,
}

/// Whether a list of tags, in one value or several, names the current representation, which exists.
/// `*` alone names any; a malformed list none.
pub fn names_current<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    current: Option<EntityTag<'_>>,
    comparison: Comparison,
) -> bool {
    let (mut found, mut looked_at, mut star) = (false, 0, false);
    for (index, value) in values.enumerate() {
        if star || (value == b"*" && index > 0) {
            return false;
        }
        if value == b"*" {
            star = true;
            continue;
        }
        for tag in TagList::new(value) {
            let Ok(tag) = tag else {
                return false;
            };
            looked_at += 1;
            if looked_at > MAX_TAGS {
                return found;
            }
            found |= current.is_some_and(|current| match comparison {
                Comparison::Strong => tag.strong_eq(&current),
                Comparison::Weak => tag.weak_eq(&current),
            });
        }
    }
    found || star
}

/// Bytes of a tag of ours.
const OWN_LENGTH: usize = 43;

/// What a strong tag ends with, before its closing quote, for a coded form of a representation.
/// Such a tag names bytes, and servers of two releases may serve one client: the number is another
/// one as soon as our encoder makes other bytes of the same content.
fn mark(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Zstd => "-zstd1",
        Encoding::Brotli => "-br1",
        Encoding::Gzip => "-gzip1",
        Encoding::Identity => "",
    }
}

/// The tag of a representation in a coding, by its tag as it is. What has no tag gets none.
pub fn coded_tag(etag: &str, encoding: Encoding) -> String {
    match etag.strip_suffix('"') {
        Some(open) => [open, mark(encoding), "\""].concat(),
        None => etag.to_owned(),
    }
}

/// The strong tag of a version: `"`, its CRC-32 in 8 hex digits, `-`, its digest in 32, `"`. For
/// that of a coded form see [`coded_tag`].
pub fn own_tag(fingerprint: &Fingerprint) -> String {
    let digits = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    let mut text = String::with_capacity(OWN_LENGTH);
    let mut push = |bytes: &[u8]| {
        for byte in bytes {
            text.extend([digits(byte >> 4), digits(byte & 15)]);
        }
    };
    push(&fingerprint.crc.to_be_bytes());
    push(&fingerprint.digest.0);
    text.insert(8, '-');
    text.insert(0, '"');
    text.push('"');
    text
}

/// Reads a tag that [`own_tag`] made, weakened or not, and of which form it is.
pub fn parse_own(value: &[u8]) -> Option<(u32, Digest, Encoding)> {
    let tag = EntityTag::parse(value)?;
    let inner = &tag.opaque[1..tag.opaque.len() - 1];
    let (inner, ending) = inner.split_first_chunk::<{ OWN_LENGTH - 2 }>()?;
    let encoding = Encoding::ALL.into_iter().find(|it| mark(*it).as_bytes() == ending)?;
    let (crc, digest) = (&inner[..8], &inner[9..]);
    // Tags are compared byte for byte: in upper case it would be another tag than ours.
    let is_hex = |digits: &[u8]| digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'));
    if inner[8] != b'-' || !is_hex(crc) || !is_hex(digest) {
        return None;
    }
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
    Some((crc, std::str::from_utf8(digest).ok()?.parse().ok()?, encoding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::types::fingerprint;
    use proptest::prelude::*;

    fn matches(values: &[&str], current: &str, comparison: Comparison) -> bool {
        let current = EntityTag::parse(current.as_bytes());
        names_current(values.iter().map(|value| value.as_bytes()), current, comparison)
    }

    #[test]
    fn tags_are_compared_as_the_table_of_the_rfc_says() {
        let cases = [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ];
        for (left, right, strong, weak) in cases {
            assert_eq!(matches(&[left], right, Comparison::Strong), strong, "{left} {right}");
            assert_eq!(matches(&[left], right, Comparison::Weak), weak, "{left} {right}");
        }
    }

    #[test]
    fn lists_are_read_whole() {
        let weak = |values: &[&str]| matches(values, "\"b\"", Comparison::Weak);
        for good in ["\"b\"", "\"a\",\"b\"", ", ,\"a,b\" ,\t\"b\",", "W/\"b\", \"\"", "*"] {
            assert!(weak(&[good]), "{good}");
        }
        assert!(weak(&["\"a\"", "\"b\""]));
        for bad in [
            "",
            "b",
            "\"B\"",
            "\"b",
            "w/\"b\"",
            "W/ \"b\"",
            "\"b\" \"c\"",
            "\"b\"\"c\"",
            "\"b\", c",
            "\"b\", *",
            "**",
            "\"a b\", \"b\"",
            "\"b\"; q=1",
        ] {
            assert!(!weak(&[bad]), "{bad}");
        }
        assert!(!weak(&["*", "\"b\""]) && !weak(&["\"b\"", "*"]) && !weak(&["*", "*"]));
        assert!(!weak(&[]));
    }

    #[test]
    fn thousands_of_tags_are_not_looked_at() {
        let many = format!("{}\"b\"", "\"a\",".repeat(MAX_TAGS - 1));
        assert!(matches(&[&many], "\"b\"", Comparison::Weak));
        let more = format!("{}\"b\"", "\"a\",".repeat(MAX_TAGS));
        assert!(!matches(&[&more], "\"b\"", Comparison::Weak));
        let tail = format!("\"b\",{}", "\"a\",".repeat(3000));
        assert!(matches(&[&tail], "\"b\"", Comparison::Weak));
    }

    #[test]
    fn own_tags_are_read_back() {
        let fingerprint = fingerprint(b"", b"123456789");
        let tag = own_tag(&fingerprint);
        assert_eq!(tag, format!("\"cbf43926-{}\"", fingerprint.digest));
        let read = Some((fingerprint.crc, fingerprint.digest, Encoding::Identity));
        assert_eq!(parse_own(tag.as_bytes()), read);
        assert_eq!(parse_own(format!("W/{tag}").as_bytes()), read);
        let none = tag.replace("\"", "").replace('-', "-\"");
        let other = format!("{}-zstd0\"", &tag[..tag.len() - 1]);
        let [upper, plus] = [tag.to_uppercase(), tag.replace('-', "+")];
        for bad in [upper, plus, tag.replace('"', ""), none, other, tag + ","] {
            assert_eq!(parse_own(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_own(b"\"\""), None);
    }

    #[test]
    fn the_tag_of_a_coded_form_is_another_one() {
        for (etag, coded) in
            [("\"a\"", "\"a-gzip1\""), ("W/\"\"", "W/\"-gzip1\""), ("", ""), ("a", "a")]
        {
            assert_eq!(coded_tag(etag, Encoding::Gzip), coded);
            assert_eq!(coded_tag(etag, Encoding::Identity), etag);
        }
    }

    proptest! {
        #[test]
        fn the_tag_of_each_form_is_read_back(content in ".{0,20}", which in 0..4usize) {
            let (print, encoding) = (fingerprint(b"", content.as_bytes()), Encoding::ALL[which]);
            let tag = coded_tag(&own_tag(&print), encoding);
            prop_assert!(EntityTag::parse(tag.as_bytes()).is_some_and(|tag| !tag.weak));
            prop_assert_eq!(parse_own(tag.as_bytes()), Some((print.crc, print.digest, encoding)));
        }

        #[test]
        fn reading_anything_never_panics(value in "[W/\", *a-]{0,40}|\\PC{0,40}") {
            let bytes = value.as_bytes();
            let tags: Vec<_> = TagList::new(bytes).collect();
            for tag in tags.iter().flatten() {
                prop_assert_eq!(EntityTag::parse(tag.opaque).map(|tag| tag.weak), Some(false));
            }
            let all_good = tags.iter().all(Result::is_ok);
            if let Some(Ok(first)) = tags.first() {
                let found = names_current([bytes].into_iter(), Some(*first), Comparison::Weak);
                prop_assert_eq!(found, all_good);
            }
            let _ = parse_own(bytes);
        }
    }
}
