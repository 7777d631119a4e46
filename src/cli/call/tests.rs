//! The command's arguments. What it does is tested between processes, in `tests/call.rs`.

use super::*;
use clap::Parser;

#[derive(Parser)]
struct Parsed {
    #[command(flatten)]
    arguments: Arguments,
}

fn plan_with(arguments: &[&str], stdin: &[u8]) -> Result<Plan, Failure> {
    let parsed = Parsed::try_parse_from([&["call"], arguments].concat()).unwrap();
    Plan::new(parsed.arguments, &mut &stdin[..])
}

fn plan(arguments: &[&str]) -> Result<Plan, Failure> {
    plan_with(arguments, b"")
}

#[test]
fn a_call_is_what_was_asked_for() {
    let plain = plan(&["/do"]).unwrap();
    assert_eq!((plain.key.as_str(), plain.request), ("/do", CallRequest::default()));
    let header = ["--header", "Content-Type=a=b", "--header", "etag=\"1\""];
    let arguments = [&["/do", "--idempotent", "--body", "-"], &header[..]].concat();
    let full = plan_with(&arguments, b"hello").unwrap();
    assert_eq!((&full.request.body[..], full.request.idempotent), (&b"hello"[..], true));
    assert_eq!(full.request.headers.value(HeaderName::ContentType), Some("a=b"));
    assert_eq!(full.request.headers.value(HeaderName::Etag), Some("\"1\""));
}

#[test]
fn a_body_is_a_file_or_standard_input_and_not_too_much() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("body");
    std::fs::write(&path, vec![7; MAX_INLINE_BODY]).unwrap();
    let file = path.to_str().unwrap();
    assert_eq!(plan(&["/do", "--body", file]).unwrap().request.body.len(), MAX_INLINE_BODY);
    std::fs::write(&path, vec![7; MAX_INLINE_BODY + 1]).unwrap();
    let too_much = plan(&["/do", "--body", file]).unwrap_err();
    assert!(matches!(&too_much, Failure::Usage(text) if text.contains("more than 16384 bytes")));
    let too_much = plan_with(&["/do", "--body", "-"], &[7; MAX_INLINE_BODY + 1]).unwrap_err();
    assert!(too_much.to_string().starts_with("--body standard input: it has more than 16384"));
    let missing = plan(&["/do", "--body", "no/such/file"]).unwrap_err();
    assert!(matches!(&missing, Failure::Failed(text) if text.starts_with("--body no/such/file: ")));
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    for (arguments, says) in [
        (&["do"][..], "it must start with '/'; try '/do'"),
        (&["/do", "--header", "content-type"], "such as content-type=text/plain"),
        (&["/do", "--header", "cookie=1"], "a call carries only these headers: content-type, "),
        (&["/do", "--header", "etag=1", "--header", "etag=2"], "--header: header block is invalid"),
        (&["/do", "--header", "etag=a\nb"], "it has a control character"),
        (&["/do", "--router", "192.0.2.1:4433"], "say by --ca FILE"),
        (&["/do", "--pool", "A"], "--pool \"A\""),
    ] {
        match plan(arguments).unwrap_err() {
            Failure::Usage(text) => assert!(text.contains(says), "{arguments:?}: {text}"),
            other => panic!("{arguments:?}: {other:?}"),
        }
    }
}
