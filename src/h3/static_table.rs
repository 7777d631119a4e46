//! The static table of QPACK (RFC 9204, appendix A), and how to find things in it.
//!
//! Entries are found by the length of their names: there are few names of one length, so that a
//! look-up compares a handful of short strings. The order by length is computed when the crate is
//! compiled.

/// How many entries there are.
pub const STATIC_ENTRIES: usize = 99;

/// Names and values by their index (RFC 9204, appendix A).
pub static STATIC_TABLE: [(&str, &str); STATIC_ENTRIES] = ENTRIES;

const ENTRIES: [(&str, &str); STATIC_ENTRIES] = [
    (":authority", ""),
    (":path", "/"),
    ("age", "0"),
    ("content-disposition", ""),
    ("content-length", "0"),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("referer", ""),
    ("set-cookie", ""),
    (":method", "CONNECT"),
    (":method", "DELETE"),
    (":method", "GET"),
    (":method", "HEAD"),
    (":method", "OPTIONS"),
    (":method", "POST"),
    (":method", "PUT"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "103"),
    (":status", "200"),
    (":status", "304"),
    (":status", "404"),
    (":status", "503"),
    ("accept", "*/*"),
    ("accept", "application/dns-message"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-ranges", "bytes"),
    ("access-control-allow-headers", "cache-control"),
    ("access-control-allow-headers", "content-type"),
    ("access-control-allow-origin", "*"),
    ("cache-control", "max-age=0"),
    ("cache-control", "max-age=2592000"),
    ("cache-control", "max-age=604800"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "public, max-age=31536000"),
    ("content-encoding", "br"),
    ("content-encoding", "gzip"),
    ("content-type", "application/dns-message"),
    ("content-type", "application/javascript"),
    ("content-type", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "image/gif"),
    ("content-type", "image/jpeg"),
    ("content-type", "image/png"),
    ("content-type", "text/css"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-type", "text/plain"),
    ("content-type", "text/plain;charset=utf-8"),
    ("range", "bytes=0-"),
    ("strict-transport-security", "max-age=31536000"),
    ("strict-transport-security", "max-age=31536000; includesubdomains"),
    ("strict-transport-security", "max-age=31536000; includesubdomains; preload"),
    ("vary", "accept-encoding"),
    ("vary", "origin"),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
    (":status", "100"),
    (":status", "204"),
    (":status", "206"),
    (":status", "302"),
    (":status", "400"),
    (":status", "403"),
    (":status", "421"),
    (":status", "425"),
    (":status", "500"),
    ("accept-language", ""),
    ("access-control-allow-credentials", "FALSE"),
    ("access-control-allow-credentials", "TRUE"),
    ("access-control-allow-headers", "*"),
    ("access-control-allow-methods", "get"),
    ("access-control-allow-methods", "get, post, options"),
    ("access-control-allow-methods", "options"),
    ("access-control-expose-headers", "content-length"),
    ("access-control-request-headers", "content-type"),
    ("access-control-request-method", "get"),
    ("access-control-request-method", "post"),
    ("alt-svc", "clear"),
    ("authorization", ""),
    ("content-security-policy", "script-src 'none'; object-src 'none'; base-uri 'none'"),
    ("early-data", "1"),
    ("expect-ct", ""),
    ("forwarded", ""),
    ("if-range", ""),
    ("origin", ""),
    ("purpose", "prefetch"),
    ("server", ""),
    ("timing-allow-origin", "*"),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", ""),
    ("x-forwarded-for", ""),
    ("x-frame-options", "deny"),
    ("x-frame-options", "sameorigin"),
];

/// Bytes of the longest name, and one.
const LENGTHS: usize = 33;

/// Indexes of entries with fields, not pseudo-headers, in the order of the lengths of their names,
/// and for each length where its entries begin.
static BY_LENGTH: ([u8; STATIC_ENTRIES], [u8; LENGTHS + 1]) = by_length();

const fn by_length() -> ([u8; STATIC_ENTRIES], [u8; LENGTHS + 1]) {
    let (mut order, mut starts) = ([0; STATIC_ENTRIES], [0; LENGTHS + 1]);
    let (mut length, mut count) = (0, 0);
    while length < LENGTHS {
        starts[length] = count as u8;
        let mut index = 0;
        while index < STATIC_ENTRIES {
            let name = ENTRIES[index].0.as_bytes();
            assert!(name.len() < LENGTHS);
            if name.len() == length && name[0] != b':' {
                order[count] = index as u8;
                count += 1;
            }
            index += 1;
        }
        length += 1;
    }
    starts[LENGTHS] = count as u8;
    (order, starts)
}

/// What the table knows of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Its name, at this index.
    Name(u8),
    /// Its name and its value, at this index.
    Both(u8),
}

/// Looks for a field that is no pseudo-header.
pub fn find(name: &str, value: &[u8]) -> Found {
    let (order, starts) = &BY_LENGTH;
    let Some([start, end]) = starts.get(name.len()..name.len().saturating_add(2)) else {
        return Found::Nothing;
    };
    let mut found = Found::Nothing;
    for index in &order[usize::from(*start)..usize::from(*end)] {
        let entry = &STATIC_TABLE[usize::from(*index)];
        if entry.0 != name {
            continue;
        }
        if entry.1.as_bytes() == value {
            return Found::Both(*index);
        }
        if found == Found::Nothing {
            found = Found::Name(*index);
        }
    }
    found
}

/// The index of a status.
pub const fn find_status(status: u16) -> Found {
    match status {
        103 => Found::Both(24),
        200 => Found::Both(25),
        304 => Found::Both(26),
        404 => Found::Both(27),
        503 => Found::Both(28),
        100 => Found::Both(63),
        204 => Found::Both(64),
        206 => Found::Both(65),
        302 => Found::Both(66),
        400 => Found::Both(67),
        403 => Found::Both(68),
        421 => Found::Both(69),
        425 => Found::Both(70),
        500 => Found::Both(71),
        _ => Found::Name(24),
    }
}

/// The index of a pseudo-header of a request.
pub fn find_pseudo(name: &str, value: &[u8]) -> Found {
    let places = match name {
        ":authority" => 0..1,
        ":path" => 1..2,
        ":method" => 15..22,
        ":scheme" => 22..24,
        _ => return Found::Nothing,
    };
    let first = places.start;
    let is_it = |index: &u8| STATIC_TABLE[usize::from(*index)].1.as_bytes() == value;
    places.into_iter().find(is_it).map_or(Found::Name(first), Found::Both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found() {
        for (index, (name, value)) in STATIC_TABLE.iter().enumerate() {
            let found = match *name {
                ":status" => find_status(value.parse().unwrap()),
                name if name.starts_with(':') => find_pseudo(name, value.as_bytes()),
                name => find(name, value.as_bytes()),
            };
            assert_eq!(found, Found::Both(index as u8), "{name}: {value}");
        }
    }

    #[test]
    fn a_name_is_found_at_its_first_entry() {
        assert_eq!(find("cache-control", b"private"), Found::Name(36));
        assert_eq!(find("access-control-allow-headers", b"range"), Found::Name(33));
        assert_eq!(find("etag", b"\"1\""), Found::Name(7));
        assert_eq!(find_status(418), Found::Name(24));
        assert_eq!(find_pseudo(":method", b"PATCH"), Found::Name(15));
        assert_eq!(find_pseudo(":path", b"/a"), Found::Name(1));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for name in ["", "x", "etagg", "content-typo", ":status", &"a".repeat(32), &"a".repeat(400)]
        {
            assert_eq!(find(name, b""), Found::Nothing, "{name}");
        }
        assert_eq!(find_pseudo(":protocol", b"websocket"), Found::Nothing);
    }
}
