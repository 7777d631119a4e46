//! HTTP requests passed to an origin, and their answers passed back.

mod contents;

use super::Shell;
use crate::http::cache::{Exchange, Storage, decide, freshened};
use crate::http::forward::{Protocol, to_client};
use crate::mirror::{Known, Response, Version};
use crate::node::server::{Exchanged, Link, PassedBody};
use crate::source::{
    BodyPieces, ExchangeAnswer, ExchangeError, ExchangeRequest, OutgoingBody, Piece,
};
use crate::wire::http::{Fields, HttpAnswer, HttpRequest, RequestBody};
use bytes::{Bytes, BytesMut};
use contents::{Content, NextPiece};
pub(super) use contents::{ContentStream, accept_contents};
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long a request with content of its own stream may take in all.
const CONTENT_TIMEOUT: Duration = Duration::from_secs(3600);
/// For so long an answer that may be kept is collected before any of it goes out.
const COLLECTING: Duration = Duration::from_secs(1);
/// Answers with more bytes are passed on as they come, and not kept: whoever asked would wait for
/// the last byte before getting the first.
const MAX_KEPT: usize = 8 << 20;
/// The fields by which a client asks about what it holds; of what may be kept, the origin is asked
/// about what we hold.
const CONDITIONS: [&str; 6] =
    ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range", "range"];

/// What the machine wants asked.
pub(super) struct Asked {
    pub(super) ticket: u64,
    pub(super) request: Box<HttpRequest>,
    pub(super) known: Option<Arc<Known>>,
    pub(super) shared: bool,
    pub(super) content: Option<(Link, u64)>,
    pub(super) deadline_ms: u64,
}

/// An exchange that is answered in any case, unless nobody wants the answer: one during which the
/// source panics has failed.
struct Exchanging {
    shell: Rc<Shell>,
    ticket: u64,
    /// Under what the content of the request is waited for.
    place: Option<(Link, u64)>,
    is_over: Rc<Cell<bool>>,
}

/// An exchange from outside.
pub(super) struct Underway {
    task: AbortHandle,
    /// Set before the task is aborted: it ends later, when another one may have its ticket.
    is_over: Rc<Cell<bool>>,
}

impl Exchanging {
    fn hand_in(&mut self, exchanged: Exchanged) {
        if self.is_over.replace(true) {
            return;
        }
        self.shell.exchanging.borrow_mut().remove(&self.ticket);
        let ticket = self.ticket;
        self.shell.with(|node, now| node.handle_exchanged(now, ticket, exchanged));
        // Left over if the machine had no more use for it.
        self.shell.answering.borrow_mut().remove(&ticket);
    }
}

impl Drop for Exchanging {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            self.shell.contents.borrow_mut().remove(place);
        }
        self.hand_in(Exchanged::Failed { status: 502, text: "the source panicked".to_owned() });
    }
}

/// Asks the origin, and hands in what comes of it.
pub(super) fn start(shell: &Rc<Shell>, asked: Asked) {
    let (ticket, place) = (asked.ticket, asked.content.clone());
    let content = place.clone().map(|place| {
        let (sender, receiver) = oneshot::channel();
        shell.contents.borrow_mut().insert(place, sender);
        receiver
    });
    let is_over = Rc::new(Cell::new(false));
    let ended = Rc::clone(&is_over);
    let mut exchanging = Exchanging { shell: Rc::clone(shell), ticket, place, is_over: ended };
    let task = tokio::task::spawn_local(async move {
        let exchanged = exchange(&exchanging.shell, asked, content).await;
        exchanging.hand_in(exchanged);
    });
    let underway = Underway { task: task.abort_handle(), is_over };
    shell.exchanging.borrow_mut().insert(ticket, underway);
}

/// Nobody wants the answer any more.
pub(super) fn cancel(shell: &Shell, ticket: u64) {
    if let Some(underway) = shell.exchanging.borrow_mut().remove(&ticket) {
        underway.is_over.set(true);
        underway.task.abort();
    }
    shell.answering.borrow_mut().remove(&ticket);
}

