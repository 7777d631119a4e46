//! The answer of a server that has a representation to a GET or HEAD of it (RFC 9110, section 15).

use super::conditions::{Validators, Verdict, evaluate};
use super::date::format_date;
use super::list::Decimal;
use super::range::{Part, content_range, requested_part};
use crate::wire::DecodeError;
use crate::wire::http::{Fields, FieldsBuilder, HttpRequest};
use bytes::Bytes;
use std::ops::Range;

/// Longest text of an answer that says what is wrong, in bytes.
pub const MAX_ERROR_TEXT: usize = 1024;

/// What there is to be sent, without its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Representation<'a> {
    /// Its fields as they are to be sent: type, language, coding, `Cache-Control`, `Vary` and so
    /// on. Those that a [`plan`] makes itself are left out.
    pub fields: &'a Fields,
    /// Its entity tag, with its quotes; empty if it has none.
    pub etag: &'a str,
    /// When it was last modified, in seconds since 1970.
    pub last_modified_s: Option<u64>,
    /// How many bytes it has, as they are sent.
    pub length: u64,
}

impl<'a> Representation<'a> {
    /// What conditions are compared with.
    pub fn validators(&self) -> Validators<'a> {
        let etag = Some(self.etag).filter(|etag| !etag.is_empty());
        Validators { etag, last_modified_s: self.last_modified_s }
    }
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// 200, 206, 304, 405, 412 or 416; 500 where the fields of the representation leave no room for
    /// those that the answer needs.
    pub status: u16,
    /// All fields.
    pub fields: Fields,
    /// The bytes of the representation that are sent, if any are.
    pub part: Option<Range<u64>>,
}

/// Plans the answer to a request for a representation that there is.
///
/// Conditions come first, then the range that a GET asks for. Answers without content of the
/// representation have a length of 0, but a 304, which has none, and the answer to a HEAD, which
/// has that of the GET. Any method but these two is answered with 405.
pub fn plan(request: &HttpRequest, representation: &Representation, now_s: u64) -> Plan {
    let current = representation.validators();
    let length = representation.length;
    let planned = if !request.is_read() {
        not_allowed(now_s).map(|fields| (405, fields, None))
    } else {
        match evaluate(&request.fields, true, &current, now_s) {
            Verdict::NotModified => {
                not_modified(representation, now_s).map(|fields| (304, fields, None))
            }
            Verdict::PreconditionFailed => {
                without_content(representation, None, now_s).map(|fields| (412, fields, None))
            }
            Verdict::Proceed if request.method == "HEAD" => {
                with_content(representation, None, now_s).map(|fields| (200, fields, None))
            }
            Verdict::Proceed => match part_of(request, representation, now_s) {
                Part::Whole => with_content(representation, None, now_s)
                    .map(|fields| (200, fields, Some(0..length))),
                Part::Single(part) => with_content(representation, Some(&part), now_s)
                    .map(|fields| (206, fields, Some(part))),
                Part::NotSatisfiable => {
                    let range = content_range(None, length);
                    without_content(representation, Some(&range), now_s)
                        .map(|fields| (416, fields, None))
                }
            },
        }
    };
    match planned {
        Ok((status, fields, part)) => Plan { status, fields, part },
        Err(_) => {
            let fields = Fields::of([("cache-control", "no-store"), ("content-length", "0")]);
            Plan { status: 500, fields, part: None }
        }
    }
}

/// The part of a representation that a GET asks for. One that varies may share its date with
/// others: the date does not say of which of them a client has the beginning.
fn part_of(request: &HttpRequest, representation: &Representation, now_s: u64) -> Part {
    if !request.fields.has("range") {
        return Part::Whole;
    }
    let dated = !representation.fields.has("vary");
    let last_modified_s = representation.last_modified_s.filter(|_| dated);
    let current = Validators { last_modified_s, ..representation.validators() };
    requested_part(&request.fields, &current, representation.length, now_s)
}

/// Bytes that the fields of a plan's own mostly need.
const ROOM: usize = 256;

/// A 304 has the fields that renew what the client holds, and no others (section 15.4.5). It is the
/// most frequent answer by far: one buffer that need not grow.
fn not_modified(representation: &Representation, now_s: u64) -> Result<Fields, DecodeError> {
    let kept =
        |name: &str| matches!(name, "cache-control" | "vary" | "expires" | "content-location");
    let room = representation.fields.as_bytes().len() + representation.etag.len() + 128;
    let mut builder = FieldsBuilder::with_capacity(room);
    for (name, value) in representation.fields.iter().filter(|(name, _)| kept(name)) {
        builder.push(name, value)?;
    }
    push_validators(&mut builder, representation, now_s)?;
    Ok(builder.finish())
}

