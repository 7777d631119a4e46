use super::*;
use crate::wire::codec::MAX_VARINT;
use proptest::prelude::*;

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

fn decoded_within(section: &[u8], limits: Limits) -> Result<Lines, SectionError> {
    let mut lines = Vec::new();
    decode(section, limits, |name, value| {
        lines.push((name.to_vec(), value.to_vec()));
        Ok::<_, SectionError>(())
    })?;
    Ok(lines)
}

fn decoded(section: &[u8]) -> Result<Lines, SectionError> {
    decoded_within(section, Limits::default())
}

fn line(name: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (name.into(), value.into())
}

fn is_undecodable(section: &[u8]) -> bool {
    matches!(decoded(section), Err(SectionError::Undecodable(_)))
}

#[test]
fn rfc_9204_example_decodes() {
    // RFC 9204, appendix B.1.
    let section = b"\x00\x00\x51\x0b/index.html";
    assert_eq!(decoded(section), Ok(vec![line(":path", "/index.html")]));
    let mut out = BytesMut::new();
    put_prefix(&mut out);
    put_pseudo(&mut out, ":path", b"/index.html", Strings::Plain);
    assert_eq!(&out[..], section);
}

#[test]
fn every_kind_of_line_is_read() {
    let section = b"\x00\x00\xd1\xff\x00\x5f\x00\x01x\x71\x02/a\x21a\x01b\x37\x00abcdefg\x00";
    let expected = vec![
        line(":method", "GET"),
        line(":status", "100"),
        line("content-disposition", "x"),
        line(":path", "/a"),
        line("a", "b"),
        line("abcdefg", ""),
    ];
    let mut section = section.to_vec();
    // Index 15 + 0 is `:method`; index 3 is what the third line means.
    section.splice(5..9, *b"\x53\x01x");
    assert_eq!(decoded(&section), Ok(expected));
}

#[test]
fn what_needs_a_dynamic_table_is_refused() {
    let sections: [&[u8]; 6] = [
        b"\x01\x00",
        b"\xff\x00\x00",
        b"\x00\x00\x80",
        b"\x00\x00\x40\x00",
        b"\x00\x00\x10",
        b"\x00\x00\x00\x00",
    ];
    for section in sections {
        assert_eq!(decoded(section), Err(DYNAMIC), "{section:x?}");
    }
    let error = Error::from(DYNAMIC);
    assert_eq!((error.code, error.status()), (Code::QpackDecompressionFailed, None));
}

#[test]
fn what_is_no_section_is_refused() {
    let sections: [&[u8]; 9] = [
        b"",
        b"\x00",
        b"\x00\x80",
        b"\x00\x00\xff",
        b"\x00\x00\xff\x24",
        b"\x00\x00\x51",
        b"\x00\x00\x51\x02a",
        b"\x00\x00\x21",
        b"\x00\x00\x51\x81\xff",
    ];
    for section in sections {
        assert!(is_undecodable(section), "{section:x?}");
    }
    assert_eq!(decoded(b"\x00\x07"), Ok(Vec::new()), "a base that means nothing");
    let mut out = BytesMut::from(&b"\x00\x00\x51"[..]);
    put_integer(&mut out, 0, 7, MAX_VARINT);
    assert!(is_undecodable(&out), "the string is cut short, however long");
}

#[test]
fn sizes_are_counted_while_decoding() {
    let limits = Limits { size: 2 * FIELD_OVERHEAD + 10 + 5, count: 2 };
    let get = [0xd1, 0xd1];
    let fits = [&[0, 0], &get[..1], b"\x51\x00"].concat();
    assert_eq!(decoded_within(&fits, limits).map(|lines| lines.len()), Ok(2));
    let too_large = [&[0, 0], &get[..]].concat();
    assert_eq!(decoded_within(&too_large, limits), Err(SectionError::TooLarge));
    let limits = Limits { size: usize::MAX, count: 1 };
    assert_eq!(decoded_within(&too_large, limits), Err(SectionError::TooLarge));

    // One byte a field, of which each unfolds to dozens.
    let mut bomb = vec![0, 0];
    bomb.resize(MAX_FIELD_SECTION_SIZE, 0xd1);
    let mut visited = 0;
    let outcome = decode(&bomb, Limits::default(), |_, _| {
        visited += 1;
        Ok::<_, SectionError>(())
    });
    assert_eq!((outcome, visited), (Err(SectionError::TooLarge), MAX_FIELD_LINES));

    // A Huffman-coded value is given up on where it passes the limit.
    let mut out = BytesMut::new();
    put_prefix(&mut out);
    put_field(&mut out, "a", &[b'0'; MAX_FIELD_SECTION_SIZE], Strings::Huffman);
    assert_eq!(decoded(&out), Err(SectionError::TooLarge));
}

#[test]
fn an_error_of_the_visitor_ends_the_decoding() {
    let mut visited = 0;
    let outcome = decode(b"\x00\x00\xd1\xd1", Limits::default(), |_, _| {
        visited += 1;
        Err(SectionError::TooLarge)
    });
    assert_eq!((outcome, visited), (Err(SectionError::TooLarge), 1));
}

#[test]
fn known_fields_are_short() {
    let size = |write: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        write(&mut out);
        out.len()
    };
    for status in [200, 304, 404] {
        assert_eq!(size(&|out| put_status(out, status)), 1, "{status}");
    }
    for status in [100, 204, 206, 302, 400, 403, 421, 425, 500] {
        assert_eq!(size(&|out| put_status(out, status)), 2, "{status}");
    }
    assert_eq!(size(&|out| put_status(out, 418)), 6);
    assert_eq!(size(&|out| put_field(out, "vary", b"accept-encoding", Strings::Plain)), 1);
    assert_eq!(size(&|out| put_field(out, "etag", b"\"12\"", Strings::Plain)), 6);
}

proptest! {
    #[test]
    fn decoding_anything_never_panics(bytes: Vec<u8>, size in 0usize..4096, count in 0usize..64) {
        let section = [&[0, 0], &bytes[..]].concat();
        let mut left = size;
        let mut visited = 0;
        let _ = decode(&section, Limits { size, count }, |name, value| {
            left = left.checked_sub(name.len() + value.len() + FIELD_OVERHEAD).unwrap();
            visited += 1;
            Ok::<_, SectionError>(())
        });
        prop_assert!(visited <= count);
        let _ = decoded(&bytes);
    }

    #[test]
    fn fields_round_trip(
        lines in prop::collection::vec(
            ("[a-z-]{1,20}|etag|vary", prop::collection::vec(any::<u8>(), 0..300)),
            0..20,
        ),
        status in 100u16..1000,
        coded: bool,
    ) {
        let strings = if coded { Strings::Huffman } else { Strings::Plain };
        let mut out = BytesMut::new();
        put_prefix(&mut out);
        put_status(&mut out, status);
        let mut expected = vec![line(":status", &status.to_string())];
        for (name, value) in lines {
            put_field(&mut out, &name, &value, strings);
            expected.push((name.into_bytes(), value));
        }
        prop_assert_eq!(decoded(&out), Ok(expected));
    }
}
