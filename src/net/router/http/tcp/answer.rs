//! An answer as hyper sends it.

use super::super::answer::{Answer, AnswerBody, Coming};
use super::super::logged::Logged;
use crate::wire::http::Piece;
use ::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The answer, whose request is logged when its content has been sent.
pub(super) fn respond(
    answer: Answer,
    logged: Logged,
    is_head: bool,
    version: Version,
) -> Response<AnswerContent> {
    let Answer { status, fields, body } = answer;
    let has_length = fields.has("content-length");
    let content = match body {
        AnswerBody::None => Rest::None,
        AnswerBody::Whole(bytes) => Rest::Whole(bytes),
        AnswerBody::Coming(coming) => Rest::Coming(Box::pin(next_of(coming))),
    };
    let mut response = Response::new(AnswerContent { rest: content, logged });
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in fields.iter() {
        // HTTP/2 and hyper's framing have no room for what is about a connection.
        let about_connection =
            matches!(name, "connection" | "keep-alive" | "transfer-encoding" | "upgrade");
        let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value));
        if let (false, (Ok(name), Ok(value))) = (about_connection, parsed) {
            response.headers_mut().append(name, value);
        }
    }
    // Without a length its end is that of the connection.
    if version == Version::HTTP_10 && !has_length && !is_head {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(::http::header::CONNECTION, close);
    }
    response
}

type Next = Pin<Box<dyn Future<Output = (Box<Coming>, Option<Piece>)>>>;

async fn next_of(mut coming: Box<Coming>) -> (Box<Coming>, Option<Piece>) {
    let piece = coming.next().await.ok();
    (coming, piece)
}

/// The content of an answer as hyper takes it. Its request is logged when it is dropped.
pub(super) struct AnswerContent {
    rest: Rest,
    logged: Logged,
}

/// What of it has not been sent.
enum Rest {
    None,
    Whole(Bytes),
    Coming(Next),
}

/// The content of an answer broke off at its server.
#[derive(Debug, thiserror::Error)]
#[error("the content broke off at its server")]
pub(super) struct BrokenAnswer;

impl Body for AnswerContent {
    type Data = Bytes;
    type Error = BrokenAnswer;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        let this = &mut *self;
        let data = |logged: &mut Logged, bytes: Bytes| {
            logged.sent(bytes.len());
            Poll::Ready(Some(Ok(Frame::data(bytes))))
        };
        let next = match std::mem::replace(&mut this.rest, Rest::None) {
            Rest::None => return Poll::Ready(None),
            Rest::Whole(bytes) => return data(&mut this.logged, bytes),
            Rest::Coming(mut next) => match next.as_mut().poll(context) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    this.rest = Rest::Coming(next);
                    return Poll::Pending;
                }
            },
        };
        match next {
            (coming, Some(Piece::Data(bytes))) => {
                this.rest = Rest::Coming(Box::pin(next_of(coming)));
                data(&mut this.logged, bytes)
            }
            (_, Some(Piece::End(trailers))) => {
                let trailers: HeaderMap = trailers
                    .iter()
                    .filter_map(|(name, value)| {
                        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                        Some((name, HeaderValue::from_bytes(value).ok()?))
                    })
                    .collect();
                Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))))
            }
            (_, None) => Poll::Ready(Some(Err(BrokenAnswer))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::None)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Rest::None => SizeHint::with_exact(0),
            Rest::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Rest::Coming(_) => SizeHint::default(),
        }
    }
}
