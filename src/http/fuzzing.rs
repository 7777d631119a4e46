//! What fuzzing calls, as in [`crate::wire::fuzzing`]: the values of fields that clients and
//! origins write.
//!
//! A target takes text: lines of the form `name: value`. Lines that are no field are passed over.

use super::cache::{Exchange, Reuse, decide, freshened};
use super::conditions::{Verdict, evaluate};
use super::control::{CacheControl, MAX_DELTA_S};
use super::encoding::{Accepted, Encoding};
use super::etag::parse_own;
use super::forward::{Arrival, Protocol, is_hop_by_hop, to_client, to_origin};
use super::respond::{Representation, plan};
use super::vary::{VaryNames, variant};
use crate::wire::fuzzing::Target;
use crate::wire::http::{Fields, HttpRequest, RequestBody, RequestTarget, Scheme};
use bytes::Bytes;
use std::net::Ipv4Addr;

/// Every target of this layer, by the name of its file in `fuzz/fuzz_targets` and its directory in
/// `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 2] =
    [("http_conditions", http_conditions), ("http_cache", http_cache)];

const NOW_S: u64 = 784_111_777;

/// Answers a read, whose fields are the lines, of a representation whose length is in the first two
/// bytes, the low one first. What is sent lies within it, and the fields say what is sent.
pub fn http_conditions(bytes: &[u8]) {
    let Some((length, lines)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let length = u64::from(u16::from_le_bytes(*length));
    let fields = fields(lines);
    for value in fields.all("if-none-match") {
        let _ = parse_own(value);
    }
    let kept = Fields::of([("cache-control", "max-age=5"), ("content-type", "text/plain")]);
    let (etag, last_modified_s) = ("\"a\"", Some(NOW_S - 5));
    let representation = Representation { fields: &kept, etag, last_modified_s, length };
    let verdict = evaluate(&fields, false, &representation.validators(), NOW_S);
    assert_ne!(verdict, Verdict::NotModified, "a write has nothing to be answered so");
    for method in ["GET", "HEAD"] {
        let request = HttpRequest {
            request_id: 1,
            idempotent: true,
            method: method.to_owned(),
            scheme: Scheme::Https,
            authority: String::new(),
            target: RequestTarget::new(Bytes::from_static(b"/")).expect("it is a path"),
            fields: fields.clone(),
            body: RequestBody::None,
        };
        let plan = plan(&request, &representation, NOW_S);
        let sends = method == "GET" && matches!(plan.status, 200 | 206);
        assert_eq!(plan.part.is_some(), sends, "{plan:?}");
        if let Some(part) = plan.part {
            assert!(part.start <= part.end && part.end <= length, "{part:?} of {length}");
            let sent = (part.end - part.start).to_string();
            assert_eq!(plan.fields.only("content-length"), Some(&*sent));
            assert_eq!(plan.fields.has("content-range"), plan.status == 206);
        }
    }
}

/// Decides whether a response is kept. The lines before the first empty one are the request's, all
/// others the response's. Nothing private is kept, and what is passed on has nothing about
/// connections.
pub fn http_cache(bytes: &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let (request, response) = bytes.split_at(end);
    let (request, response) = (&fields(request), &fields(response));
    let (asked_s, answered_s) = (NOW_S - 1, NOW_S);
    let exchange = Exchange { method: "GET", request, status: 200, response, asked_s, answered_s };
    let storage = decide(&exchange);
    if storage.storable {
        assert!(!storage.private && !response.has("set-cookie"), "private, and kept");
        assert!(!CacheControl::of(response).no_store && !CacheControl::of(request).no_store);
        assert_eq!(VaryNames::of(response).as_ref(), Some(&storage.vary));
    }
    assert!(storage.current_age_s(u64::MAX) <= MAX_DELTA_S && storage.lifetime_s <= MAX_DELTA_S);
    let wishes = CacheControl::of_request(request);
    if wishes.no_cache || wishes.max_age_s == Some(0) {
        let reuse = storage.reuse(&wishes, NOW_S);
        assert!(matches!(reuse, Reuse::Revalidate | Reuse::Unavailable), "{reuse:?}");
    }
    let accepted = Accepted::of(request);
    if let Some(chosen) = accepted.choose(&Encoding::ALL) {
        assert!(accepted.quality(chosen) > 0);
    }
    let named = |authority| variant(&storage.vary, request, Scheme::Https, authority);
    assert_ne!(named("a"), named("b"));
    let _ = freshened(response, response);

    let client = Ipv4Addr::LOCALHOST.into();
    let (scheme, protocol) = (Scheme::Https, Protocol::Http3);
    let arrival = Arrival { client, scheme, authority: "a", protocol };
    if let Ok(passed) = to_origin(request, &arrival) {
        assert_eq!(passed.all("x-forwarded-for").collect::<Vec<_>>(), [b"127.0.0.1"]);
        assert!(passed.iter().all(|(name, _)| !is_hop_by_hop(name)), "{passed:?}");
    }
    if let Ok(passed) = to_client(response, Protocol::Http11) {
        assert!(passed.iter().all(|(name, _)| !is_hop_by_hop(name)), "{passed:?}");
        assert!(passed.has("cache-control") == response.has("cache-control"));
    }
}

fn fields(lines: &[u8]) -> Fields {
    let mut builder = Fields::builder();
    for line in lines.split(|byte| *byte == b'\n') {
        if let Some(colon) = line.iter().position(|byte| *byte == b':')
            && let Ok(name) = std::str::from_utf8(&line[..colon])
        {
            let _ = builder.push(name, &line[colon + 1..]);
        }
    }
    builder.finish()
}
