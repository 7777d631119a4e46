//! Range requests (RFC 9110, section 14): a part of a representation instead of all of it.
//!
//! One range is honoured. A client that asks for several is answered with the whole, as the section
//! allows: what would be saved is not worth answers that are larger than what they are parts of.

use super::conditions::{Validators, only};
use super::date::parse_date;
use super::etag::EntityTag;
use super::list::{decimal, elements};
use crate::wire::http::Fields;
use std::ops::Range;

/// Ranges of one request that are looked at, at the most; more are answered with the whole.
pub const MAX_RANGES: usize = 16;

/// What part of a representation is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: nothing else was asked for, or not in a way that must be followed.
    Whole,
    /// These bytes, which are at least one and lie within the representation.
    Single(Range<u64>),
    /// Nothing that was asked for exists: 416.
    NotSatisfiable,
}

/// The part that a GET asks for, of a representation of `length` bytes. Whether it still is the
/// representation that the client means is asked by `If-Range`.
pub fn requested_part(request: &Fields, current: &Validators, length: u64, now_s: u64) -> Part {
    let Some(value) = request.first("range") else {
        return Part::Whole;
    };
    if only(request, "range").is_none() || !if_range_holds(request, current, now_s) {
        return Part::Whole;
    }
    parse_range(value, length)
}

/// Reads the value of `Range`. What is malformed, counts other units than bytes or has too many
/// ranges asks for nothing.
pub fn parse_range(value: &[u8], length: u64) -> Part {
    let Some((unit, set)) = value.split_at_checked(6) else {
        return Part::Whole;
    };
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return Part::Whole;
    }
    let (mut count, mut satisfiable, mut part) = (0, 0, Part::NotSatisfiable);
    for element in elements(set, b',') {
        count += 1;
        let Some(range) = parse_one(element, length).filter(|_| count <= MAX_RANGES) else {
            return Part::Whole;
        };
        if !range.is_empty() {
            satisfiable += 1;
            part = Part::Single(range);
        }
    }
    // A suffix of nothing is nothing, and nothing is the whole (section 14.1.2).
    let suffix_of_nothing = length == 0 && count == 1 && part == Part::NotSatisfiable;
    if count == 0 || satisfiable > 1 || (suffix_of_nothing && is_suffix(set)) {
        return Part::Whole;
    }
    part
}

/// `first-last`, `first-` or `-length`; an empty range is one that cannot be satisfied, `None` what
/// is no range at all.
fn parse_one(element: &[u8], length: u64) -> Option<Range<u64>> {
    let dash = element.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (&element[..dash], &element[dash + 1..]);
    if first.is_empty() {
        let suffix = decimal(last)?;
        return Some(length.saturating_sub(suffix)..length);
    }
    let first = decimal(first)?;
    let last = if last.is_empty() { u64::MAX } else { decimal(last)? };
    if first > last {
        return None;
    }
    let end = length.min(last.saturating_add(1));
    Some(first.min(end)..end)
}

fn is_suffix(set: &[u8]) -> bool {
    let mut elements = elements(set, b',');
    let suffix = elements.next().and_then(|element| element.strip_prefix(b"-"));
    suffix.and_then(decimal).is_some_and(|suffix| suffix > 0)
}

/// Whether `If-Range` (section 13.1.5) lets a range be honoured: it is not there, or names the
/// current representation by its strong tag or its exact date.
fn if_range_holds(request: &Fields, current: &Validators, now_s: u64) -> bool {
    if !request.has("if-range") {
        return true;
    }
    let Some(value) = only(request, "if-range") else {
        return false;
    };
    if let Some(tag) = EntityTag::parse(value) {
        return current.entity_tag().is_some_and(|current| tag.strong_eq(&current));
    }
    // Within the second of a change there may be another one that the date cannot tell apart.
    let is_strong = |modified_s: &u64| *modified_s < now_s;
    let modified_s = current.last_modified_s.filter(is_strong);
    modified_s.is_some() && parse_date(value, now_s) == modified_s
}

/// The value of `Content-Range` for a part, or for none (section 14.4).
pub fn content_range(part: Option<&Range<u64>>, length: u64) -> String {
    match part {
        Some(part) => format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1)),
        None => format!("bytes */{length}"),
    }
}

#[cfg(test)]
mod tests {
    use super::Part::{NotSatisfiable, Whole};
    use super::*;
    use proptest::prelude::*;

