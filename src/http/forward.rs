//! What a proxy does to fields on their way (RFC 9110, section 7.6; RFC 7239).
//!
//! Fields about a connection end with it: `Connection`, those that it names, and those that are
//! known. Of the ones that matter to the shells around this module:
//!
//! - `TE` is dropped, also its `trailers`, so that the origin sends trailers only if it must.
//! - `Trailer` is kept: it is about the message, and the trailers that it announces are passed on.
//! - `Expect` is dropped: the content is asked for (or not) by whoever reads it from the client.
//! - `Transfer-Encoding` is dropped, and `Content-Length` with it where both are there, as only one
//!   of them can be true (RFC 9112, section 6.3). So is a length that stands there twice or is no
//!   number. Whoever writes the message says anew how long its content is.
//! - `Host` is dropped from requests: whom the client asked is the request's authority, and a
//!   second opinion is what cache poisoning is made of.

use super::list::{decimal, elements, is_token};
use crate::wire::DecodeError;
use crate::wire::http::{Field, Fields, FieldsBuilder, Scheme};
use std::fmt::Write;
use std::net::IpAddr;

/// The name by which we appear in `Via`.
pub const PSEUDONYM: &str = "understudy";

/// The version of HTTP in which a message came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/3
    Http3,
}

impl Protocol {
    /// The version as it stands in `Via`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2.0",
            Self::Http3 => "3",
        }
    }
}

/// How a request came to us.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// From whom.
    pub client: IpAddr,
    /// By which scheme.
    pub scheme: Scheme,
    /// Whom it asks: host and perhaps port; may be empty.
    pub authority: &'a str,
    /// In which version.
    pub protocol: Protocol,
}

/// The fields of a request as the origin gets them: without those about the connection and those
/// that say who the client is, as anybody can write anything there, and with our own.
///
/// # Errors
/// They are too many with ours.
pub fn to_origin(request: &Fields, arrival: &Arrival) -> Result<Fields, DecodeError> {
    with_arrival(request, &arrival_fields(arrival)?)
}

/// The same with the fields of an arrival, which all requests to one authority over a connection
/// have in common.
///
/// # Errors
/// They are too many together.
pub fn with_arrival(request: &Fields, ours: &Fields) -> Result<Fields, DecodeError> {
    let room = request.as_bytes().len() + ours.as_bytes().len();
    let mut builder = FieldsBuilder::with_capacity(room);
    let dropped = |name: &str| matches!(name, "host" | "expect" | "proxy") || tells_client(name);
    let passes = passing(request);
    builder.extend(request, |name| passes(name) && !dropped(name))?;
    builder.extend(ours, |_| true)?;
    Ok(builder.finish())
}