impl Shell {
    /// With what the configuration says of origins that fail, where the origin says nothing itself.
    fn allowing_stale(&self, storage: Storage) -> Storage {
        if storage.must_revalidate {
            return storage;
        }
        let stale_if_error_s = storage.stale_if_error_s.max(self.stale_if_error_s);
        Storage { stale_if_error_s, ..storage }
    }
}

async fn exchange(
    shell: &Rc<Shell>,
    asked: Asked,
    content: Option<oneshot::Receiver<ContentStream>>,
) -> Exchanged {
    let Asked { ticket, request, known, shared, deadline_ms, .. } = asked;
    let asked_s = shell.clock.now().as_secs();
    // Content takes as long as it goes on: the source watches the origin, the front its client.
    let within = match content {
        Some(_) => CONTENT_TIMEOUT,
        None => Duration::from_millis(deadline_ms),
    };
    let outgoing = outgoing(&request, known.as_deref(), shared, content);
    let answered = tokio::time::timeout(within, shell.source.exchange(outgoing)).await;
    let answer = match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            return Exchanged::Failed { status: error.status(), text: error.to_string() };
        }
        Err(_) => {
            let text = "the origin did not answer in time".to_owned();
            return Exchanged::Failed { status: 504, text };
        }
    };
    let taken = take(shell, (&request, known.as_deref(), shared), asked_s, answer).await;
    match taken {
        Ok((exchanged, Some(rest))) => {
            shell.answering.borrow_mut().insert(ticket, rest);
            exchanged
        }
        Ok((exchanged, None)) => exchanged,
        Err(error) => Exchanged::Failed { status: error.status(), text: error.to_string() },
    }
}

/// The request as the origin is to get it.
fn outgoing(
    request: &HttpRequest,
    known: Option<&Known>,
    shared: bool,
    content: Option<oneshot::Receiver<ContentStream>>,
) -> ExchangeRequest {
    let body = match (&request.body, content) {
        (RequestBody::Stream, Some(content)) => {
            OutgoingBody::Stream(Box::new(Content::Announced(content)))
        }
        (RequestBody::Inline(bytes), _) => OutgoingBody::Whole(bytes.clone()),
        _ => OutgoingBody::Empty,
    };
    let fields = match shared {
        true => about_what_is_known(&request.fields, known),
        false => request.fields.clone(),
    };
    ExchangeRequest {
        method: request.method.clone(),
        scheme: request.scheme,
        authority: request.authority.clone(),
        target: request.target.clone(),
        fields,
        body,
        idempotent: request.idempotent,
    }
}

/// The fields with our validators in the place of the client's.
fn about_what_is_known(fields: &Fields, known: Option<&Known>) -> Fields {
    let mut builder = Fields::builder();
    let kept = fields.iter().filter(|(name, _)| !CONDITIONS.contains(name));
    let response = known.and_then(Known::response);
    let etag = response.and_then(|it| it.fields.first("etag"));
    let date = response.and_then(|it| it.fields.first("last-modified"));
    let ours = etag.map(|value| ("if-none-match", value)).into_iter();
    let ours = ours.chain(date.map(|value| ("if-modified-since", value)));
    for (name, value) in kept.chain(ours) {
        // Fails only where there is no room left; without a condition all is sent.
        let _ = builder.push(name, value);
    }
    builder.finish()
}

