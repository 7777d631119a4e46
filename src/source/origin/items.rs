//! Items by key, made of requests to an origin and its answers.

use super::super::exchange::{
    BodyPieces, ExchangeAnswer, ExchangeError, ExchangeRequest, OutgoingBody, Piece,
};
use super::super::{
    Answer, BodyReader, CallRequest, CallResponse, Freshness, Known, Retrieved, SourceError,
    Unmirrored, Version,
};
use crate::wire::http::{Fields, RequestTarget, Scheme};
use crate::wire::{HeaderBlock, HeaderName, Key};
use bytes::{Bytes, BytesMut};
use std::pin::Pin;
use std::time::Duration;

/// What asks for an item: if a version is known, only for another one.
pub(super) fn get(key: &Key, known: Option<&Known>) -> Result<ExchangeRequest, SourceError> {
    let mut fields = Fields::builder();
    if let Some((name, value)) = known.and_then(condition) {
        fields.push(name, value.as_bytes()).map_err(failed)?;
    }
    request("GET", key, fields.finish(), OutgoingBody::Empty, true)
}

/// What makes a call.
pub(super) fn post(call: CallRequest) -> Result<ExchangeRequest, SourceError> {
    let mut fields = Fields::builder();
    for (name, value) in call.headers.iter() {
        fields.push(name.as_str(), value.as_bytes()).map_err(failed)?;
    }
    let body = OutgoingBody::Whole(call.body);
    request("POST", &call.key, fields.finish(), body, call.idempotent)
}

fn request(
    method: &str,
    key: &Key,
    fields: Fields,
    body: OutgoingBody,
    idempotent: bool,
) -> Result<ExchangeRequest, SourceError> {
    Ok(ExchangeRequest {
        method: method.to_owned(),
        scheme: Scheme::Https,
        authority: String::new(),
        target: target(key)?,
        fields,
        body,
        idempotent,
    })
}

/// A key as a request's target: what may not stand there is percent-encoded.
fn target(key: &Key) -> Result<RequestTarget, SourceError> {
    let mut text = BytesMut::new();
    for byte in key.as_str().bytes() {
        match byte {
            b'#' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' => {}
            _ if byte.is_ascii_graphic() => {
                text.extend_from_slice(&[byte]);
                continue;
            }
            _ => {}
        }
        text.extend_from_slice(format!("%{byte:02X}").as_bytes());
    }
    RequestTarget::new(text.freeze()).map_err(|error| SourceError::Refused(error.to_string()))
}

fn failed(error: impl std::fmt::Display) -> SourceError {
    SourceError::Failed(format!("the origin's answer cannot be used: {error}"))
}

/// The field that makes a request one for another version than the known one. A time alone says
/// that only if a stamp vouches for it.
fn condition(known: &Known) -> Option<(&'static str, &str)> {
    if let Some(tag) = known.headers().value(HeaderName::Etag) {
        return Some(("if-none-match", tag));
    }
    let time = known.headers().value(HeaderName::LastModified)?;
    let vouched = known.stamp().is_some_and(|stamp| stamp == time.as_bytes());
    vouched.then_some(("if-modified-since", time))
}

