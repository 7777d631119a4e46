//! Content codings (RFC 9110, sections 8.4 and 12.5.3): what the client takes, and what pays.

use super::list::{MAX_ELEMENTS, elements, pair};
use crate::wire::http::Fields;

/// Content that is shorter is sent as it is, in bytes: what coding saves is lost to its framing.
pub const MIN_COMPRESSED: u64 = 512;

/// A content coding that we can have a representation in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// Zstandard (RFC 8878).
    Zstd = 0,
    /// Brotli (RFC 7932).
    Brotli = 1,
    /// gzip (RFC 1952).
    Gzip = 2,
    /// As it is.
    Identity = 3,
}

impl Encoding {
    /// Every one, the one that is most often the smallest first.
    pub const ALL: [Self; 4] = [Self::Zstd, Self::Brotli, Self::Gzip, Self::Identity];

    /// Its name in fields, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }
}

/// The codings that are told apart; the first four are those of [`Encoding`], in its order.
const CODINGS: [&str; 6] = ["zstd", "br", "gzip", "identity", "deflate", "compress"];
const IDENTITY: usize = Encoding::Identity as usize;

const _: () = assert!(CODINGS.len() <= 6, "the two bits above are taken");
const ANY_BIT: u8 = 1 << 6;
const OTHERS_BIT: u8 = 1 << 7;

/// What codings a client accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Thousandths, for each of `CODINGS`.
    qualities: [u16; CODINGS.len()],
    /// There is a `*` that is not refused.
    any: bool,
    /// It names codings that are not told apart here.
    others: bool,
}

impl Accepted {
    /// Reads `Accept-Encoding`. Without that field the client has no say, and is sent things as
    /// they are. Malformed elements are passed over; of two about one coding, the lower counts.
    pub fn of(request: &Fields) -> Self {
        let (mut named, mut star, mut others) = ([None; CODINGS.len()], None, false);
        let values = request.all("accept-encoding");
        for element in values.flat_map(|value| elements(value, b',')).take(MAX_ELEMENTS) {
            let Some((coding, quality)) = parse_element(element) else {
                continue;
            };
            let place = if coding == b"*" {
                &mut star
            } else if let Some(index) = index_of(coding) {
                &mut named[index]
            } else {
                others = true;
                continue;
            };
            *place = Some(place.map_or(quality, |before: u16| before.min(quality)));
        }
        let mut qualities = named.map(|quality| quality.or(star).unwrap_or(0));
        qualities[IDENTITY] = named[IDENTITY].or(star).unwrap_or(1000);
        Self { qualities, any: star.is_some_and(|quality| quality > 0), others }
    }

    /// How much a coding is liked, in thousandths; 0: it is refused.
    pub fn quality(&self, encoding: Encoding) -> u16 {
        self.qualities[encoding as usize]
    }

    /// The one that is liked most, of those there are; of equals, the one that stands first. `None`
    /// where all are refused.
    pub fn choose(&self, available: &[Encoding]) -> Option<Encoding> {
        let mut best: Option<Encoding> = None;
        for encoding in available.iter().copied().filter(|one| self.quality(*one) > 0) {
            if best.is_none_or(|best| self.quality(encoding) > self.quality(best)) {
                best = Some(encoding);
            }
        }
        best
    }

    /// Which codings are accepted, however much they are liked. `None` where that is not known: it
    /// depends on codings that are not told apart here.
    pub(super) fn set(&self) -> Option<u8> {
        let bit = |(index, quality): (usize, &u16)| u8::from(*quality > 0) << index;
        let set = self.qualities.iter().enumerate().map(bit).sum::<u8>();
        let set = set | if self.any { ANY_BIT } else { 0 };
        (!self.others).then_some(set)
    }

    /// What no set is.
    pub(super) const NO_SET: u8 = OTHERS_BIT;
}

fn index_of(coding: &[u8]) -> Option<usize> {
    let equals = |name: &&str| coding.eq_ignore_ascii_case(name.as_bytes());
    let index = CODINGS.iter().position(equals);
    // Old names that recipients still understand (section 8.4.1).
    index.or_else(|| match coding.to_ascii_lowercase().as_slice() {
        b"x-gzip" => Some(Encoding::Gzip as usize),
        b"x-compress" => Some(5),
        _ => None,
    })
}

/// A coding and how much it is liked, in thousandths.
fn parse_element(element: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = elements(element, b';');
    let coding = parts.next()?;
    if !super::list::is_token(coding) {
        return None;
    }
    let mut quality = 1000;
    for parameter in parts {
        let (name, value) = pair(parameter);
        if name.eq_ignore_ascii_case(b"q") {
            quality = parse_quality(value)?;
        }
    }
    Some((coding, quality))
}

/// A weight of at most three digits behind the point (section 12.4.2), in thousandths.
fn parse_quality(value: &[u8]) -> Option<u16> {
    let (whole, digits) = match value {
        [whole @ (b'0' | b'1')] | [whole @ (b'0' | b'1'), b'.'] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] => (whole, digits),
        _ => return None,
    };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let worth = [100, 10, 1].into_iter().zip(digits);
    let fraction: u16 = worth.map(|(worth, digit)| worth * u16::from(digit - b'0')).sum();
    let quality = u16::from(whole - b'0') * 1000 + fraction;
    (quality <= 1000).then_some(quality)
}

