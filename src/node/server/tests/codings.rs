//! Items that are compressed for HTTP clients: made once, told apart by their tags, and never made
//! to say that a client has one.

use super::bench::{Bench, forward, found};
use super::http::{http, read, request};
use super::*;
use crate::http::encoding::Encoding;
use crate::http::etag::{coded_tag, own_tag};
use crate::mirror::Version;
use crate::wire::backplane::Resume;
use crate::wire::http::{HttpAnswer, HttpBody};
use crate::wire::lane::Outcome;
use crate::wire::{Frame, HeaderBlock, HeaderName};
use proptest::prelude::*;

const ZSTD: (&str, &str) = ("accept-encoding", "gzip, deflate, br, zstd");
const GZIP: (&str, &str) = ("accept-encoding", "gzip, identity;q=0.5");

/// Lines that differ a little: about a fifth remains of them.
fn style(lines: u32) -> Version {
    let lines = (0..lines).map(|at| format!(".a{at} {{ width: {}px }}\n", at * at % 977));
    version_of("text/css; charset=utf-8", lines.collect::<String>().into())
}

/// What looks like text and is noise.
fn noise(length: usize) -> Version {
    let blocks = (0..length.div_ceil(32)).map(|at| *blake3::hash(&at.to_le_bytes()).as_bytes());
    let mut bytes: Vec<u8> = blocks.flatten().collect();
    bytes.truncate(length);
    version_of("text/plain", bytes.into())
}

fn version_of(content_type: &str, body: Bytes) -> Version {
    let headers = [(HeaderName::ContentType, content_type)];
    Version::new(HeaderBlock::new(headers).expect("it is short"), body)
}

fn tag(item: &Version, encoding: Encoding) -> String {
    coded_tag(&own_tag(item.fingerprint()), encoding)
}

/// A client asks, and the source has this version still, or has it now.
fn ask(bench: &mut Bench, of: u8, inner: Frame, item: &Version) {
    bench.ask(of, How::HandedOn, inner);
    bench.answer("/a", found(item));
}

/// How many requests were answered.
fn replies(bench: &Bench) -> usize {
    bench.heard.iter().filter(|message| matches!(message, Message::Reply { .. })).count()
}

/// What is answered to a request for which nothing is made.
fn answered(bench: &mut Bench, inner: Frame, item: &Version) -> HttpAnswer {
    ask(bench, 1, inner, item);
    assert!(bench.compresses.is_empty(), "nothing needs to be made");
    http(bench.outcome())
}

/// What is answered to a request for which something is made first, and the coded bytes.
fn made(bench: &mut Bench, inner: Frame, item: &Version) -> (HttpAnswer, Option<Bytes>) {
    ask(bench, 1, inner, item);
    assert_eq!(replies(bench), 0, "it waits");
    let coded = bench.compress();
    (http(bench.outcome()), coded)
}

/// Status, coding, tag and length; the answer says that it depends on what is accepted.
fn said(answer: &HttpAnswer) -> (u16, Option<&str>, Option<&str>, Option<&str>) {
    let field = |name| answer.fields.only(name);
    assert_eq!(field("vary"), Some("accept-encoding"), "{answer:?}");
    (answer.status, field("content-encoding"), field("etag"), field("content-length"))
}

#[test]
fn an_item_is_coded_once_for_all_who_accept_it() {
    let (mut bench, item) = (Bench::new(), style(100));
    (1..=3).for_each(|of| ask(&mut bench, of, read("/a", &[ZSTD]), &item));
    assert_eq!(replies(&bench), 0, "all wait for it");
    let coding = Coding { version: item.fingerprint().digest, encoding: Encoding::Zstd };
    assert_eq!(bench.compresses, [(coding, item.body().clone())]);
    let coded = bench.compress().expect("it is worth it");
    ask(&mut bench, 4, read("/a", &[ZSTD]), &item);
    let answers = bench.outcomes();
    assert_eq!(answers.len(), 4);
    let (etag, length) = (tag(&item, Encoding::Zstd), coded.len().to_string());
    for answer in answers.into_iter().map(http) {
        assert_eq!(said(&answer), (200, Some("zstd"), Some(&*etag), Some(&*length)));
        assert_eq!(answer.fields.only("content-type"), Some("text/css; charset=utf-8"));
        assert_eq!(answer.body, HttpBody::Inline(coded.clone()));
    }
    let decoded = zstd::bulk::decompress(&coded, 1 << 20).expect("it is Zstandard");
    assert_eq!(decoded, item.body()[..]);
    let counters = bench.server.view().counters;
    assert_eq!((counters.coded, counters.coded_bytes), (4, 4 * coded.len() as u64));
    // Another coding, and another version, are others.
    let (answer, _) = made(&mut bench, read("/a", &[GZIP]), &item);
    assert_eq!(said(&answer).1, Some("gzip"));
    let (answer, _) = made(&mut bench, read("/a", &[ZSTD]), &style(101));
    assert_eq!(said(&answer).2, Some(&*tag(&style(101), Encoding::Zstd)));
}

