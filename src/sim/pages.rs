//! What clients ask an HTTP origin for, and what they may be given of its answers.

use super::asking::a_request;
use super::browser::{Asked, Wanted};
use super::client::Expected;
use super::cluster::World;
use super::network::ConnectionId;
use super::origin::{Page, QUESTION, SORT, etag, serial_of};
use super::plan::pick;
use crate::wire::http::{Fields, HttpAnswer, HttpRequest, Piece, PieceReader};
use bytes::Bytes;
use rand::RngExt;

impl World {
    /// A client asks for a page.
    pub(super) fn ask_origin(&mut self, place: usize, id: ConnectionId) {
        let number = self.fresh_number();
        let page = Page {
            host: pick(&mut self.random, &["a.example", "b.example"]).to_owned(),
            path: format!("/page/{}", self.random.random_range(0..4)),
            sort: pick(&mut self.random, &["up", "down"]).to_owned(),
        };
        let held = self.browsers[place].pages.get(&page.path).copied();
        let held = held.filter(|_| self.random.random());
        let mut fields = Fields::builder();
        let mut push = |name, value: &str| {
            fields.push(name, value.as_bytes()).expect("short fields");
        };
        push(SORT, &page.sort);
        push(QUESTION, &number.to_string());
        if let Some(held) = held {
            push("if-none-match", &etag(held));
        }
        let authority = page.host.clone();
        let request = HttpRequest { authority, ..a_request(&page.path, fields.finish()) };
        self.origin.questions.insert(number, (page, held));
        self.ask(place, id, (Wanted::Page(number), Expected::Anything), request);
    }

    /// Whether a client may be given this.
    pub(super) fn check_page(
        &mut self,
        place: usize,
        number: u64,
        asked: &Asked,
        answer: &HttpAnswer,
        content: Option<&Bytes>,
    ) -> bool {
        let Some((page, known)) = self.origin.questions.remove(&number) else {
            return false;
        };
        let now = self.now;
        let same_path = |of: &Page| (&of.host, &of.path) == (&page.host, &page.path);
        let has_failed = self
            .origin
            .failures
            .iter()
            .rev()
            .any(|(at, failed)| asked.at <= *at && *at <= now && same_path(failed));
        let serial = match (answer.status, content) {
            (502, _) => return has_failed,
            (304, None) => known,
            (200, Some(content)) => content.first_chunk().map(|it| u64::from_be_bytes(*it)),
            _ => return false,
        };
        let Some((serial, given)) = serial.and_then(|it| Some((it, self.origin.given.get(&it)?)))
        else {
            return false;
        };
        let until_s = given.until_s + if has_failed { given.stale_if_error_s } else { 0 };
        let is_fresh = asked.at <= given.confirmed || asked.at.as_secs() < until_s;
        let is_whole = content.is_none_or(|content| {
            [20, 1_000, 20_000].contains(&content.len())
                && content[8..].iter().all(|byte| *byte == serial as u8)
        });
        self.browsers[place].pages.insert(page.path.clone(), serial);
        same_path(&given.page)
            && (!given.varies || given.page.sort == page.sort)
            && given.only.is_none_or(|only| only == number)
            && serial_of(&answer.fields) == Some(serial)
            && (is_fresh || given.only.is_some())
            && is_whole
    }
}

/// Takes content together that came in pieces. `None` if it did not come to its end.
pub(super) fn joined(mut bytes: Bytes) -> Option<Bytes> {
    let (mut reader, mut content) = (PieceReader::default(), Vec::new());
    while let Ok(Some(piece)) = reader.next(&mut bytes) {
        match piece {
            Piece::Data(piece) => content.extend_from_slice(&piece),
            Piece::End(_) => return Some(content.into()),
        }
    }
    None
}
