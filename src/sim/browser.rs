//! Clients that speak HTTP: the connections that they open, as browsers do, and what they ask for.
//!
//! One has up to two connections at a time, to whichever routers, and shows on each of them the
//! token that it was given last. What it asks for is in `asking`, what it may be told in `answers`.

use super::checks::Check;
use super::client::Expected;
use super::cluster::World;
use super::events::Event;
use super::network::{ConnectionId, DIALLER, Host, Stream};
use crate::wire::http::HttpAnswer;
use crate::wire::lane::{BodyStart, Outcome, Reply};
use crate::wire::session::{Assigned, GoawayReason, Hello, OLDEST_VERSION, VERSION, Welcome};
use crate::wire::{Assignment, ClientId, Frame, FrameType, HeaderBlock, Key, Time};
use bytes::Bytes;
use rand::RngExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// Connections of a client at a time, at the most.
const MAX_LINKS: usize = 2;

/// A version that a client holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) etag: String,
    pub(super) headers: HeaderBlock,
    pub(super) bytes: Bytes,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// An item.
    Item {
        key: Key,
        is_head: bool,
        /// What the client says that it holds.
        known: Option<Held>,
        /// From the first byte up to and with the last one.
        range: Option<(u64, Option<u64>)>,
        /// The version that the range is meant of.
        if_range: Option<String>,
    },
    /// Something is to be done: the number of the call.
    Call(u64),
    /// What an origin has: the number of the question.
    Page(u64),
}

/// A request that has not been answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) link: ConnectionId,
    pub(super) at: Time,
    pub(super) wanted: Wanted,
    pub(super) expected: Expected,
    /// Its answer, whose content is on its way.
    pub(super) answer: Option<HttpAnswer>,
    /// The content, which may be faster than its answer.
    pub(super) content: Option<Bytes>,
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct BrowserLink {
    pub(super) welcomed: bool,
    /// What it was told of its servers.
    pub(super) told: Option<Assignment>,
}

/// A client that speaks HTTP.
#[derive(Default)]
pub(super) struct Browser {
    pub(super) links: BTreeMap<ConnectionId, BrowserLink>,
    token: Option<Bytes>,
    pub(super) client: Option<ClientId>,
    pub(super) open: BTreeMap<u64, Asked>,
    /// What it asks for when it has room.
    pub(super) todo: Vec<(Key, Expected)>,
    pub(super) held: BTreeMap<Key, Held>,
    /// The content that it got last under a path of an origin.
    pub(super) pages: BTreeMap<String, u64>,
    /// Numbers streams.
    pub(super) next_stream: u64,
    /// Counts connections, which go to one router after the other.
    router: usize,
}

impl Browser {
    /// The process is gone.
    pub(super) fn stop(&mut self) {
        self.links.clear();
        self.open.clear();
        self.todo.clear();
    }

    /// Whether it has asked for all that it was to ask for, and has got it.
    pub(super) fn is_done(&self) -> bool {
        self.open.is_empty() && self.todo.is_empty()
    }
}

impl World {
    /// Adds a client that speaks HTTP, and starts it.
    pub(super) fn add_browser(&mut self) {
        let place = self.browsers.len();
        self.browsers.push(Browser::default());
        self.start(Host::Browser(place));
    }

    pub(super) fn start_browser(&mut self, place: usize) {
        let host = Host::Browser(place);
        let life = self.life(host);
        self.schedule(Duration::ZERO, Event::Work { host, life });
        self.turn_browser(place);
    }

    /// Connects, if there is no connection, or perhaps once more. Without a token a second
    /// connection would be another client's.
    pub(super) fn turn_browser(&mut self, place: usize) {
        let (links, known) =
            (self.browsers[place].links.len(), self.browsers[place].token.is_some());
        let once_more = known && links < MAX_LINKS && self.random.random_bool(0.5);
        if links == 0 || once_more {
            self.browsers[place].router += 1;
            let router = Host::Router(self.browsers[place].router % self.routers.len());
            let id = self.dial(Host::Browser(place), 0, router);
            self.browsers[place].links.insert(id, BrowserLink::default());
        }
    }

    pub(super) fn browser_connected(&mut self, place: usize, id: ConnectionId) {
        let token = self.browsers[place].token.clone();
        let hello = Hello { oldest: OLDEST_VERSION, newest: VERSION, token, pool: None };
        self.send_frame(id, DIALLER, Stream::First, &hello.encode());
    }

    pub(super) fn browser_lost(&mut self, place: usize, id: ConnectionId) {
        let browser = &mut self.browsers[place];
        if browser.links.remove(&id).is_some() {
            browser.open.retain(|_, asked| asked.link != id);
            let pause = self.between(20, 300);
            self.arm(Host::Browser(place), 0, self.now + pause);
        }
    }