#[test]
fn who_accepts_no_coding_is_told_that_there_are_some() {
    let (mut bench, item) = (Bench::new(), style(100));
    let (etag, length) = (own_tag(item.fingerprint()), item.body().len().to_string());
    for fields in [&[][..], &[("accept-encoding", "br, identity")], &[("accept-encoding", "*;q=0")]]
    {
        let answer = answered(&mut bench, read("/a", fields), &item);
        assert_eq!(said(&answer), (200, None, Some(&*etag), Some(&*length)), "{fields:?}");
        assert_eq!(answer.body, HttpBody::Inline(item.body().clone()));
    }
}

#[test]
fn what_is_not_text_or_is_coded_already_is_sent_as_it_is() {
    let mut bench = Bench::new();
    let body = style(100).body().clone();
    let headers = [(HeaderName::ContentType, "text/css"), (HeaderName::ContentEncoding, "br")];
    let coded = Version::new(HeaderBlock::new(headers).expect("it is short"), body.clone());
    let short = version_of("text/css", body.slice(..511));
    let private = style(100).private();
    for item in [coded, short, private, version_of("image/png", body)] {
        let answer = answered(&mut bench, read("/a", &[ZSTD]), &item);
        assert_eq!((answer.status, answer.fields.has("vary")), (200, false));
        assert_eq!(answer.body, HttpBody::Inline(item.body().clone()));
    }
}

#[test]
fn what_saves_little_is_tried_once() {
    let (mut bench, item) = (Bench::new(), noise(2000));
    let (answer, coded) = made(&mut bench, read("/a", &[ZSTD]), &item);
    assert_eq!(coded, None);
    let whole = (200, None, Some(own_tag(item.fingerprint())), Some("2000".to_owned()));
    for answer in [answer, answered(&mut bench, read("/a", &[ZSTD]), &item)] {
        let (status, encoding, etag, length) = said(&answer);
        let said = (status, encoding, etag.map(str::to_owned), length.map(str::to_owned));
        assert_eq!(said, whole);
        assert_eq!(answer.body, HttpBody::Inline(item.body().clone()));
    }
}

#[test]
fn a_client_that_has_any_form_that_it_accepts_has_it() {
    let item = style(100);
    for (accepted, held, status) in [
        (ZSTD, Encoding::Zstd, 304),
        (ZSTD, Encoding::Gzip, 304),
        (ZSTD, Encoding::Identity, 304),
        (GZIP, Encoding::Gzip, 304),
        (GZIP, Encoding::Zstd, 200),
        (("accept-encoding", "gzip, identity;q=0"), Encoding::Identity, 200),
        (("accept", "*/*"), Encoding::Gzip, 200),
        (("accept", "*/*"), Encoding::Identity, 304),
    ] {
        let mut bench = Bench::new();
        let etag = tag(&item, held);
        let other = tag(&style(99), held);
        let list = format!("{other}, W/{etag}");
        ask(&mut bench, 1, read("/a", &[accepted, ("if-none-match", &list)]), &item);
        if status == 304 {
            assert!(bench.compresses.is_empty(), "{accepted:?}");
            let answer = http(bench.outcome());
            assert_eq!(said(&answer), (304, None, Some(&*etag), None), "{accepted:?}");
        } else if !bench.compresses.is_empty() {
            bench.compress();
            assert_eq!(http(bench.outcome()).status, 200);
        } else {
            assert_eq!(http(bench.outcome()).status, 200);
        }
        ask(&mut bench, 1, read("/a", &[accepted, ("if-none-match", &other)]), &item);
        while !bench.compresses.is_empty() {
            bench.compress();
        }
        assert_eq!(http(bench.outcome()).status, 200, "it has another version");
        let answer = answered(&mut bench, read("/a", &[accepted, ("if-match", &other)]), &item);
        assert_eq!(said(&answer).0, 412);
    }
}