/// What an answer is to the machine, and the content that stays open.
async fn take(
    shell: &Shell,
    (request, known, shared): (&HttpRequest, Option<&Known>, bool),
    asked_s: u64,
    answer: ExchangeAnswer,
) -> Result<(Exchanged, Option<Box<dyn BodyPieces>>), ExchangeError> {
    let ExchangeAnswer { status, fields, body } = answer;
    let answered_s = shell.clock.now().as_secs();
    let (method, by) = (request.method.as_str(), &request.fields);
    let about =
        |status, response| Exchange { method, request: by, status, response, asked_s, answered_s };
    if let (304, true, Some(known)) = (status, shared, known) {
        let kept = known.response();
        let status = kept.map_or(200, |it| it.status);
        let kept = kept.map(|it| it.fields.clone()).unwrap_or_default();
        let fields = freshened(&kept, &fields).unwrap_or(kept);
        let storage = shell.allowing_stale(decide(&about(status, &fields)));
        let response = Arc::new(Response { status, fields, storage });
        return Ok((Exchanged::Unchanged { response }, None));
    }
    let storage = shell.allowing_stale(decide(&about(status, &fields)));
    let fields = to_client(&fields, Protocol::Http11).unwrap_or(fields);
    let bodiless = request.method == "HEAD" || matches!(status, 204 | 304);
    if bodiless {
        return Ok((Exchanged::Passed { status, fields, body: PassedBody::None }, None));
    }
    let keep = shared && storage.storable;
    let limit = match keep {
        true => usize::try_from(shell.max_item).map_or(MAX_KEPT, |it| it.min(MAX_KEPT)),
        false => HttpAnswer::room_inline(&fields),
    };
    // What is short and known to be is not worth a stream.
    let worth = keep || body.length().is_some();
    let fits = body.length().is_none_or(|length| length <= limit as u64);
    if !worth || !fits {
        return Ok((Exchanged::Passed { status, fields, body: PassedBody::Open }, Some(body)));
    }
    match read_whole(body, limit, Instant::now() + COLLECTING).await? {
        Read::Whole(bytes) if keep => {
            let vary = storage.vary.clone();
            let response = Arc::new(Response { status, fields, storage });
            let version = Version::new(response.fields.header_block(), bytes);
            let version = version.with_response(response);
            Ok((Exchanged::Kept { version, vary }, None))
        }
        Read::Whole(bytes) => {
            let body = if bytes.is_empty() { PassedBody::None } else { PassedBody::Whole(bytes) };
            Ok((Exchanged::Passed { status, fields, body }, None))
        }
        Read::Beyond(rest) => {
            Ok((Exchanged::Passed { status, fields, body: PassedBody::Open }, Some(rest)))
        }
    }
}

/// Content that was read to its end, or to where it is too long to be kept.
enum Read {
    Whole(Bytes),
    Beyond(Box<dyn BodyPieces>),
}

async fn read_whole(
    mut body: Box<dyn BodyPieces>,
    limit: usize,
    until: Instant,
) -> Result<Read, ExchangeError> {
    let mut pieces = VecDeque::new();
    let mut length = 0;
    loop {
        let Ok(next) = tokio::time::timeout_at(until, body.next()).await else {
            // It is slow: what has come goes out, and the rest as it comes.
            return Ok(Read::Beyond(Box::new(Begun { pieces, rest: body })));
        };
        match next? {
            Piece::Data(bytes) => {
                length += bytes.len();
                pieces.push_back(bytes);
                if length > limit {
                    return Ok(Read::Beyond(Box::new(Begun { pieces, rest: body })));
                }
            }
            // Trailers may be left out (RFC 9110, section 6.5.1).
            Piece::Trailers(_) => {}
            Piece::End => break,
        }
    }
    if pieces.len() == 1 {
        return Ok(Read::Whole(pieces.remove(0).unwrap_or_default()));
    }
    let mut whole = BytesMut::with_capacity(length);
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    Ok(Read::Whole(whole.freeze()))
}

/// Content of which some was read already.
struct Begun {
    pieces: VecDeque<Bytes>,
    rest: Box<dyn BodyPieces>,
}

impl BodyPieces for Begun {
    fn next(&mut self) -> NextPiece<'_> {
        match self.pieces.pop_front() {
            Some(bytes) => Box::pin(async { Ok(Piece::Data(bytes)) }),
            None => self.rest.next(),
        }
    }
}