/// Whether content of a type and length, in bytes, is worth compressing.
pub fn is_compressible(content_type: &[u8], length: u64) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let Ok(essence) = std::str::from_utf8(essence) else {
        return false;
    };
    let essence = essence.to_ascii_lowercase();
    let Some((kind, subtype)) = essence.split_once('/') else {
        return false;
    };
    let suffix = subtype.rsplit_once('+').map(|(_, suffix)| suffix);
    let text = match kind {
        "text" => subtype != "event-stream",
        "application" => matches!(
            subtype,
            "json"
                | "javascript"
                | "x-javascript"
                | "ecmascript"
                | "xml"
                | "wasm"
                | "x-ndjson"
                | "graphql"
                | "rtf"
                | "toml"
                | "yaml"
                | "sql"
                | "vnd.ms-fontobject"
        ),
        "font" => matches!(subtype, "ttf" | "otf" | "sfnt" | "collection"),
        "image" => matches!(subtype, "bmp" | "x-icon" | "vnd.microsoft.icon"),
        _ => false,
    };
    length >= MIN_COMPRESSED && (text || matches!(suffix, Some("json" | "xml" | "yaml")))
}

#[cfg(test)]
mod tests {
    use super::Encoding::{Brotli, Gzip, Identity, Zstd};
    use super::*;
    use proptest::prelude::*;

    fn accepted(values: &[&str]) -> Accepted {
        Accepted::of(&Fields::of(values.iter().map(|value| ("accept-encoding", *value))))
    }

    #[test]
    fn the_one_that_is_liked_most_is_chosen() {
        for (value, chosen) in [
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, br", Some(Brotli)),
            ("GZIP", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("gzip;q=1.0, br;q=0.9", Some(Gzip)),
            ("gzip; Q=0.5, br ;q=0.501", Some(Identity)),
            ("gzip;q=0.5, identity;q=0.2", Some(Gzip)),
            ("", Some(Identity)),
            ("deflate", Some(Identity)),
            ("*", Some(Zstd)),
            ("*;q=0", None),
            ("identity;q=0", None),
            ("identity;q=0, gzip", Some(Gzip)),
            ("*;q=0, identity;q=0.1", Some(Identity)),
            ("zstd;q=0, *;q=0.3", Some(Brotli)),
            ("gzip, gzip;q=0", Some(Identity)),
            ("gzip;q=2, br;q=0.1234, zstd;q=-1, g zip, ;q=1, gzip;q=1.001", Some(Identity)),
        ] {
            assert_eq!(accepted(&[value]).choose(&Encoding::ALL), chosen, "{value}");
        }
        assert_eq!(accepted(&[]).choose(&Encoding::ALL), Some(Identity));
        assert_eq!(accepted(&["br", "gzip"]).choose(&[Identity, Gzip, Brotli]), Some(Identity));
        assert_eq!(accepted(&["br", "gzip"]).choose(&[]), None);
    }

    #[test]
    fn equal_sets_are_seen_as_equal() {
        let set = |value: &str| accepted(&[value]).set();
        assert_eq!(set("gzip, br"), set("br;q=0.5,identity,gzip;q=0.1"));
        assert_ne!(set("gzip"), set("gzip, deflate"));
        assert_ne!(set("gzip, *;q=0"), set("gzip"));
        assert_ne!(set("*"), set("gzip, br, zstd, deflate, compress"));
        assert_eq!(set("gzip, aes128gcm"), None);
        assert_ne!(set("*"), Some(Accepted::NO_SET));
    }

    #[test]
    fn text_of_some_length_is_worth_compressing() {
        for good in [
            "text/html; charset=utf-8",
            "Application/JSON",
            "image/svg+xml",
            "application/ld+json",
            "application/wasm",
            "text/javascript",
            "application/manifest+json",
        ] {
            assert!(is_compressible(good.as_bytes(), 512), "{good}");
            assert!(!is_compressible(good.as_bytes(), 511), "{good}");
        }
        for bad in [
            "image/png",
            "video/mp4",
            "application/zip",
            "text",
            "",
            "font/woff2",
            "text/event-stream",
        ] {
            assert!(!is_compressible(bad.as_bytes(), 1 << 20), "{bad}");
        }
        assert!(!is_compressible(b"text\xff/html", 1 << 20));
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_accepted(
            value in "[a-z*;=q0-9., ]{0,40}|(gzip|br|\\*)(;q=[01](\\.[0-9]{0,4})?)?",
        ) {
            let accepted = accepted(&[&value]);
            match accepted.choose(&Encoding::ALL) {
                Some(chosen) => prop_assert!(accepted.quality(chosen) > 0),
                None => prop_assert_eq!(accepted.quality(Identity), 0),
            }
        }
    }
}
