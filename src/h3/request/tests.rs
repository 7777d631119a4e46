use super::*;
use crate::h3::{Code, Error, Event, MAX_FIELD_LINES, RequestReader};
use crate::wire::http::{MAX_FIELDS, MAX_TARGET};
use proptest::prelude::*;

const HEAD: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];

fn decode(lines: &[(&str, &str)]) -> Result<RequestHead, MessageError> {
    let mut out = BytesMut::new();
    qpack::put_prefix(&mut out);
    for (name, value) in lines {
        qpack::put_field(&mut out, name, value.as_bytes(), Strings::Plain);
    }
    RequestHead::decode(&out, Limits::default())
}

/// The usual pseudo-headers, then these lines.
fn with(lines: &[(&str, &str)]) -> Result<RequestHead, MessageError> {
    decode(&[&HEAD, lines].concat())
}

/// The usual pseudo-headers, of which one has another value, or is left out.
fn but(name: &str, value: Option<&str>) -> Result<RequestHead, MessageError> {
    let line = |(known, usual): (&'static str, &'static str)| match value {
        _ if known != name => Some((known, usual)),
        Some(value) => Some((known, value)),
        None => None,
    };
    decode(&HEAD.into_iter().filter_map(line).collect::<Vec<_>>())
}

#[track_caller]
fn assert_malformed(outcome: Result<RequestHead, MessageError>) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, MessageError::Malformed(_)), "{error:?}");
    assert_eq!(error.status(), Some(400));
    assert_eq!(Error::from(error), Error::stream(Code::MessageError, Error::from(error).why));
}

#[test]
fn a_head_is_read() {
    let head = with(&[("accept", "*/*"), ("if-none-match", " \"1\" "), ("te", "trailers")]);
    let expected = RequestHead {
        method: "GET".to_owned(),
        scheme: Scheme::Https,
        authority: "a.example".to_owned(),
        target: RequestTarget::new(Bytes::from_static(b"/")).unwrap(),
        fields: Fields::of([("accept", "*/*"), ("if-none-match", "\"1\""), ("te", "trailers")]),
        content_length: None,
    };
    assert_eq!(head, Ok(expected));
}

#[test]
fn pseudo_headers_stand_first_and_once() {
    for name in [":method", ":scheme", ":authority", ":path"] {
        assert_malformed(but(name, None));
        assert_malformed(but(name, Some("")));
        let usual = HEAD.iter().find(|(known, _)| *known == name).unwrap();
        assert_malformed(with(&[*usual]));
    }
    assert_malformed(decode(&[HEAD[0], HEAD[1], HEAD[2], ("accept", "*/*"), HEAD[3]]));
    assert_malformed(decode(&[HEAD[0], HEAD[1], ("host", "a.example"), HEAD[3]]));
    for name in [":status", ":unknown", ":", ":Method", ":protocol"] {
        assert_malformed(with(&[(name, "200")]));
    }
    assert_malformed(decode(&[]));
}

#[test]
fn methods_are_tokens() {
    assert_eq!(but(":method", Some("M-SEARCH")).unwrap().method, "M-SEARCH");
    assert_eq!(but(":method", Some("get")).unwrap().method, "get", "case matters");
    for bad in ["G T", "GET\r\n", "GET ", "G(T", "\u{e4}"] {
        assert_malformed(but(":method", Some(bad)));
    }
    let error = but(":method", Some(&"M".repeat(MAX_METHOD + 1))).unwrap_err();
    assert_eq!((error, error.status()), (MessageError::MethodTooLong, Some(501)));
}

#[test]
fn connect_is_refused_distinctly() {
    let connect = [(":method", "CONNECT"), (":authority", "a.example:443")];
    assert_eq!(decode(&connect), Err(MessageError::Connect));
    assert_eq!(MessageError::Connect.status(), Some(501));
    let extended = [&[(":method", "CONNECT"), (":protocol", "websocket")], &HEAD[1..]].concat();
    assert_eq!(decode(&extended), Err(MessageError::ExtendedConnect));
    assert_eq!(MessageError::ExtendedConnect.status(), Some(501));
    assert_malformed(but(":method", Some("CONNECT")));
    assert_malformed(decode(&[(":method", "CONNECT")]));
    assert_malformed(decode(&[&extended[..], &[(":protocol", "x")]].concat()));
}