#[test]
fn parts_are_of_the_coded_bytes_and_only_of_the_same_form() {
    let (mut bench, item) = (Bench::new(), style(100));
    let etag = tag(&item, Encoding::Gzip);
    let part = [GZIP, ("range", "bytes=10-19")];
    let (answer, coded) = made(&mut bench, read("/a", &part), &item);
    let coded = coded.expect("it is worth it");
    assert_eq!(said(&answer), (206, Some("gzip"), Some(&*etag), Some("10")));
    assert_eq!(answer.body, HttpBody::Inline(coded.slice(10..20)));
    let of = |condition: &str| read("/a", &[part[0], part[1], ("if-range", condition)]);
    let answer = answered(&mut bench, of(&etag), &item);
    assert_eq!(answer.body, HttpBody::Inline(coded.slice(10..20)));
    for other in [tag(&item, Encoding::Zstd), tag(&item, Encoding::Identity)] {
        let answer = answered(&mut bench, of(&other), &item);
        assert_eq!(said(&answer).0, 200);
        assert_eq!(answer.body, HttpBody::Inline(coded.clone()));
    }
    // One that lies behind the coded bytes, if not behind those of the item.
    let mut bench = Bench::new();
    for range in ["bytes=2000-", "bytes=90000-"] {
        ask(&mut bench, 1, read("/a", &[GZIP, ("range", range)]), &item);
        if !bench.compresses.is_empty() {
            bench.compress();
        }
        let answer = http(bench.outcome());
        assert_eq!(answer.status, 416);
        let length = format!("bytes */{}", coded.len());
        assert_eq!(answer.fields.only("content-range"), Some(&*length));
    }
}

#[test]
fn nothing_is_made_for_a_head() {
    let (mut bench, item) = (Bench::new(), style(100));
    let etag = tag(&item, Encoding::Zstd);
    let head = || request("HEAD", "/a", &[ZSTD]).encode();
    let answer = answered(&mut bench, head(), &item);
    assert_eq!(said(&answer), (200, Some("zstd"), Some(&*etag), None));
    let (_, coded) = made(&mut bench, read("/a", &[ZSTD]), &item);
    let length = coded.expect("it is worth it").len().to_string();
    let answer = answered(&mut bench, head(), &item);
    assert_eq!(said(&answer), (200, Some("zstd"), Some(&*etag), Some(&*length)));
    assert_eq!(answer.body, HttpBody::None);
}

#[test]
fn a_long_body_goes_on_elsewhere_by_the_same_bytes_only() {
    let item = style(20_000);
    let mut bench = Bench::with_memory(32 << 20);
    let (answer, coded) = made(&mut bench, read("/a", &[ZSTD]), &item);
    let coded = coded.expect("it is worth it");
    let HttpBody::Stream { length, tag: Some(tag) } = answer.body else { panic!("it is long") };
    assert_eq!((length, bench.bodies.remove(0)), (coded.len() as u64, coded.clone()));
    let resumed = |tag| Forward {
        resume: Some(Resume { offset: 600, tag }),
        inner: read("/a", &[ZSTD]),
        ..forward(1, How::HandedOn)
    };
    let whole = bench::tag("/a", &item);
    for (tag, rest) in [(tag, Some(&coded)), (whole, Some(item.body()))] {
        let mut other = Bench::with_memory(32 << 20);
        other.ask_with(resumed(tag));
        other.answer("/a", found(&item));
        if !other.compresses.is_empty() {
            other.compress();
        }
        assert_eq!(http(other.outcome()).status, 200);
        assert_eq!(Some(&other.bodies.remove(0)), rest.map(|bytes| bytes.slice(600..)).as_ref());
    }
    bench.ask_with(resumed(crate::wire::Tag([1; 16])));
    bench.answer("/a", found(&item));
    assert!(matches!(bench.outcome(), Outcome::Error { .. }), "these are other bytes");
}

