//! A request as hyper gives it, as the front takes it.

use super::super::answer::{Answer, told};
use super::super::client::Ask;
use super::super::content::{self, Broken, Content, Pieces};
use crate::http::forward::Protocol;
use crate::wire::DecodeError;
use crate::wire::http::{
    Fields, FieldsBuilder, HttpRequest, MAX_AUTHORITY, MAX_METHOD, Piece, RequestTarget, Scheme,
};
use ::http::{HeaderMap, Request, Version};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// How long, and how many bytes, content over HTTP/1.1 is read that is not wanted any more.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_LINGERING: usize = 16 << 20;

/// The request as all versions of HTTP have it.
pub(super) async fn ask(request: Request<Incoming>) -> Result<Ask, Answer> {
    let (head, body) = request.into_parts();
    if head.method == ::http::Method::CONNECT {
        return Err(told(501, "CONNECT is not offered"));
    }
    if head.method.as_str().len() > MAX_METHOD {
        return Err(told(501, "the method is too long"));
    }
    let target = match head.uri.path_and_query() {
        Some(target) => Bytes::copy_from_slice(target.as_str().as_bytes()),
        None => Bytes::from_static(b"/"),
    };
    let target = RequestTarget::new(target).map_err(|error| match error {
        DecodeError::AboveLimit { .. } => told(414, "the request target is too long"),
        error => told(400, &error.to_string()),
    })?;
    let authority = authority(&head.uri, &head.headers)?;
    let fields = fields(&head.headers)?;
    let protocol = protocol_of(head.version);
    let reads = matches!(head.method.as_str(), "GET" | "HEAD");
    let is_http1 = head.version != Version::HTTP_2;
    let content = if reads || body.is_end_stream() {
        Content::None
    } else {
        let room = HttpRequest::room_inline(&target, &fields);
        let length = body.size_hint().exact();
        content::take(Box::new(IncomingPieces { body: Some(body), is_http1 }), length, room)
            .await
            .map_err(|why| match why {
            Broken::Stalled => told(408, "the content of the request did not come in time"),
            _ => told(400, "the content of the request is not whole"),
        })?
    };
    let (method, scheme) = (head.method.as_str().to_owned(), Scheme::Https);
    Ok(Ask { method, scheme, authority, target, fields, content, protocol })
}

/// Whom the client asks: the host of an absolute target, or the field `host`, which must not say
/// anything else, and stand there once.
fn authority(uri: &::http::Uri, headers: &HeaderMap) -> Result<String, Answer> {
    let mut hosts = headers.get_all(::http::header::HOST).iter();
    let host = hosts.next().map(|value| value.to_str().map(str::to_ascii_lowercase));
    let host = host.transpose().map_err(|_| told(400, "the host is not text"))?;
    if hosts.next().is_some() {
        return Err(told(400, "the host stands twice"));
    }
    let named = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    let authority = match (named, host) {
        (Some(named), Some(host)) if named != host => {
            return Err(told(400, "the authority is not the host"));
        }
        (Some(named), _) => named,
        (None, Some(host)) => host,
        (None, None) => return Err(told(400, "there is no host")),
    };
    let parsed = authority.parse::<::http::uri::Authority>();
    if parsed.is_err() || authority.contains('@') || authority.len() > MAX_AUTHORITY {
        return Err(told(400, "the host is not host and port"));
    }
    Ok(authority)
}

fn fields(headers: &HeaderMap) -> Result<Fields, Answer> {
    let mut builder = FieldsBuilder::default();
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in headers {
        match name.as_str() {
            "host" => {}
            "cookie" => {
                if !cookies.is_empty() {
                    cookies.extend_from_slice(b"; ");
                }
                cookies.extend_from_slice(value.as_bytes());
            }
            name => builder.push(name, value.as_bytes()).map_err(refused)?,
        }
    }
    if !cookies.is_empty() {
        builder.push("cookie", &cookies).map_err(refused)?;
    }
    Ok(builder.finish())
}

fn refused(error: DecodeError) -> Answer {
    match error {
        DecodeError::AboveLimit { .. } => {
            told(431, "the fields of the request are too many or too long")
        }
        error => told(400, &error.to_string()),
    }
}

/// The content of a request as it comes.
struct IncomingPieces {
    /// Until it is dropped.
    body: Option<Incoming>,
    is_http1: bool,
}

impl Drop for IncomingPieces {
    /// Over HTTP/1.1 nothing else tells a client that its content is not wanted any more, and one
    /// that is cut off while it sends may lose the answer. So the rest is read for a while.
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| self.is_http1 && !body.is_end_stream()) {
            tokio::task::spawn_local(tokio::time::timeout(LINGER_TIMEOUT, linger(body)));
        }
    }
}

/// Reads what is not wanted to its end, or to where it is too much.
async fn linger(mut body: Incoming) {
    let mut size = 0;
    while let Some(Ok(frame)) = body.frame().await {
        size += frame.data_ref().map_or(0, Bytes::len);
        if size > MAX_LINGERING {
            return;
        }
    }
}

impl Pieces for IncomingPieces {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Piece, Broken>> + '_>> {
        Box::pin(async {
            loop {
                let Some(body) = &mut self.body else {
                    return Err(Broken::Gone);
                };
                let Some(frame) = body.frame().await else {
                    return Ok(Piece::End(Fields::default()));
                };
                match frame.map_err(|_| Broken::Gone)?.into_data() {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => return Ok(Piece::Data(bytes)),
                    Err(frame) => {
                        let trailers = frame.into_trailers().map_err(|_| Broken::Malformed)?;
                        let trailers = fields(&trailers).map_err(|_| Broken::Malformed)?;
                        return Ok(Piece::End(trailers));
                    }
                }
            }
        })
    }
}

/// The version of HTTP.
pub(super) fn protocol_of(version: Version) -> Protocol {
    match version {
        Version::HTTP_2 => Protocol::Http2,
        Version::HTTP_11 => Protocol::Http11,
        _ => Protocol::Http10,
    }
}
