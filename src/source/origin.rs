//! An HTTP origin as a source.
//!
//! One request takes one connection ([`line`]) for as long as its answer lasts; connections that
//! are left over are kept for the next one ([`pool`]). The head of a message is translated, and
//! judged, in [`head`]; content passes through [`upload`] and [`body`]. What native clients ask
//! for, items by key, is made of such exchanges in [`items`].

mod body;
mod head;
mod items;
mod line;
mod pool;
#[cfg(test)]
mod tests;
mod upload;

use super::exchange::{ExchangeAnswer, ExchangeError, ExchangeRequest, OutgoingBody, WholeBody};
use super::{Answer, CallRequest, CallResponse, Known, Source, SourceError};
use crate::config::OriginUrl;
use crate::wire::Key;
use body::AnswerBody;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use line::{Line, Patience, Unanswered};
use pool::Pool;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use upload::{Progress, Upload};

/// An HTTP/1.1 server to which requests are passed on.
///
/// **Requests.** All methods but CONNECT. The origin's path comes before that of each request.
/// `host` is whom the client asked. What is about a connection is left out and made anew, so is the
/// framing of the content, which is checked against the `content-length` that the client gave;
/// `expect` is left out too. Trailers are sent as far as the request's `trailer` announces them.
///
/// **Answers.** Content and trailers come as they are read. Interim answers (1xx) are skipped. An
/// answer is refused whose framing can be read in two ways, that switches protocols, whose head has
/// more than [`MAX_FIELDS_BYTES`](crate::wire::http::MAX_FIELDS_BYTES), or that has fewer bytes
/// than it says. Of one that has more, the rest is thrown away, with its connection.
///
/// **Connections** are used again. One that the origin closes in the moment in which a request is
/// sent on it has the request sent once more, on a new one, if it is idempotent and its content is
/// at hand, or if none of it was sent yet. Nothing else is ever sent twice. A connection belongs to
/// the runtime that made it. Giving a request up closes its connection.
///
/// **Items** for native clients are what a GET answers, kept for as long as its `cache-control`
/// says and then asked for with its `etag` or `last-modified`. One with `private`, `no-store`,
/// `set-cookie` or `vary: *` is shared with nobody. Calls are POSTs.
///
/// Needs a tokio runtime with its clock and its sockets.
#[derive(Debug)]
pub struct Origin {
    options: OriginOptions,
    pool: Arc<Pool>,
    /// Whether the last request reached it: only changes are logged.
    is_reached: AtomicBool,
}

/// Where an [`Origin`] is, and what is expected of it.
#[derive(Clone, Debug)]
pub struct OriginOptions {
    /// Where it is.
    pub url: OriginUrl,
    /// How long it may take to begin its answer, and then to go on with it. Time in which it waits
    /// for the content of the request does not count.
    pub timeout: Duration,
    /// How long it may take to get a connection, with looking up the name.
    pub connect_timeout: Duration,
    /// The size in bytes above which an item is passed on piece by piece and not mirrored.
    pub max_item: u64,
    /// How many connections that are not in use are kept, for each runtime.
    pub max_idle_connections: usize,
}

impl OriginOptions {
    /// Ten seconds for an answer, two for a connection, items up to 64 MiB, 64 idle connections.
    pub fn new(url: OriginUrl) -> Self {
        Self {
            url,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            max_item: 64 * 1024 * 1024,
            max_idle_connections: 64,
        }
    }
}

impl Origin {
    /// An origin to which nothing is connected yet: whether it can be reached is seen with the
    /// first request.
    pub fn new(options: OriginOptions) -> Self {
        let pool = Arc::new(Pool::new(options.max_idle_connections));
        Self { options, pool, is_reached: AtomicBool::new(true) }
    }

    /// Passes a request on, and answers once the head of the answer is here.
    ///
    /// # Errors
    /// See [`ExchangeError`]. An answer with a status that tells of an error is an answer.
    pub async fn exchange(
        &self,
        request: ExchangeRequest,
    ) -> Result<ExchangeAnswer, ExchangeError> {
        let answered = self.pass_on(request).await;
        self.log_changes(&answered);
        answered
    }