/// The fields that say how a request came to us.
///
/// # Errors
/// The authority cannot stand in a field.
pub fn arrival_fields(arrival: &Arrival) -> Result<Fields, DecodeError> {
    let mut builder = FieldsBuilder::with_capacity(ROOM);
    let client = arrival.client.to_canonical();
    let mut forwarded = match client {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    if !arrival.authority.is_empty() {
        forwarded.push_str(";host=");
        push_word(&mut forwarded, arrival.authority);
    }
    let scheme = arrival.scheme.as_str();
    write!(forwarded, ";proto={scheme}").expect("a string takes everything");
    builder.push("forwarded", forwarded.as_bytes())?;
    builder.push("x-forwarded-for", client.to_string().as_bytes())?;
    if !arrival.authority.is_empty() {
        builder.push("x-forwarded-host", arrival.authority.as_bytes())?;
    }
    builder.push("x-forwarded-proto", scheme.as_bytes())?;
    push_via(&mut builder, arrival.protocol)?;
    Ok(builder.finish())
}

/// The fields of a response as the client gets them, without those about the origin's connection.
/// `protocol` is the one in which the origin answered.
///
/// # Errors
/// They are too many with ours.
pub fn to_client(response: &Fields, protocol: Protocol) -> Result<Fields, DecodeError> {
    let mut builder = FieldsBuilder::with_capacity(response.as_bytes().len() + ROOM);
    builder.extend(response, passing(response))?;
    push_via(&mut builder, protocol)?;
    Ok(builder.finish())
}

/// Bytes that our own fields mostly need.
const ROOM: usize = 256;

fn push_via(builder: &mut FieldsBuilder, protocol: Protocol) -> Result<(), DecodeError> {
    builder.push("via", format!("{} {PSEUDONYM}", protocol.as_str()).as_bytes())
}

/// A token as it is, anything else as a quoted string (RFC 9110, section 5.6.4).
fn push_word(out: &mut String, word: &str) {
    if is_token(word.as_bytes()) {
        return out.push_str(word);
    }
    out.push('"');
    for character in word.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

/// The fields that are not about the connection.
pub fn end_to_end(fields: &Fields) -> impl Iterator<Item = Field<'_>> {
    let passes = passing(fields);
    fields.iter().filter(move |(name, _)| passes(name))
}

/// Whether a field is for all on the way, by its name.
fn passing(fields: &Fields) -> impl Fn(&str) -> bool {
    let (mut named, mut lengths, mut coded) = (false, 0, false);
    for (name, value) in fields.iter() {
        match name {
            "connection" => named = true,
            "transfer-encoding" => coded = true,
            // One that is no number counts twice, so that it is not passed on.
            "content-length" => lengths += if decimal(value).is_some() { 1 } else { 2 },
            _ => {}
        }
    }
    let drop_length = coded || lengths > 1;
    move |name| {
        let connection = is_hop_by_hop(name) || (named && is_named(fields, name));
        let untrue = drop_length && name == "content-length";
        !connection && !untrue
    }
}

/// Whether a field is about one connection (RFC 9110, section 7.6.1, and what older RFCs had).
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether `Connection` names a field. It cannot name those that are for everybody on the way: a
/// response without its `Cache-Control` or `Vary` would reach clients that it is not for.
fn is_named(fields: &Fields, name: &str) -> bool {
    let for_everybody = name.starts_with("content-")
        || matches!(
            name,
            "age"
                | "authorization"
                | "cache-control"
                | "cookie"
                | "date"
                | "etag"
                | "expires"
                | "last-modified"
                | "pragma"
                | "set-cookie"
                | "vary"
                | "via"
        );
    let mut options = fields.all("connection").flat_map(|value| elements(value, b','));
    // Only the first ones count: a long list times many fields would be a long time.
    let mut options = options.by_ref().take(super::list::MAX_ELEMENTS);
    !for_everybody && options.any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
}

/// Whether a field says who the client is and whom it asked. Many servers take `_` for `-`, so that
/// what differs in these alone would pass for ours.
fn tells_client(name: &str) -> bool {
    let starts = |start: &str| {
        let same = |(found, wanted): (u8, u8)| found == wanted || (found == b'_' && wanted == b'-');
        name.len() >= start.len() && name.bytes().zip(start.bytes()).all(same)
    };
    starts("x-forwarded") || (starts("x-real-ip") && name.len() == 9) || name == "forwarded"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arrival(client: &str, authority: &'static str) -> Arrival<'static> {
        let client = client.parse().unwrap();
        Arrival { client, scheme: Scheme::Https, authority, protocol: Protocol::Http3 }
    }

    #[test]
    fn the_origin_learns_who_asks_from_us_alone() {
        let request = Fields::of([
            ("accept", "*/*"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-server", "a"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x_real-ip", "1.2.3.4"),
            ("host", "other.example"),
            ("expect", "100-continue"),
            ("proxy", "http://a/"),
            ("via", "1.1 first"),
            ("cookie", "a=b"),
        ]);
        let fields = to_origin(&request, &arrival("192.0.2.1", "a.example")).unwrap();
        let expected = Fields::of([
            ("accept", "*/*"),
            ("via", "1.1 first"),
            ("cookie", "a=b"),
            ("forwarded", "for=192.0.2.1;host=a.example;proto=https"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-proto", "https"),
            ("via", "3 understudy"),
        ]);
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_is_no_token_is_quoted() {
        for (client, authority, forwarded) in [
            ("2001:db8::1", "[::1]:443", "for=\"[2001:db8::1]\";host=\"[::1]:443\";proto=https"),
            ("::ffff:192.0.2.1", "", "for=192.0.2.1;proto=https"),
            ("::1", "a\";for=b\\", "for=\"[::1]\";host=\"a\\\";for=b\\\\\";proto=https"),
        ] {
            let fields = to_origin(&Fields::default(), &arrival(client, authority)).unwrap();
            assert_eq!(fields.only("forwarded"), Some(forwarded));
        }
    }

    #[test]
    fn fields_about_the_connection_end_with_it() {
        let response = Fields::of([
            ("connection", "close, X-Secret,, cache-control"),
            ("connection", "set-cookie , other"),
            ("keep-alive", "timeout=5"),
            ("x-secret", "a"),
            ("other", "b"),
            ("cache-control", "private"),
            ("set-cookie", "a=b"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("x-other", "c"),
        ]);
        let expected = Fields::of([
            ("cache-control", "private"),
            ("set-cookie", "a=b"),
            ("trailer", "x"),
            ("x-other", "c"),
            ("via", "1.1 understudy"),
        ]);
        assert_eq!(to_client(&response, Protocol::Http11), Ok(expected));
    }

    #[test]
    fn a_length_that_may_be_a_lie_is_not_passed_on() {
        let kept = |pairs: &[(&str, &str)]| {
            let fields = Fields::of(pairs.iter().copied());
            end_to_end(&fields).any(|(name, _)| name == "content-length")
        };
        assert!(kept(&[("content-length", "5"), ("connection", "content-length")]));
        for bad in ["5, 5", "+5", "-1", "0x5", "", "5 "] {
            assert_eq!(kept(&[("content-length", bad)]), bad == "5 ", "{bad:?}");
        }
        assert!(!kept(&[("content-length", "5"), ("content-length", "5")]));
        assert!(!kept(&[("content-length", "5"), ("transfer-encoding", "chunked")]));
    }

    #[test]
    fn there_must_be_room_for_ours() {
        let full = Fields::of((0..crate::wire::http::MAX_FIELDS).map(|_| ("a", "b")));
        assert!(to_origin(&full, &arrival("::1", "a")).is_err());
        assert!(to_client(&full, Protocol::Http2).is_err());
    }

    proptest! {
        #[test]
        fn nothing_about_the_connection_passes(
            pairs in proptest::collection::vec(
                ("connection|te|upgrade|content-length|forwarded|x-[a-z]{1,3}|host",
                 "x-[a-z]{1,3}|te|[!-~]{0,12}"), 0..8),
            authority in "[!-~]{0,20}",
        ) {
            let fields = Fields::of(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let client = IpAddr::from([192, 0, 2, 1]);
            let (scheme, protocol) = (Scheme::Http, Protocol::Http2);
            let authority = authority.as_str();
            let passed = to_origin(&fields, &Arrival { client, scheme, authority, protocol });
            let passed = passed.unwrap();
            prop_assert_eq!(passed.all("forwarded").count(), 1);
            prop_assert!(passed.iter().all(|(name, _)| !is_hop_by_hop(name) && name != "host"));
            prop_assert!(passed.iter().all(|(name, _)| !is_named(&fields, name)));
        }
    }
}