#[test]
fn too_many_at_once_and_what_there_is_no_room_for_go_out_as_they_are() {
    let mut bench = Bench::with_memory(16 << 10);
    let answer = answered(&mut bench, read("/a", &[ZSTD]), &style(100));
    assert!(!answer.fields.has("vary"), "no form of it could be kept");
    let mut bench = Bench::new();
    for lines in 50..114 {
        ask(&mut bench, 1, read("/a", &[ZSTD]), &style(lines));
    }
    assert_eq!((bench.compresses.len(), replies(&bench)), (64, 0));
    ask(&mut bench, 1, read("/a", &[ZSTD]), &style(114));
    assert_eq!(said(&http(bench.outcome())).1, None);
    while !bench.compresses.is_empty() {
        bench.compress();
    }
    assert_eq!((bench.outcomes().len(), bench.server.bytes_in_coding), (64, 0));
    // So many bytes.
    let mut bench = Bench::with_memory(256 << 20);
    let long = |letter| version_of("text/plain", vec![letter; 6 << 20].into());
    for letter in [b'a', b'b'] {
        ask(&mut bench, 1, read("/a", &[ZSTD]), &long(letter));
    }
    ask(&mut bench, 1, read("/a", &[ZSTD]), &long(b'b'));
    assert_eq!((bench.compresses.len(), replies(&bench)), (2, 0));
    ask(&mut bench, 1, read("/a", &[ZSTD]), &long(b'c'));
    assert_eq!(said(&http(bench.outcome())).1, None);
    bench.compress();
    bench.outcomes();
    ask(&mut bench, 1, read("/a", &[ZSTD]), &long(b'c'));
    assert_eq!((bench.compresses.len(), replies(&bench)), (2, 0));
}

#[test]
fn who_is_taken_over_meanwhile_is_not_served() {
    let (mut bench, item) = (Bench::new(), style(100));
    ask(&mut bench, 1, read("/a", &[ZSTD]), &item);
    bench.release(1);
    bench.compress();
    assert!(matches!(bench.heard.last(), Some(Message::NotOwner { .. })), "{:?}", bench.heard);
}

proptest! {
    #[test]
    fn whatever_is_accepted_the_answer_is_the_item(
        accepted in proptest::prop_oneof![
            "[a-z*;=q0-9., ]{0,40}",
            "((gzip|zstd|br|identity|\\*)(;q=[01](\\.[0-9]{0,4})?)?, ?){0,4}",
        ],
        condition in "if-match|if-none-match|if-range|accept",
        form in 0..4usize,
        range in "bytes=[0-9]{0,2}-[0-9]{0,4}|[!-~]{0,9}",
        is_head: bool,
    ) {
        let (mut bench, item) = (Bench::new(), style(40));
        let etag = tag(&item, Encoding::ALL[form]);
        let fields = [("accept-encoding", &*accepted), (&condition, &etag), ("range", &range)];
        let method = if is_head { "HEAD" } else { "GET" };
        ask(&mut bench, 1, request(method, "/a", &fields).encode(), &item);
        let coded = if bench.compresses.is_empty() { None } else { bench.compress() };
        let answer = http(bench.outcome());
        prop_assert_eq!(answer.fields.only("vary"), Some("accept-encoding"));
        let whole = match answer.fields.only("content-encoding") {
            Some(_) if !is_head => coded.expect("it was made"),
            _ => item.body().clone(),
        };
        match (answer.status, answer.body) {
            (200 | 206, HttpBody::Inline(body)) if answer.status == 200 => {
                prop_assert_eq!(body, whole);
            }
            (206, HttpBody::Inline(body)) => {
                prop_assert!(whole.windows(body.len()).any(|part| part == body));
            }
            (status, HttpBody::None) => {
                prop_assert!(is_head || matches!(status, 304 | 412 | 416), "{}", status);
            }
            (status, body) => prop_assert!(false, "{} {:?}", status, body),
        }
    }
}