    async fn pass_on(&self, request: ExchangeRequest) -> Result<ExchangeAnswer, ExchangeError> {
        let is_head = request.method == "HEAD";
        let (head, announced) = head::outgoing(&self.options.url, &request)?;
        let progress = Arc::new(Progress::default());
        let again = again(&request);
        let first = head.clone().map(|()| Upload::new(request.body, announced, &progress));
        let kept = self.pool.take();
        let is_kept = kept.is_some();
        let mut line = match kept {
            Some(line) => line,
            None => self.connect().await?,
        };
        let mut sent = self.send(&mut line, first, &progress).await?;
        if is_kept && let Err(Unanswered { error, unsent }) = sent {
            // The origin may have closed a connection that nobody used just when it was taken.
            // What it has not answered with a single byte it may all the same have executed.
            let again = again.filter(|_| !line.has_heard());
            let again = again.map(|content| {
                let body = OutgoingBody::Whole(content);
                head.map(|()| Upload::new(body, announced, &progress))
            });
            let Some(message) = unsent.or(again) else {
                return Err(error);
            };
            line = self.connect().await?;
            sent = self.send(&mut line, message, &progress).await?;
        }
        let response = sent.map_err(|unanswered| unanswered.error)?;
        self.answer(response, is_head, line, progress).await
    }

    async fn connect(&self) -> Result<Line, ExchangeError> {
        Line::connect(&self.options.url, self.options.connect_timeout).await
    }

    /// Sends a request, and waits for the head of the answer.
    async fn send(
        &self,
        line: &mut Line,
        message: Request<Upload>,
        progress: &Arc<Progress>,
    ) -> Result<Result<Response<Incoming>, Unanswered>, ExchangeError> {
        let patience = Patience::new(self.options.timeout, line.traffic(), progress);
        let answer = line.send(message, progress);
        patience.wait(answer, "it has not begun to answer").await
    }

    async fn answer(
        &self,
        response: Response<Incoming>,
        is_head: bool,
        line: Line,
        progress: Arc<Progress>,
    ) -> Result<ExchangeAnswer, ExchangeError> {
        let (parts, incoming) = response.into_parts();
        let head = head::incoming(&parts, is_head)?;
        let (status, fields) = (head.status, head.fields);
        if incoming.is_end_stream() {
            self.pool.give(line, &progress).await;
            return Ok(ExchangeAnswer { status, fields, body: Box::new(WholeBody::default()) });
        }
        let patience = Patience::new(self.options.timeout, line.traffic(), &progress);
        let pool = Arc::clone(&self.pool);
        let body = AnswerBody::new(incoming, head.length, patience, line, pool);
        Ok(ExchangeAnswer { status, fields, body: Box::new(body) })
    }

    fn log_changes(&self, answered: &Result<ExchangeAnswer, ExchangeError>) {
        let is_reached = match answered {
            // These say nothing about the origin.
            Err(ExchangeError::Refused(_) | ExchangeError::Content(_)) => return,
            Err(error) => {
                tracing::debug!(origin = %self.options.url, %error, "a request failed");
                false
            }
            Ok(_) => true,
        };
        if self.is_reached.swap(is_reached, Ordering::Relaxed) == is_reached {
            return;
        }
        match answered {
            Ok(_) => tracing::info!(origin = %self.options.url, "the origin answers again"),
            Err(error) => tracing::warn!(origin = %self.options.url, %error, "the origin fails"),
        }
    }
}

/// The content of a request that may be sent a second time.
fn again(request: &ExchangeRequest) -> Option<Bytes> {
    match &request.body {
        _ if !request.idempotent => None,
        OutgoingBody::Empty => Some(Bytes::new()),
        OutgoingBody::Whole(bytes) => Some(bytes.clone()),
        OutgoingBody::Stream(_) => None,
    }
}

impl Source for Origin {
    async fn retrieve(&self, key: &Key, known: Option<&Known>) -> Result<Answer, SourceError> {
        let answer = self.exchange(items::get(key, known)?).await?;
        items::retrieved(answer, known, self.options.max_item).await
    }

    async fn call(&self, request: CallRequest) -> Result<CallResponse, SourceError> {
        let answer = self.exchange(items::post(request)?).await?;
        items::response(answer, self.options.max_item).await
    }

    fn is_http(&self) -> bool {
        true
    }

    async fn exchange(&self, request: ExchangeRequest) -> Result<ExchangeAnswer, ExchangeError> {
        Origin::exchange(self, request).await
    }
}
