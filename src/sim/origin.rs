//! An HTTP origin, and what clients may be given of its answers.
//!
//! Each of its contents begins with a number, by which it is known for whom it was made, and until
//! when it may be given to others.

use super::calls::{Nature, answer, nature};
use super::cluster::World;
use super::events::Event;
use super::network::{Host, Seat};
use super::plan::pick;
use crate::http::cache::{Exchange, decide, freshened};
use crate::mirror::{Known, Response, Version};
use crate::node::server::{Exchanged, Link, PassedBody};
use crate::wire::Time;
use crate::wire::http::{Fields, HttpRequest, RequestBody, content_end, piece_start};
use crate::wire::lane::BodyStart;
use bytes::{Buf, Bytes};
use rand::RngExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The field by which answers differ.
pub(super) const SORT: &str = "x-sort";
/// The field that has the number of a question.
pub(super) const QUESTION: &str = "x-question";
/// For how long an answer may stand in for a failure, in seconds.
const STALE_IF_ERROR_S: u64 = 2;

/// What is asked for: a page of a host, in one sort or another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Page {
    pub(super) host: String,
    pub(super) path: String,
    pub(super) sort: String,
}

impl Page {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let sort = request.fields.only(SORT).unwrap_or_default().to_owned();
        let path = request.target.as_str().to_owned();
        Self { host: request.authority.clone(), path, sort }
    }
}

/// A content that the origin gave.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) page: Page,
    /// Only those who want the same sort may get it.
    pub(super) varies: bool,
    /// It is for this question alone.
    pub(super) only: Option<u64>,
    /// When it was true last.
    pub(super) confirmed: Time,
    /// Until when some server may give it away without asking, in seconds since 1970.
    pub(super) until_s: u64,
    pub(super) stale_if_error_s: u64,
}

/// What an origin was asked, and answered.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// What clients asked for, and the content that they said they hold.
    pub(super) questions: BTreeMap<u64, (Page, Option<u64>)>,
    pub(super) given: BTreeMap<u64, Given>,
    pub(super) failures: Vec<(Time, Page)>,
}

/// A question that the origin has not answered.
#[derive(Debug)]
pub(super) struct OpenExchange {
    /// Tickets are used again.
    run: u64,
    request: Box<HttpRequest>,
    known: Option<Arc<Known>>,
    shared: bool,
}

impl World {
    /// A server passes a request to the origin, which looks at it a little later.
    pub(super) fn give_exchange(
        &mut self,
        (place, worker): Seat,
        ticket: u64,
        (request, known, shared): (Box<HttpRequest>, Option<Arc<Known>>, bool),
    ) {
        let (host, run) = (Host::Server(place), self.fresh_number());
        let life = self.life(host);
        let open = OpenExchange { run, request, known, shared };
        if let Some(process) = self.servers[place].workers.get_mut(worker) {
            process.exchanges.insert(ticket, open);
        }
        let delay = self.between(0, self.plan.source_ms);
        self.schedule(delay, Event::Exchange { host, life, worker, ticket, run, made: None });
    }

    /// The origin looks at a request, and answers a little later; or its answer has come.
    pub(super) fn exchange(
        &mut self,
        (host, worker): (Host, usize),
        (ticket, run): (u64, u64),
        made: Option<(Exchanged, Bytes)>,
    ) {
        let Host::Server(place) = host else {
            return;
        };
        let Some(process) = self.servers[place].workers.get_mut(worker) else {
            return;
        };
        // Nobody wants it any more, or it is another one by now.
        if process.exchanges.get(&ticket).is_none_or(|open| open.run != run) {
            return;
        }
        if let Some((exchanged, content)) = made {
            process.exchanges.remove(&ticket);
            process.contents.insert(ticket, content);
            let who = (&self.servers[place].name, worker);
            self.trace.got(self.now, who, "origin", &(ticket, &exchanged));
            self.with_server((place, worker), |machine, now| {
                machine.handle_exchanged(now, ticket, exchanged);
            });
            if let Some(process) = self.servers[place].workers.get_mut(worker) {
                process.contents.remove(&ticket);
            }
            return;
        }
        let Some(open) = process.exchanges.get_mut(&ticket) else {
            return;
        };
        let (request, known, shared) = (open.request.clone(), open.known.clone(), open.shared);
        let made = Some(match &request.body {
            RequestBody::Inline(body) => (self.do_posted((&body[..]).get_u64()), Bytes::new()),
            _ => self.look_at_page(&request, known, shared),
        });
        let (life, delay) = (self.life(host), self.between(0, self.plan.source_ms));
        self.schedule(delay, Event::Exchange { host, life, worker, ticket, run, made });
    }

    /// The origin executes a POST.
    fn do_posted(&mut self, number: u64) -> Exchanged {
        let now = self.now;
        self.trace.line(now, || format!("the origin executes call {number}"));
        if nature(number) != Nature::Refused {
            self.note_execution(number);
        }
        let (status, body) = match nature(number) {
            Nature::Answered => (200, PassedBody::Whole(answer(number))),
            Nature::Refused => (405, PassedBody::None),
            Nature::Failed => {
                return Exchanged::Failed { status: 502, text: "it does not work".to_owned() };
            }
        };
        Exchanged::Passed { status, fields: Fields::default(), body }
    }