#[test]
fn schemes_are_those_of_http() {
    assert_eq!(but(":scheme", Some("http")).unwrap().scheme, Scheme::Http);
    for bad in ["ftp", "HTTPS", "https:", "ws"] {
        assert_malformed(but(":scheme", Some(bad)));
    }
}

#[test]
fn authorities_are_hosts_and_ports() {
    let good = [
        "a",
        "A.Example:443",
        "1.2.3.4:80",
        "[::1]",
        "[2001:DB8::1]:8443",
        "a_b.example",
        "x--y",
        "a%41",
    ];
    for authority in good {
        let head = but(":authority", Some(authority)).unwrap();
        assert_eq!(head.authority, authority.to_ascii_lowercase());
    }
    let bad = [
        "user@a",
        "user:pass@a",
        ":443",
        "a:",
        "a:x",
        "a:443:1",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "a b",
        "[::1",
        "[]",
        "[::1]x",
        "[::1]:",
        "[a@b]",
        "::1",
        "a:123456",
        "\u{e4}",
        "a\0",
        "a\t",
        "https://a",
        "a]",
        "[g]",
    ];
    for authority in bad {
        assert_malformed(but(":authority", Some(authority)));
        assert_malformed(with(&[("host", authority)]));
    }
    assert_malformed(but(":authority", Some(&"a".repeat(MAX_AUTHORITY + 1))));
}

#[test]
fn host_and_authority_are_one() {
    let head = with(&[("host", "A.example"), ("accept", "*/*")]).unwrap();
    assert_eq!((head.authority.as_str(), head.fields.has("host")), ("a.example", false));
    let by_host = [HEAD[0], HEAD[1], HEAD[3], ("host", "B.example:1")];
    assert_eq!(decode(&by_host).unwrap().authority, "b.example:1");
    assert_malformed(with(&[("host", "b.example")]));
    assert_malformed(with(&[("host", "a.example:443")]));
    assert_malformed(with(&[("host", "a.example"), ("host", "a.example")]));
    assert_malformed(with(&[("host", "")]));
}

#[test]
fn targets_are_absolute_paths() {
    assert_eq!(but(":path", Some("/a?b=c")).unwrap().target.as_str(), "/a?b=c");
    for bad in ["", "a", "*", "**", "http://a.example/", "/a b", "/a#b", "/\u{e4}", "/\r\n"] {
        assert_malformed(but(":path", Some(bad)));
    }
    let options = [(":method", "OPTIONS"), HEAD[1], HEAD[2], (":path", "*")];
    assert_eq!(decode(&options).unwrap().target.as_str(), "*");
    let error = but(":path", Some(&format!("/{}", "a".repeat(MAX_TARGET)))).unwrap_err();
    assert_eq!((error, error.status()), (MessageError::TargetTooLong, Some(414)));
}

#[test]
fn fields_that_could_smuggle_something_are_refused() {
    let bad = [
        ("Accept", "*/*"),
        ("a b", ""),
        ("", ""),
        ("a\r\nb", ""),
        ("\u{e4}", ""),
        ("a", "b\r\nc: d"),
        ("a", "b\nc"),
        ("a", "b\0c"),
        ("connection", "close"),
        ("connection", ""),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("te", ""),
        ("cookie", "a\0b"),
    ];
    for line in bad {
        assert_malformed(with(&[line]));
    }
    assert_eq!(with(&[("te", "Trailers")]).unwrap().fields.only("te"), Some("Trailers"));
}

#[test]
fn lengths_of_contents_agree() {
    let lengths: [&[_]; 4] = [&["5"], &["5", "5"], &["5, 5"], &["05", "5,5", " 5 "]];
    for values in lengths {
        let lines: Vec<_> = values.iter().map(|value| ("content-length", *value)).collect();
        let head = with(&lines).unwrap();
        assert_eq!(head.content_length, Some(5));
        assert_eq!(head.fields, Fields::of([("content-length", "5")]), "once, and in digits");
    }
    assert_malformed(with(&[("content-length", "5"), ("content-length", "6")]));
    assert_malformed(with(&[("content-length", "5, 6")]));
    assert_malformed(with(&[("content-length", "+5")]));
    assert_malformed(with(&[("content-length", "")]));
}