/// What the origin's answer says of an item.
pub(super) async fn retrieved(
    answer: ExchangeAnswer,
    known: Option<&Known>,
    max_item: u64,
) -> Result<Answer, SourceError> {
    let ExchangeAnswer { status, fields, body } = answer;
    let lifetime = lifetime(&fields);
    match status {
        200 | 203 => {}
        304 => {
            let known = known.filter(|known| condition(known).is_some());
            let known = known.ok_or_else(|| {
                failed("it says that the item is unchanged, and was not asked for that")
            })?;
            // What was one client's stays that, whatever is said later.
            let lasts = if known.is_shareable() { lifetime.lasts } else { Duration::ZERO };
            return Ok(Retrieved::Unchanged.lasting(Freshness::lasting(lasts)));
        }
        404 | 410 => return Ok(Retrieved::NotFound.into()),
        401 | 403 | 451 => {
            return Err(SourceError::Refused(format!("the origin answers with status {status}")));
        }
        300..=399 => {
            let why = format!("the origin leads to another place, with status {status}");
            return Err(SourceError::Refused(why));
        }
        _ => return Err(SourceError::Failed(format!("the origin answers with status {status}"))),
    }
    let headers = headers(&fields)?;
    if let Some(length) = body.length().filter(|length| *length > max_item) {
        let body = Box::new(Pieces(body));
        return Ok(Retrieved::Unmirrored(Unmirrored { headers, length, body }).into());
    }
    let version = Version::new(headers, whole(body, max_item).await?);
    if !lifetime.is_shareable {
        return Ok(Retrieved::Version(version.private()).into());
    }
    let version = match stamp(&fields, version.headers()) {
        Some(stamp) => version.with_stamp(stamp),
        None => version,
    };
    Ok(Retrieved::Version(version).lasting(Freshness::lasting(lifetime.lasts)))
}

/// What the origin answers to a call.
pub(super) async fn response(
    answer: ExchangeAnswer,
    max_item: u64,
) -> Result<CallResponse, SourceError> {
    let ExchangeAnswer { status, fields, body } = answer;
    let headers = headers(&fields)?;
    Ok(CallResponse { status, headers, body: whole(body, max_item).await? })
}

/// The headers of an item. One that cannot be kept is left out, unless the bytes mean something
/// else without it.
fn headers(fields: &Fields) -> Result<HeaderBlock, SourceError> {
    let mut kept = Vec::new();
    for name in HeaderName::ALL {
        let value = fields.only(name.as_str()).map(|value| (name, value));
        let value = value.filter(|pair| HeaderBlock::new([*pair]).is_ok());
        match value {
            Some(pair) => kept.push(pair),
            None if name == HeaderName::ContentEncoding && fields.has(name.as_str()) => {
                return Err(failed("its content-encoding stands there twice, or is too long"));
            }
            None => {}
        }
    }
    HeaderBlock::new(kept).map_err(failed)
}

/// What the origin will know a version by. The time of a change says so only if it was over when
/// the answer was made, for what changes later in the same second would have the same time.
fn stamp(fields: &Fields, headers: &HeaderBlock) -> Option<Bytes> {
    let stamp = |value: &str| Bytes::copy_from_slice(value.as_bytes());
    if let Some(tag) = headers.value(HeaderName::Etag) {
        return Some(stamp(tag));
    }
    let modified = headers.value(HeaderName::LastModified)?;
    let is_over = second(modified)? < second(fields.only("date")?)?;
    is_over.then(|| stamp(modified))
}

/// The second that a date in the usual form names (RFC 9110, section 5.6.7), only to be compared.
fn second(date: &str) -> Option<(u16, usize, u8, &str)> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = date.strip_suffix(" GMT")?.split_once(", ")?;
    let parts: Vec<_> = date.split(' ').collect();
    let &[day, month, year, time] = parts.as_slice() else { return None };
    let month = MONTHS.iter().position(|known| *known == month)?;
    (time.len() == 8).then_some((year.parse().ok()?, month, day.parse().ok()?, time))
}

/// Reads all of the content, at most `limit` bytes.
async fn whole(mut body: Box<dyn BodyPieces>, limit: u64) -> Result<Bytes, SourceError> {
    let mut all = BytesMut::new();
    loop {
        match body.next().await? {
            Piece::Data(bytes) if all.len() as u64 + bytes.len() as u64 > limit => {
                return Err(failed(format_args!(
                    "it has more than {limit} bytes, and no content-length that says how many"
                )));
            }
            Piece::Data(bytes) => all.extend_from_slice(&bytes),
            Piece::Trailers(_) => {}
            Piece::End => return Ok(all.freeze()),
        }
    }
}

/// Content that is passed on as it comes.
struct Pieces(Box<dyn BodyPieces>);