    fn look_at_page(
        &mut self,
        request: &HttpRequest,
        known: Option<Arc<Known>>,
        shared: bool,
    ) -> (Exchanged, Bytes) {
        let (page, now) = (Page::of(request), self.now);
        let is_odd = page.path.ends_with('3');
        if is_odd && self.random.random_bool(0.4) {
            self.origin.failures.push((now, page));
            let failed = Exchanged::Failed { status: 502, text: "it is not there".to_owned() };
            return (failed, Bytes::new());
        }
        let known = known.filter(|_| shared && self.random.random()).and_then(|known| {
            let serial = known.response().and_then(|it| serial_of(&it.fields))?;
            let given = self.origin.given.get(&serial)?;
            let same = (&given.page.host, &given.page.path) == (&page.host, &page.path);
            let same = same && (!given.varies || given.page.sort == page.sort);
            same.then_some((serial, known))
        });
        let varies = page.path.ends_with('1') || (is_odd && self.random.random());
        let is_private = page.path.ends_with('2') || self.random.random_bool(0.1);
        let serial = match &known {
            Some((serial, _)) => *serial,
            None => self.fresh_number(),
        };
        let lifetime_s = self.random.random_range(0..=2);
        let until_s = now.as_secs() + lifetime_s;
        let stale_if_error_s = if is_odd { STALE_IF_ERROR_S } else { 0 };
        let mut fields = Fields::builder();
        let mut push = |name, value: &str| {
            fields.push(name, value.as_bytes()).expect("short fields");
        };
        push("etag", &etag(serial));
        match (is_private && known.is_none(), is_odd) {
            (true, _) => push("cache-control", "private"),
            (_, true) => push(
                "cache-control",
                &format!("max-age={lifetime_s}, stale-if-error={STALE_IF_ERROR_S}"),
            ),
            _ => push("cache-control", &format!("max-age={lifetime_s}")),
        }
        if varies && known.is_none() {
            push("vary", SORT);
        }
        let fields = fields.finish();
        if let Some((serial, known)) = known {
            if let Some(given) = self.origin.given.get_mut(&serial) {
                (given.confirmed, given.until_s) = (now, until_s.max(given.until_s));
            }
            let kept = known.response().map(|it| it.fields.clone()).unwrap_or_default();
            let fields = freshened(&kept, &fields).expect("few fields");
            let response = Arc::new(response_of(request, fields, now));
            return (Exchanged::Unchanged { response }, Bytes::new());
        }
        let only = is_private.then(|| question_of(&request.fields)).flatten();
        let given = Given { page, varies, only, confirmed: now, until_s, stale_if_error_s };
        self.origin.given.insert(serial, given);
        self.make_page(request, (serial, fields), shared)
    }

    /// A new content, which is kept if it may be.
    fn make_page(
        &mut self,
        request: &HttpRequest,
        (serial, fields): (u64, Fields),
        shared: bool,
    ) -> (Exchanged, Bytes) {
        let mut content = serial.to_be_bytes().to_vec();
        content.resize(pick(&mut self.random, &[20, 1_000, 20_000]), serial as u8);
        let content = Bytes::from(content);
        let response = response_of(request, fields, self.now);
        if shared && response.storage.storable {
            let vary = response.storage.vary.clone();
            let version = Version::new(response.fields.header_block(), content);
            let version = version.with_response(Arc::new(response));
            return (Exchanged::Kept { version, vary }, Bytes::new());
        }
        let is_open = self.random.random();
        let body = if is_open { PassedBody::Open } else { PassedBody::Whole(content.clone()) };
        (Exchanged::Passed { status: 200, fields: response.fields, body }, content)
    }

    /// Nobody wants the answer any more.
    pub(super) fn drop_exchange(&mut self, (place, worker): Seat, ticket: u64) {
        if let Some(process) = self.servers[place].workers.get_mut(worker) {
            process.exchanges.remove(&ticket);
        }
    }

    /// Sends what an answer has open, in pieces.
    pub(super) fn send_open(&mut self, seat: Seat, to: &Link, request_id: u64, ticket: u64) {
        let process = self.servers[seat.0].workers.get_mut(seat.1);
        let Some(mut content) = process.and_then(|it| it.contents.remove(&ticket)) else {
            return;
        };
        let mut pieces = Vec::new();
        while !content.is_empty() {
            let piece = content.split_to(self.random.random_range(1..=content.len()));
            pieces.extend([piece_start(piece.len()), piece]);
        }
        pieces.push(content_end(&Fields::default()));
        let start = BodyStart { request_id, offset: 0 };
        self.send_body(seat, to, start, &pieces.concat().into(), Bytes::new());
    }
}

pub(super) fn etag(serial: u64) -> String {
    format!("\"{serial}\"")
}

pub(super) fn serial_of(fields: &Fields) -> Option<u64> {
    fields.only("etag")?.trim_matches('"').parse().ok()
}

fn question_of(fields: &Fields) -> Option<u64> {
    fields.only(QUESTION)?.parse().ok()
}

fn response_of(request: &HttpRequest, fields: Fields, now: Time) -> Response {
    let exchange = Exchange {
        method: &request.method,
        request: &request.fields,
        status: 200,
        response: &fields,
        asked_s: now.as_secs(),
        answered_s: now.as_secs(),
    };
    let storage = decide(&exchange);
    Response { status: 200, fields, storage }
}