/// The fields of a 200, or of a 206 with a part.
fn with_content(
    representation: &Representation,
    part: Option<&Range<u64>>,
    now_s: u64,
) -> Result<Fields, DecodeError> {
    let own = |name: &str| {
        matches!(
            name,
            "accept-ranges"
                | "content-length"
                | "content-range"
                | "date"
                | "etag"
                | "last-modified"
        )
    };
    let mut builder = FieldsBuilder::with_capacity(representation.fields.as_bytes().len() + ROOM);
    for (name, value) in representation.fields.iter().filter(|(name, _)| !own(name)) {
        builder.push(name, value)?;
    }
    push_validators(&mut builder, representation, now_s)?;
    builder.push("accept-ranges", b"bytes")?;
    let length = match part {
        Some(part) => {
            let range = content_range(Some(part), representation.length);
            builder.push("content-range", range.as_bytes())?;
            part.end - part.start
        }
        None => representation.length,
    };
    builder.push("content-length", Decimal::new(length).as_bytes())?;
    Ok(builder.finish())
}

/// The fields of a refusal. They say what the representation is known by now, so that the client
/// can ask better.
fn without_content(
    representation: &Representation,
    content_range: Option<&str>,
    now_s: u64,
) -> Result<Fields, DecodeError> {
    let mut builder = FieldsBuilder::with_capacity(ROOM);
    for value in representation.fields.all("vary") {
        builder.push("vary", value)?;
    }
    push_validators(&mut builder, representation, now_s)?;
    if let Some(range) = content_range {
        builder.push("accept-ranges", b"bytes")?;
        builder.push("content-range", range.as_bytes())?;
    }
    builder.push("content-length", b"0")?;
    Ok(builder.finish())
}

fn not_allowed(now_s: u64) -> Result<Fields, DecodeError> {
    let mut builder = FieldsBuilder::with_capacity(ROOM);
    builder.push("allow", b"GET, HEAD")?;
    builder.push("date", &format_date(now_s))?;
    builder.push("content-length", b"0")?;
    Ok(builder.finish())
}

fn push_validators(
    builder: &mut FieldsBuilder,
    representation: &Representation,
    now_s: u64,
) -> Result<(), DecodeError> {
    if !representation.etag.is_empty() {
        builder.push("etag", representation.etag.as_bytes())?;
    }
    if let Some(modified_s) = representation.last_modified_s {
        // A server must not say that something was changed in the future (section 8.8.2.1).
        builder.push("last-modified", &format_date(modified_s.min(now_s)))?;
    }
    builder.push("date", &format_date(now_s))
}