impl BodyReader for Pieces {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Bytes, SourceError>> + Send + '_>> {
        Box::pin(async {
            loop {
                match self.0.next().await {
                    Ok(Piece::Data(bytes)) => return Ok(bytes),
                    Ok(Piece::Trailers(_)) => {}
                    Ok(Piece::End) => return Ok(Bytes::new()),
                    Err(error) => return Err(ExchangeError::into(error)),
                }
            }
        })
    }
}

/// For whom an answer is, and for how long it holds.
#[derive(Debug, PartialEq, Eq)]
struct Lifetime {
    is_shareable: bool,
    lasts: Duration,
}

/// Reads from an answer's fields for whom it is and for how long. What says nothing is asked for
/// every time.
fn lifetime(fields: &Fields) -> Lifetime {
    let (mut is_shareable, mut is_checked) = (true, false);
    let (mut max_age, mut shared_max_age) = (None, None);
    for value in fields.all("cache-control") {
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        for directive in value.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = argument.trim().trim_matches('"').parse().unwrap_or(0u64);
            match name.trim() {
                "private" | "no-store" => is_shareable = false,
                "no-cache" => is_checked = true,
                // The shortest, if there are several.
                "max-age" => max_age = Some(max_age.map_or(seconds, |age| seconds.min(age))),
                "s-maxage" => {
                    shared_max_age = Some(shared_max_age.map_or(seconds, |age| seconds.min(age)));
                }
                _ => {}
            }
        }
    }
    let varies = fields.all("vary").any(|value| value.contains(&b'*'));
    is_shareable &= !varies && !fields.has("set-cookie");
    let seconds = shared_max_age.or(max_age).filter(|_| is_shareable && !is_checked).unwrap_or(0);
    let age = fields.only("age").and_then(|age| age.parse().ok()).unwrap_or(0u64);
    Lifetime { is_shareable, lasts: Duration::from_secs(seconds.saturating_sub(age)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_targets() {
        let target = |key: &str| target(&key.parse().unwrap()).unwrap();
        assert_eq!(target("/a%20b?c=d").as_str(), "/a%20b?c=d");
        assert_eq!(target("/é \"{}#").as_str(), "/%C3%A9%20%22%7B%7D%23");
    }

    #[test]
    fn an_answer_says_for_whom_it_is_and_for_how_long() {
        let said = |pairs: &[(&str, &str)]| {
            let lifetime = lifetime(&Fields::of(pairs.iter().copied()));
            (lifetime.is_shareable, lifetime.lasts.as_secs())
        };
        let control = |value| said(&[("cache-control", value)]);
        assert_eq!(said(&[]), (true, 0));
        assert_eq!(control("public, max-age=60"), (true, 60));
        assert_eq!(control("Max-Age=60, S-MaxAge=\"5\""), (true, 5));
        assert_eq!(control("max-age=60, max-age=5"), (true, 5));
        assert_eq!(control("max-age=soon"), (true, 0));
        assert_eq!(control("max-age=60, no-cache"), (true, 0));
        assert_eq!(control("private=\"x\", max-age=60"), (false, 0));
        assert_eq!(control("no-store"), (false, 0));
        assert_eq!(said(&[("vary", "accept, *")]), (false, 0));
        assert_eq!(said(&[("cache-control", "max-age=9"), ("set-cookie", "a=b")]), (false, 0));
        assert_eq!(said(&[("cache-control", "max-age=9"), ("age", "7")]), (true, 2));
        assert_eq!(said(&[("cache-control", "max-age=9"), ("age", "70")]), (true, 0));
    }

    #[test]
    fn a_time_counts_once_its_second_is_over() {
        let modified = "Sat, 28 Feb 2026 23:59:59 GMT";
        let stamped = |date| {
            let fields = Fields::of([("date", date), ("last-modified", modified)]);
            stamp(&fields, &headers(&fields).unwrap()).is_some()
        };
        assert!(stamped("Sun, 01 Mar 2026 00:00:00 GMT"));
        assert!(!stamped(modified) && !stamped("Sat, 28 Feb 2026 23:59:58 GMT"));
        assert!(!stamped("now") && !stamped("Sunday, 01-Mar-26 00:00:00 GMT"));
    }
}