    const NOW_S: u64 = 1_790_000_000;

    fn single(start: u64, end: u64) -> Part {
        Part::Single(start..end)
    }

    #[test]
    fn one_range_is_honoured() {
        for (value, part) in [
            ("bytes=0-0", single(0, 1)),
            ("bytes=0-499", single(0, 500)),
            ("BYTES=500-", single(500, 1000)),
            ("bytes=-1", single(999, 1000)),
            ("bytes=-5000", single(0, 1000)),
            ("bytes=999-99999999999999999999999", single(999, 1000)),
            ("bytes= 1-2 ,", single(1, 3)),
            ("bytes=1000-", NotSatisfiable),
            ("bytes=99999999999999999999-99999999999999999999", NotSatisfiable),
            ("bytes=-0", NotSatisfiable),
            ("bytes=2000-,-0", NotSatisfiable),
            ("bytes=2000-,5-6", single(5, 7)),
        ] {
            assert_eq!(parse_range(value.as_bytes(), 1000), part, "{value}");
        }
    }

    #[test]
    fn what_need_not_be_honoured_is_answered_with_the_whole() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=2-1",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=1 - 2",
            "bytes=--1",
            "bytes=0x1-",
            "bytes =0-1",
            "items=0-1",
            "bytes=0-1,x",
            "bytes=0-1,5-6",
            "bytes=0-,0-,0-",
        ] {
            assert_eq!(parse_range(value.as_bytes(), 1000), Whole, "{value}");
        }
        let bomb = format!("bytes={}", "5000-,".repeat(MAX_RANGES + 1));
        assert_eq!(parse_range(bomb.as_bytes(), 1000), Whole);
        let most = format!("bytes={}", "5000-,".repeat(MAX_RANGES));
        assert_eq!(parse_range(most.as_bytes(), 1000), NotSatisfiable);
    }

    #[test]
    fn nothing_has_no_parts() {
        for (value, part) in [
            ("bytes=0-", NotSatisfiable),
            ("bytes=0-0", NotSatisfiable),
            ("bytes=-5", Whole),
            ("bytes=-0", NotSatisfiable),
        ] {
            assert_eq!(parse_range(value.as_bytes(), 0), part, "{value}");
        }
    }

    #[test]
    fn a_range_of_what_the_client_no_longer_means_is_not_sent() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let part = |etag, values: &[&str], now_s| {
            let pairs = values.iter().map(|value| ("if-range", *value));
            let fields = Fields::of([("range", "bytes=0-0")].into_iter().chain(pairs));
            let current = Validators { etag, last_modified_s: Some(784_111_777) };
            requested_part(&fields, &current, 10, now_s)
        };
        let strong = Some("\"a\"");
        for good in [&[][..], &["\"a\""], &[date], &["Sunday, 06-Nov-94 08:49:37 GMT"]] {
            assert_eq!(part(strong, good, NOW_S), single(0, 1), "{good:?}");
        }
        for bad in [
            &["\"b\""][..],
            &["W/\"a\""],
            &["*"],
            &[""],
            &["\"a\", \"b\""],
            &["\"a\"", "\"a\""],
            &["Sun, 06 Nov 1994 08:49:38 GMT"],
            &["Sun, 06 Nov 1994 08:49:36 GMT"],
        ] {
            assert_eq!(part(strong, bad, NOW_S), Whole, "{bad:?}");
        }
        assert_eq!(part(Some("W/\"a\""), &["W/\"a\""], NOW_S), Whole);
        assert_eq!(part(strong, &[date], 784_111_777), Whole, "it may change again");
        let twice = Fields::of([("range", "bytes=0-0"), ("range", "bytes=0-0")]);
        assert_eq!(requested_part(&twice, &Validators::default(), 10, NOW_S), Whole);
    }

    #[test]
    fn content_ranges_name_the_last_byte() {
        assert_eq!(content_range(Some(&(0..1)), 5), "bytes 0-0/5");
        assert_eq!(content_range(None, 5), "bytes */5");
    }

    proptest! {
        #[test]
        fn parts_lie_within(value in "bytes=[0-9, -]{0,30}|\\PC{0,40}", length: u64) {
            if let Part::Single(part) = parse_range(value.as_bytes(), length) {
                prop_assert!(part.start < part.end && part.end <= length);
            }
        }
    }
}