/// An answer that says what is wrong in a line of plain text, which no cache keeps. Control
/// characters become spaces, as the text may quote what a client sent; it is cut where it is longer
/// than [`MAX_ERROR_TEXT`].
pub fn error_answer(status: u16, text: &str) -> (Fields, Bytes) {
    let mut body = format!("{status} ");
    for character in text.chars() {
        if body.len() + character.len_utf8() >= MAX_ERROR_TEXT {
            break;
        }
        body.push(if character.is_control() { ' ' } else { character });
    }
    body.push('\n');
    let length = body.len().to_string();
    let fields = Fields::of([
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", &length),
        ("cache-control", "no-store"),
        // Nobody is to take what a client had us quote for a page.
        ("x-content-type-options", "nosniff"),
    ]);
    (fields, Bytes::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{MAX_FIELDS, RequestBody, RequestTarget, Scheme};
    use proptest::prelude::*;

    const NOW_S: u64 = 784_111_777;
    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 07:49:37 GMT";

    fn request(method: &str, pairs: &[(&str, &str)]) -> HttpRequest {
        HttpRequest {
            request_id: 1,
            idempotent: true,
            method: method.to_owned(),
            scheme: Scheme::Https,
            authority: "a.example".to_owned(),
            target: RequestTarget::new(Bytes::from_static(b"/")).unwrap(),
            fields: Fields::of(pairs.iter().copied()),
            body: RequestBody::None,
        }
    }

    fn planned(method: &str, pairs: &[(&str, &str)], length: u64) -> Plan {
        let fields = &Fields::of([
            ("content-type", "text/html"),
            ("cache-control", "max-age=60"),
            ("vary", "accept-encoding"),
            ("content-length", "99999"),
            ("content-location", "/b"),
        ]);
        let last_modified_s = Some(NOW_S - 3600);
        let representation = Representation { fields, etag: "\"b\"", last_modified_s, length };
        plan(&request(method, pairs), &representation, NOW_S)
    }

    #[test]
    fn all_of_it() {
        let expected = Fields::of([
            ("content-type", "text/html"),
            ("cache-control", "max-age=60"),
            ("vary", "accept-encoding"),
            ("content-location", "/b"),
            ("etag", "\"b\""),
            ("last-modified", MODIFIED),
            ("date", NOW),
            ("accept-ranges", "bytes"),
            ("content-length", "1000"),
        ]);
        let get = planned("GET", &[], 1000);
        assert_eq!(get, Plan { status: 200, fields: expected.clone(), part: Some(0..1000) });
        let head = planned("HEAD", &[("range", "bytes=0-0")], 1000);
        assert_eq!(head, Plan { status: 200, fields: expected, part: None });
        assert_eq!(planned("GET", &[], 0).part, Some(0..0));
    }

    #[test]
    fn a_part_of_it() {
        let part = planned("GET", &[("range", "bytes=-10"), ("if-range", "\"b\"")], 1000);
        assert_eq!((part.status, part.part), (206, Some(990..1000)));
        assert_eq!(part.fields.only("content-range"), Some("bytes 990-999/1000"));
        assert_eq!(part.fields.only("content-length"), Some("10"));
        let old = planned("GET", &[("range", "bytes=-10"), ("if-range", "\"a\"")], 1000);
        assert_eq!((old.status, old.fields.has("content-range")), (200, false));
        let none = planned("GET", &[("range", "bytes=1000-")], 1000);
        assert_eq!((none.status, none.part), (416, None));
        assert_eq!(none.fields.only("content-range"), Some("bytes */1000"));
        assert_eq!(none.fields.only("content-length"), Some("0"));
    }

    #[test]
    fn nothing_of_it() {
        let expected = Fields::of([
            ("cache-control", "max-age=60"),
            ("vary", "accept-encoding"),
            ("content-location", "/b"),
            ("etag", "\"b\""),
            ("last-modified", MODIFIED),
            ("date", NOW),
        ]);
        for method in ["GET", "HEAD"] {
            let range = ("range", "bytes=5000-");
            let same = planned(method, &[("if-none-match", "W/\"b\""), range], 1000);
            assert_eq!(same, Plan { status: 304, fields: expected.clone(), part: None });
            let other = planned(method, &[("if-match", "\"a\""), range], 1000);
            assert_eq!((other.status, other.part), (412, None));
        }
        let post = planned("POST", &[("if-match", "\"a\"")], 1000);
        assert_eq!((post.status, post.fields.only("allow")), (405, Some("GET, HEAD")));
    }

    #[test]
    fn without_room_nothing_half_true_is_sent() {
        let fields = &Fields::of((0..MAX_FIELDS).map(|_| ("a", "b")));
        for etag in ["\"a\"", "\"\n\""] {
            let representation = Representation { fields, etag, last_modified_s: None, length: 5 };
            let plan = plan(&request("GET", &[]), &representation, NOW_S);
            assert_eq!((plan.status, plan.part), (500, None));
        }
    }

    #[test]
    fn the_future_is_not_when_something_was_changed() {
        let fields = &Fields::default();
        let last_modified_s = Some(NOW_S + 5);
        let representation = Representation { fields, etag: "\"a\"", last_modified_s, length: 5 };
        let plan = plan(&request("GET", &[]), &representation, NOW_S);
        assert_eq!(plan.fields.only("last-modified"), Some(NOW));
    }

    #[test]
    fn an_error_is_a_short_text() {
        let (fields, body) = error_answer(404, "there is no \x1b[2J/a\r\n");
        assert_eq!(body, "404 there is no  [2J/a  \n");
        assert_eq!(fields.only("content-length"), Some(&*body.len().to_string()));
        assert_eq!(fields.only("cache-control"), Some("no-store"));
        let (_, long) = error_answer(500, &"ä".repeat(5000));
        assert!(long.len() <= MAX_ERROR_TEXT && std::str::from_utf8(&long).is_ok());
    }

    proptest! {
        #[test]
        fn parts_lie_within(
            range in "bytes=[0-9]{0,3}-[0-9]{0,4}|[!-~]{0,12}",
            condition in "if-match|if-none-match|if-range|accept",
            value in "\\*|\"[ab]\"|[!-~]{0,9}",
            length in 0..2000u64,
        ) {
            let plan = planned("GET", &[("range", &range), (&condition, &value)], length);
            if let Some(part) = &plan.part {
                prop_assert!(part.start <= part.end && part.end <= length);
                let sent = (part.end - part.start).to_string();
                prop_assert_eq!(plan.fields.only("content-length"), Some(&*sent));
            }
            prop_assert_eq!(plan.part.is_some(), matches!(plan.status, 200 | 206));
        }
    }
}
