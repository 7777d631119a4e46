//! The heads of messages: of a request as the origin is to see it, of an answer as others may.

use super::super::exchange::{ExchangeError, ExchangeRequest, OutgoingBody};
use crate::config::OriginUrl;
use crate::wire::http::{Fields, FieldsBuilder, RequestTarget};
use crate::wire::lane::{MAX_STATUS, MIN_STATUS};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri, response};

/// Whether a field is about one connection and not for those beyond it (RFC 9110, section 7.6.1).
/// `proxy-status` only looks like one.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(name, "connection" | "keep-alive" | "te" | "transfer-encoding" | "upgrade")
        || (name.starts_with("proxy-") && name != "proxy-status")
}

/// Whether a field of the client's request is not passed on, because it is made anew or answered
/// on the way.
fn is_replaced(name: &str) -> bool {
    is_hop_by_hop(name) || matches!(name, "host" | "expect" | "http2-settings" | "content-length")
}

/// Whether a field may not come after the content: what must be known before it is read, or who may
/// have it (RFC 9110, section 6.5.1).
fn is_no_trailer(name: &str) -> bool {
    is_replaced(name)
        || matches!(name, "content-encoding" | "content-type" | "content-range" | "trailer")
        || matches!(name, "authorization" | "cache-control" | "cookie" | "set-cookie" | "vary")
}

/// The head of a request as it goes to the origin, and how many bytes its content must have.
pub(super) fn outgoing(
    url: &OriginUrl,
    request: &ExchangeRequest,
) -> Result<(Request<()>, Option<u64>), ExchangeError> {
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| refused("its method is not a token"))?;
    if method == Method::CONNECT {
        return Err(refused("this is no way to other places: CONNECT is not passed on"));
    }
    let authority = match request.authority.as_str() {
        "" => url.authority(),
        asked => asked.to_owned(),
    };
    let host = HeaderValue::from_str(&authority)
        .map_err(|_| refused("it asks for a host that is not visible ASCII"))?;
    let announced = announced(request)?;
    let mut head = Request::new(());
    *head.uri_mut() = uri(url, &request.target)?;
    let headers = head.headers_mut();
    headers.insert(header::HOST, host);
    add_fields(headers, &request.fields, is_replaced)?;
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    match announced {
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        None if matches!(request.body, OutgoingBody::Stream(_)) => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        None => {}
    }
    *head.method_mut() = method;
    Ok((head, announced))
}

fn refused(why: &str) -> ExchangeError {
    ExchangeError::Refused(why.to_owned())
}

/// How many bytes the content must have; none if that is not known, or if no content is expected.
fn announced(request: &ExchangeRequest) -> Result<Option<u64>, ExchangeError> {
    let announced = content_length(&request.fields).map_err(|()| {
        refused("its content-length is not one number: it would not be clear where it ends")
    })?;
    let there = match &request.body {
        OutgoingBody::Stream(_) => return Ok(announced),
        OutgoingBody::Whole(bytes) => bytes.len() as u64,
        OutgoingBody::Empty => 0,
    };
    match announced {
        Some(announced) if announced != there => Err(ExchangeError::Content(format!(
            "it has {there} bytes, and its content-length is {announced}"
        ))),
        None if there == 0 && !expects_content(&request.method) => Ok(None),
        _ => Ok(Some(there)),
    }
}

/// Whether a request without content says so, because others of its method have some.
fn expects_content(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS" | "TRACE")
}

/// What `content-length` says, if it is there: one number, though perhaps more than once.
fn content_length(fields: &Fields) -> Result<Option<u64>, ()> {
    let mut found = None;
    for value in fields.all("content-length") {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| is_number);
        let length: u64 = text.and_then(|text| text.parse().ok()).ok_or(())?;
        if found.replace(length).is_some_and(|other| other != length) {
            return Err(());
        }
    }
    Ok(found)
}

