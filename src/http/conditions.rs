//! Conditional requests (RFC 9110, section 13): whether the client wants what there is.

use super::date::parse_date;
use super::etag::{Comparison, EntityTag, names_current};
use crate::wire::http::Fields;

/// What the current representation, which exists, is known by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    /// Its entity tag as it is sent, quotes and all.
    pub etag: Option<&'a str>,
    /// When it was last modified, in seconds since 1970.
    pub last_modified_s: Option<u64>,
}

impl<'a> Validators<'a> {
    /// The tag, where it is one.
    pub fn entity_tag(&self) -> Option<EntityTag<'a>> {
        EntityTag::parse(self.etag?.as_bytes())
    }
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Do what the method says.
    Proceed,
    /// The client has it already: 304.
    NotModified,
    /// It is not what the client took it for: 412.
    PreconditionFailed,
}

/// Evaluates the conditions of a request in the order of section 13.2.2, all but `If-Range`.
///
/// `is_read`: the method is GET or HEAD. Dates that are no dates, or stand there twice, are
/// ignored, as are all where the representation has none. A malformed list of tags matches nothing.
pub fn evaluate(request: &Fields, is_read: bool, current: &Validators, now_s: u64) -> Verdict {
    let present = Present::of(request);
    if present.none() {
        return Verdict::Proceed;
    }
    let date = |name| current.last_modified_s.zip(parse_date(only(request, name)?, now_s));
    if present.if_match {
        let values = request.all("if-match");
        if !names_current(values, current.entity_tag(), Comparison::Strong) {
            return Verdict::PreconditionFailed;
        }
    } else if present.if_unmodified_since
        && date("if-unmodified-since").is_some_and(|(modified_s, since_s)| modified_s > since_s)
    {
        return Verdict::PreconditionFailed;
    }
    if present.if_none_match {
        let values = request.all("if-none-match");
        return match names_current(values, current.entity_tag(), Comparison::Weak) {
            false => Verdict::Proceed,
            true if is_read => Verdict::NotModified,
            true => Verdict::PreconditionFailed,
        };
    }
    if present.if_modified_since
        && is_read
        && date("if-modified-since").is_some_and(|(modified_s, since_s)| modified_s <= since_s)
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// The value of a field that stands there once.
pub(super) fn only<'a>(fields: &'a Fields, name: &'a str) -> Option<&'a [u8]> {
    let mut values = fields.all(name);
    values.next().filter(|_| values.next().is_none())
}

/// Which conditions there are: most requests have none, and one pass says so.
#[derive(Default)]
struct Present {
    if_match: bool,
    if_unmodified_since: bool,
    if_none_match: bool,
    if_modified_since: bool,
}

impl Present {
    fn of(request: &Fields) -> Self {
        let mut present = Self::default();
        for (name, _) in request.iter_bytes() {
            match name {
                b"if-match" => present.if_match = true,
                b"if-unmodified-since" => present.if_unmodified_since = true,
                b"if-none-match" => present.if_none_match = true,
                b"if-modified-since" => present.if_modified_since = true,
                _ => {}
            }
        }
        present
    }

    fn none(&self) -> bool {
        let any = self.if_match | self.if_unmodified_since;
        !(any | self.if_none_match | self.if_modified_since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{NotModified, PreconditionFailed, Proceed};
    use proptest::prelude::*;

    const MODIFIED_S: u64 = 784_111_777;
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sunday, 06-Nov-94 08:49:38 GMT";
    const NOW_S: u64 = 1_790_000_000;

    fn read(pairs: &[(&str, &str)]) -> Verdict {
        let current = Validators { etag: Some("\"b\""), last_modified_s: Some(MODIFIED_S) };
        evaluate(&Fields::of(pairs.iter().copied()), true, &current, NOW_S)
    }

    fn write(pairs: &[(&str, &str)]) -> Verdict {
        let current = Validators { etag: Some("\"b\""), last_modified_s: Some(MODIFIED_S) };
        evaluate(&Fields::of(pairs.iter().copied()), false, &current, NOW_S)
    }

    #[test]
    fn each_condition_alone() {
        assert_eq!(read(&[("accept", "*/*"), ("if-range", "\"x\"")]), Proceed);
        for (name, value, to_read, to_write) in [
            ("if-match", "\"b\"", Proceed, Proceed),
            ("if-match", "*", Proceed, Proceed),
            ("if-match", "W/\"b\"", PreconditionFailed, PreconditionFailed),
            ("if-match", "\"a\"", PreconditionFailed, PreconditionFailed),
            ("if-match", "b", PreconditionFailed, PreconditionFailed),
            ("if-unmodified-since", BEFORE, PreconditionFailed, PreconditionFailed),
            ("if-unmodified-since", SAME, Proceed, Proceed),
            ("if-unmodified-since", AFTER, Proceed, Proceed),
            ("if-unmodified-since", "yesterday", Proceed, Proceed),
            ("if-none-match", "\"b\"", NotModified, PreconditionFailed),
            ("if-none-match", "W/\"b\"", NotModified, PreconditionFailed),
            ("if-none-match", "*", NotModified, PreconditionFailed),
            ("if-none-match", "\"a\", \"c\"", Proceed, Proceed),
            ("if-none-match", "b", Proceed, Proceed),
            ("if-modified-since", BEFORE, Proceed, Proceed),
            ("if-modified-since", SAME, NotModified, Proceed),
            ("if-modified-since", AFTER, NotModified, Proceed),
            ("if-modified-since", "0", Proceed, Proceed),
        ] {
            assert_eq!(read(&[(name, value)]), to_read, "{name}: {value}");
            assert_eq!(write(&[(name, value)]), to_write, "{name}: {value}");
        }
    }

    #[test]
    fn tags_beat_dates() {
        assert_eq!(read(&[("if-none-match", "\"a\""), ("if-modified-since", AFTER)]), Proceed);
        assert_eq!(read(&[("if-modified-since", BEFORE), ("if-none-match", "\"b\"")]), NotModified);
        assert_eq!(read(&[("if-none-match", "junk"), ("if-modified-since", AFTER)]), Proceed);
        assert_eq!(read(&[("if-match", "\"b\""), ("if-unmodified-since", BEFORE)]), Proceed);
        let both = [("if-match", "\"b\""), ("if-none-match", "\"b\"")];
        assert_eq!((read(&both), write(&both)), (NotModified, PreconditionFailed));
        assert_eq!(read(&[("if-match", "\"a\""), ("if-none-match", "\"b\"")]), PreconditionFailed);
        assert_eq!(
            read(&[("if-unmodified-since", SAME), ("if-modified-since", SAME)]),
            NotModified
        );
    }

    #[test]
    fn dates_that_stand_there_twice_say_nothing() {
        assert_eq!(read(&[("if-modified-since", AFTER), ("if-modified-since", AFTER)]), Proceed);
        let twice = [("if-unmodified-since", BEFORE), ("if-unmodified-since", BEFORE)];
        assert_eq!(write(&twice), Proceed);
    }

    #[test]
    fn a_representation_without_validators() {
        let nothing = Validators::default();
        for (name, value, verdict) in [
            ("if-match", "\"b\"", PreconditionFailed),
            ("if-match", "*", Proceed),
            ("if-none-match", "\"b\"", Proceed),
            ("if-none-match", "*", NotModified),
            ("if-modified-since", AFTER, Proceed),
            ("if-unmodified-since", BEFORE, Proceed),
        ] {
            let fields = Fields::of([(name, value)]);
            assert_eq!(evaluate(&fields, true, &nothing, NOW_S), verdict, "{name}: {value}");
        }
    }

    proptest! {
        #[test]
        fn a_write_is_never_answered_not_modified(
            pairs in proptest::collection::vec(
                ("if-match|if-none-match|if-modified-since|if-unmodified-since",
                 "\\*|\"[ab]\"|W/\"b\"|Sun, 06 Nov 1994 08:49:3[6-8] GMT|[!-~]{0,9}"), 0..6),
        ) {
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            prop_assert_ne!(write(&pairs), NotModified);
            let _ = read(&pairs);
        }
    }
}
