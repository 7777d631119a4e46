//! What clients that speak HTTP ask for, and what they take back.

use super::browser::{Asked, Wanted};
use super::checks::Check;
use super::client::Expected;
use super::cluster::World;
use super::network::{ConnectionId, DIALLER, Stream};
use super::source::{Kind, State};
use crate::wire::Key;
use crate::wire::backplane::Message;
use crate::wire::http::{Fields, HttpRequest, RequestBody, RequestTarget, Scheme};
use bytes::Bytes;
use rand::RngExt;

/// A tag that no version has.
const MADE_UP_TAG: &str = "\"made-up\"";

impl World {
    /// A connection on which a further request has room.
    fn link_with_room(&mut self, place: usize) -> Option<ConnectionId> {
        let browser = &self.browsers[place];
        let has_room = |id: ConnectionId| {
            let open = browser.open.values().filter(|asked| asked.link == id).count();
            (open as u64) < self.plan.in_flight
        };
        let links = browser.links.iter().filter(|(id, link)| link.welcomed && has_room(**id));
        let links: Vec<_> = links.map(|(id, _)| *id).collect();
        (!links.is_empty()).then(|| links[self.random.random_range(0..links.len())])
    }

    pub(super) fn work_of_browser(&mut self, place: usize) {
        match self.random.random_range(0..20) {
            0..4 => return self.take_back(place),
            4 => return self.close_link(place),
            5 => return self.turn_browser(place),
            _ => {}
        }
        let Some(id) = self.link_with_room(place) else {
            return;
        };
        if self.random.random_bool(0.25) {
            self.post(place, id);
        } else if self.plan.origin {
            self.ask_origin(place, id);
        } else {
            let known = self.source.keys().len();
            let key = match self.random.random_range(0..=known) {
                number if number < known => self.source.keys()[number].clone(),
                _ => "/nothing/here".parse().expect("a key"),
            };
            self.ask_item(place, id, key, Expected::Anything);
        }
    }

    /// Does not want the answer to a request any more.
    fn take_back(&mut self, place: usize) {
        let browser = &self.browsers[place];
        let last = browser.open.last_key_value().map(|(stream, asked)| (*stream, asked.link));
        if let Some((stream, id)) = last {
            self.trace.line(self.now, || format!("browser {place} takes {stream} back"));
            self.browsers[place].open.remove(&stream);
            let frame = Message::Cancel { request_id: stream }.encode();
            self.send_frame(id, DIALLER, Stream::Lane, &frame);
        }
    }

    fn close_link(&mut self, place: usize) {
        let first = self.browsers[place].links.iter().find(|(_, link)| link.welcomed);
        if let Some((id, _)) = first {
            let id = *id;
            self.give_up(id, DIALLER);
            self.browser_lost(place, id);
        }
    }

    /// Has something done that may not be done twice.
    pub(super) fn post(&mut self, place: usize, id: ConnectionId) {
        let (number, body) = self.new_call(false);
        let request = HttpRequest {
            idempotent: false,
            method: "POST".to_owned(),
            target: RequestTarget::new(Self::called_key().as_bytes().clone()).expect("a target"),
            body: RequestBody::Inline(body),
            ..a_request("/", Fields::default())
        };
        self.ask(place, id, (Wanted::Call(number), Expected::Anything), request);
    }

    fn ask_item(&mut self, place: usize, id: ConnectionId, key: Key, expected: Expected) {
        let held = self.browsers[place].held.get(&key).cloned();
        let (known, is_head, range) = match expected {
            Expected::UseCached => (held.clone(), false, None),
            _ => {
                let first = self.random.random_range(0..3_000);
                let last = self.random.random_bool(0.7).then(|| first + first * 7 % 2_000);
                (
                    held.clone().filter(|_| self.random.random_bool(0.7)),
                    self.random.random_bool(0.1),
                    self.random.random_bool(0.25).then_some((first, last)),
                )
            }
        };
        let if_range = range.and(held).filter(|_| self.random.random_bool(0.5));
        let if_range = if_range.map(|held| held.etag);
        let mut fields = Fields::builder();
        let mut push = |name, value: &str| {
            fields.push(name, value.as_bytes()).expect("short fields");
        };
        match &known {
            Some(held) if self.random.random() => {
                push("if-none-match", &format!("{MADE_UP_TAG}, {}", held.etag));
            }
            Some(held) => push("if-none-match", &held.etag),
            None if self.random.random_bool(0.2) => push("if-none-match", MADE_UP_TAG),
            None => {}
        }
        match range {
            Some((first, Some(last))) => push("range", &format!("bytes={first}-{last}")),
            Some((first, None)) => push("range", &format!("bytes={first}-")),
            None => {}
        }
        if let Some(tag) = &if_range {
            push("if-range", tag);
        }
        let mut request = a_request(key.as_str(), fields.finish());
        if is_head {
            request.method = "HEAD".to_owned();
        }
        let wanted = Wanted::Item { key, is_head, known, range, if_range };
        self.ask(place, id, (wanted, expected), request);
    }

    pub(super) fn ask(
        &mut self,
        place: usize,
        link: ConnectionId,
        (wanted, expected): (Wanted, Expected),
        request: HttpRequest,
    ) {
        let browser = &mut self.browsers[place];
        let (stream, at) = (browser.next_stream, self.now);
        browser.next_stream += 1;
        let asked = Asked { link, at, wanted, expected, answer: None, content: None };
        self.trace.line(at, || format!("browser {place} asks {stream}: {asked:?}"));
        browser.open.insert(stream, asked);
        let frame = HttpRequest { request_id: stream, ..request }.encode();
        self.send_frame(link, DIALLER, Stream::Lane, &frame);
    }

    /// Asks for everything, or again for what it holds of what servers share.
    pub(super) fn ask_all_of_browser(&mut self, place: usize, expected: Expected) {
        if self.browsers[place].links.values().all(|link| !link.welcomed) {
            return self.fail(Check::Rest, format!("browser {place} has no connection"));
        }
        let is_current = |world: &Self, key: &Key| {
            world.source.kind(key) != Kind::Unique
                && world.browsers[place].held.get(key).is_some_and(|held| {
                    matches!(world.source.state(key), State::Present(now)
                        if (now.headers(), now.body()) == (&held.headers, &held.bytes))
                })
        };
        let keys = self.source.keys().iter();
        let keys = keys.filter(|key| expected != Expected::UseCached || is_current(self, key));
        let keys: Vec<_> = keys.map(|key| (key.clone(), expected)).collect();
        self.browsers[place].todo = keys;
        self.go_on_asking(place);
    }

    /// Asks for what is left, as far as there is room.
    pub(super) fn go_on_asking(&mut self, place: usize) {
        while !self.browsers[place].todo.is_empty()
            && let Some(id) = self.link_with_room(place)
            && let Some((key, expected)) = self.browsers[place].todo.pop()
        {
            match self.plan.origin {
                true => self.ask_origin(place, id),
                false => self.ask_item(place, id, key, expected),
            }
        }
    }
}

/// A GET.
pub(super) fn a_request(target: &str, fields: Fields) -> HttpRequest {
    HttpRequest {
        request_id: 0,
        idempotent: true,
        method: "GET".to_owned(),
        scheme: Scheme::Https,
        authority: "a.example".to_owned(),
        target: RequestTarget::new(Bytes::copy_from_slice(target.as_bytes())).expect("a target"),
        fields,
        body: RequestBody::None,
    }
}