    pub(super) fn browser_received(&mut self, place: usize, id: ConnectionId, stream: Stream) {
        while let Some(frame) =
            self.connections.get_mut(&id).and_then(|it| it.next_frame(DIALLER, stream))
        {
            if !self.browsers[place].links.contains_key(&id) {
                return;
            }
            self.trace.bytes(frame.bytes());
            match frame.kind() {
                FrameType::Welcome => match Welcome::decode(frame.payload()) {
                    Ok(welcome) => self.browser_welcomed(place, id, welcome),
                    Err(error) => self.fail(Check::Codec, error.to_string()),
                },
                FrameType::Assigned => match Assigned::decode(frame.payload()) {
                    Ok(Assigned { token, assignment }) => {
                        let browser = &mut self.browsers[place];
                        browser.token = Some(token);
                        browser.links.entry(id).or_default().told = Some(assignment);
                    }
                    Err(error) => self.fail(Check::Codec, error.to_string()),
                },
                FrameType::Goaway => {
                    if matches!(GoawayReason::decode(frame.payload()), Ok(GoawayReason::Superseded))
                    {
                        self.fail(Check::Identity, format!("browser {place} was superseded"));
                    }
                }
                _ => self.browser_answered(place, &frame),
            }
        }
    }

    fn browser_welcomed(&mut self, place: usize, id: ConnectionId, welcome: Welcome) {
        let browser = &mut self.browsers[place];
        let before = browser.client.replace(welcome.client);
        if before.is_some_and(|before| before != welcome.client) {
            let what = format!("browser {place} was {before:?}, and is {}", welcome.client);
            self.fail(Check::Identity, what);
        }
        let browser = &mut self.browsers[place];
        browser.token = Some(welcome.token);
        let told = Some(welcome.assignment);
        browser.links.insert(id, BrowserLink { welcomed: true, told });
        self.turn_browser(place);
        self.go_on_asking(place);
    }

    fn browser_answered(&mut self, place: usize, frame: &Frame) {
        let Reply { request_id, outcome } = match Reply::decode(frame) {
            Ok(reply) => reply,
            Err(error) => return self.fail(Check::Codec, format!("{frame:?}: {error}")),
        };
        self.trace.got(self.now, Host::Browser(place), "router", &(request_id, &outcome));
        // It may have been taken back, or its body may have broken off before this was said of it.
        let Some(asked) = self.browsers[place].open.get_mut(&request_id) else {
            return;
        };
        match outcome {
            Outcome::Http(answer) if super::answers::is_streamed(&answer) => {
                if asked.answer.replace(answer).is_some() {
                    return self.fail(Check::EndsOnce, format!("{request_id} has two answers"));
                }
                self.complete(place, request_id);
            }
            outcome => {
                if let Some(asked) = self.browsers[place].open.remove(&request_id) {
                    self.check_outcome(place, &asked, outcome, None);
                }
                self.go_on_asking(place);
            }
        }
    }

    /// The stream of a body ended, or broke off.
    pub(super) fn browser_body(
        &mut self,
        place: usize,
        id: ConnectionId,
        stream: Stream,
        whole: bool,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let frame = connection.next_frame(DIALLER, stream);
        let bytes = std::mem::take(&mut connection.flow(DIALLER, stream).received).freeze();
        let start = frame.and_then(|frame| BodyStart::decode(frame.payload()).ok());
        self.trace.bytes(&bytes);
        let who = Host::Browser(place);
        self.trace.got(self.now, who, "router", &(start, bytes.len(), whole));
        let Some(BodyStart { request_id, .. }) = start else {
            return;
        };
        let Some(asked) = self.browsers[place].open.get_mut(&request_id) else {
            return;
        };
        if whole {
            asked.content = Some(bytes);
            return self.complete(place, request_id);
        }
        if let Some(asked) = self.browsers[place].open.remove(&request_id) {
            self.check_broken(place, &asked);
        }
        self.go_on_asking(place);
    }

    /// Looks whether a request has both its answer and its content.
    fn complete(&mut self, place: usize, stream: u64) {
        let open = &mut self.browsers[place].open;
        let whole = |asked: &mut Asked| asked.answer.is_some() && asked.content.is_some();
        let is_whole = open.get_mut(&stream).is_some_and(whole);
        if let Some(mut asked) = is_whole.then(|| open.remove(&stream)).flatten() {
            let (answer, content) = (asked.answer.take(), asked.content.take());
            if let Some(answer) = answer {
                self.check_outcome(place, &asked, Outcome::Http(answer), content);
            }
            self.go_on_asking(place);
        }
    }
}