#[test]
fn cookies_are_joined() {
    let head = with(&[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("cookie", "c=3")]);
    let expected = Fields::of([("accept", "*/*"), ("cookie", "a=1; b=2; c=3")]);
    assert_eq!(head.unwrap().fields, expected);
    let crumbs = vec![("cookie", "a=1"); MAX_FIELDS + 20];
    assert!(with(&crumbs).is_ok(), "crumbs are one field in the end");
}

#[test]
fn what_is_too_large_can_be_answered() {
    assert!(with(&vec![("a", "b"); MAX_FIELDS]).is_ok());
    for count in [MAX_FIELDS + 1, MAX_FIELD_LINES, 2 * MAX_FIELD_LINES] {
        let error = with(&vec![("a", "b"); count]).unwrap_err();
        assert_eq!((error, error.status()), (MessageError::TooLarge, Some(431)));
    }
    let large = "x".repeat(10_000);
    assert_eq!(with(&[("a", &large), ("b", &large)]), Err(MessageError::TooLarge));
    assert_eq!(with(&[("cookie", &large), ("cookie", &large)]), Err(MessageError::TooLarge));
}

#[test]
fn sections_that_cannot_be_decoded_end_the_connection() {
    let error = RequestHead::decode(b"\x01\x00", Limits::default()).unwrap_err();
    assert_eq!(error.status(), None);
    assert_eq!(Error::from(error).code, Code::QpackDecompressionFailed);
}

#[test]
fn the_largest_head_fits() {
    let mut head = with(&[]).unwrap();
    let mut fields = Fields::builder();
    for _ in 1..MAX_FIELDS {
        fields.push("abcdefg", b"").unwrap();
    }
    fields.push("large", &[b'x'; 15_000]).unwrap();
    head.fields = fields.finish();
    head.target = RequestTarget::new(Bytes::from(vec![b'/'; MAX_TARGET])).unwrap();
    head.authority = "a".repeat(MAX_AUTHORITY);
    head.method = "M".repeat(MAX_METHOD);
    for strings in [Strings::Plain, Strings::Huffman] {
        assert_eq!(again(&head, strings), head);
    }
}

fn again(head: &RequestHead, strings: Strings) -> RequestHead {
    let mut out = BytesMut::new();
    head.encode(strings, &mut out);
    let mut reader = RequestReader::new(super::super::MAX_FIELD_SECTION_SIZE);
    reader.handle_chunk(out.freeze());
    let Ok(Some(Event::Headers(section))) = reader.poll_event() else { panic!("no head") };
    assert_eq!(reader.poll_event(), Ok(None));
    assert_eq!(reader.handle_end(), Ok(()));
    RequestHead::decode(&section, Limits::default()).unwrap()
}

proptest! {
    #[test]
    fn heads_survive(
        method in "GET|HEAD|POST|[A-Z]{1,32}",
        authority in "[a-z0-9.-]{1,60}(:[0-9]{1,5})?",
        path in "/[!-\"$-~]{0,200}",
        lines in prop::collection::vec(("[a-z][a-z-]{1,20}", "[!-~][ -~]{0,60}[!-~]"), 0..30),
        coded: bool,
    ) {
        prop_assume!(method != "CONNECT");
        let mut fields = Fields::builder();
        for (name, value) in &lines {
            if !matches!(name.as_str(), "te" | "host" | "cookie" | "content-length")
                && !is_connection_specific(name)
            {
                fields.push(name, value.as_bytes()).unwrap();
            }
        }
        let target = RequestTarget::new(path.into()).unwrap();
        let fields = fields.finish();
        let scheme = Scheme::Https;
        let head = RequestHead { method, scheme, authority, target, fields, content_length: None };
        let strings = if coded { Strings::Huffman } else { Strings::Plain };
        prop_assert_eq!(again(&head, strings), head);
    }

    #[test]
    fn decoding_anything_never_panics(bytes: Vec<u8>) {
        let section = [&[0, 0], &bytes[..]].concat();
        let _ = RequestHead::decode(&section, Limits::default());
    }
}