/// The target below the origin's own path. Nothing may lead out of that.
fn uri(url: &OriginUrl, target: &RequestTarget) -> Result<Uri, ExchangeError> {
    let text = match target.as_str() {
        "*" => "*".to_owned(),
        _ if leads_up(target.path()) && !url.prefix().is_empty() => {
            return Err(refused("its path has a '..', which could lead to other places"));
        }
        text => format!("{}{text}", url.prefix()),
    };
    PathAndQuery::from_maybe_shared(Bytes::from(text))
        .map(Uri::from)
        .map_err(|_| refused("its path has a character that must be percent-encoded"))
}

/// Whether a path has a `..` segment, by whatever an origin might take for a dot or a slash.
fn leads_up(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".");
    let plain = plain.replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
    // Some origins have parameters behind a semicolon in each segment.
    plain.split('/').any(|segment| segment.split(';').next() == Some(".."))
}

/// Adds fields but those that are left out.
fn add_fields(
    headers: &mut HeaderMap,
    fields: &Fields,
    is_left_out: fn(&str) -> bool,
) -> Result<(), ExchangeError> {
    for (name, value) in fields.iter().filter(|(name, _)| !is_left_out(name)) {
        let invalid = || ExchangeError::Refused(format!("its field {name} is not valid"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let value = HeaderValue::from_bytes(value).map_err(|_| invalid())?;
        headers.append(name, value);
    }
    Ok(())
}

/// What comes after the content of a request.
pub(super) fn trailers(fields: &Fields) -> Result<HeaderMap, ExchangeError> {
    let mut headers = HeaderMap::new();
    add_fields(&mut headers, fields, is_no_trailer)?;
    Ok(headers)
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) status: u16,
    pub(super) fields: Fields,
    /// How many bytes the content must have, if that is known.
    pub(super) length: Option<u64>,
}

/// Reads the head of an answer; `is_head` if the request was a HEAD.
pub(super) fn incoming(
    parts: &response::Parts,
    is_head: bool,
) -> Result<AnswerHead, ExchangeError> {
    let status = parts.status.as_u16();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(broken("it switches to another protocol, which was not asked for"));
    }
    if !(MIN_STATUS..=MAX_STATUS).contains(&status) {
        return Err(ExchangeError::Broken(format!("its status is {status}")));
    }
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if parts.headers.contains_key(header::CONTENT_LENGTH) {
            return Err(broken("it has both a content-length and a transfer-encoding"));
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(broken("its transfer-encoding is not chunked"));
        }
    }
    let named = named_by_connection(&parts.headers);
    let dropped = |name: &str| is_hop_by_hop(name) || named.iter().any(|named| named == name);
    let mut kept = collect(&parts.headers, |name| !dropped(name) && name != "content-length")?;
    let all = collect(&parts.headers, |name| name == "content-length")?.finish();
    let length = content_length(&all).map_err(|()| broken("its content-length is not a number"))?;
    let is_empty = is_head || matches!(status, 204 | 304);
    if let Some(length) = length.filter(|_| status != 204) {
        add(&mut kept, "content-length", length.to_string().as_bytes())?;
    }
    let length = if is_empty { Some(0) } else { length };
    Ok(AnswerHead { status, fields: kept.finish(), length })
}

fn broken(why: &str) -> ExchangeError {
    ExchangeError::Broken(why.to_owned())
}

/// The names in `connection`, in lower case: these fields are about it as well.
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter();
    let values = values.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
    let names = values.flat_map(|value| value.split(','));
    names.map(|name| name.trim().to_ascii_lowercase()).collect()
}

/// What comes after the content of an answer.
pub(super) fn incoming_trailers(headers: &HeaderMap) -> Result<Fields, ExchangeError> {
    collect(headers, |name| !is_no_trailer(name)).map(FieldsBuilder::finish)
}

fn collect(
    headers: &HeaderMap,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<FieldsBuilder, ExchangeError> {
    let mut fields = Fields::builder();
    for (name, value) in headers.iter().filter(|(name, _)| is_wanted(name.as_str())) {
        add(&mut fields, name.as_str(), value.as_bytes())?;
    }
    Ok(fields)
}

fn add(fields: &mut FieldsBuilder, name: &str, value: &[u8]) -> Result<(), ExchangeError> {
    fields.push(name, value).map_err(|error| ExchangeError::Broken(error.to_string()))
}
