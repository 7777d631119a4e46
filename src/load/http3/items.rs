//! What the client of one HTTP/3 connection holds, and how it asks about it.

use super::request::{Answer, Held, Wanted};
use crate::load::config::Mode;
use crate::load::shared::Shared;
use crate::load::tally::{FailureKind, ReplyKind};
use crate::wire::Key;
use http::StatusCode;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Of so many requests of the mixed mode, one is without a validator, and one by a made-up key.
const MIXED_EVERY: u32 = 10;
/// Keys that are made up before the first of them is used again.
const FRESH_KEYS: u32 = 4_096;

/// What the client holds.
pub(super) struct Items {
    shared: Rc<Shared>,
    held: RefCell<Vec<Option<Held>>>,
    next: Cell<usize>,
    mixed: Cell<u32>,
    fresh: Cell<u32>,
}

/// A request that was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    number: usize,
    /// Whether the client says what it holds.
    is_conditional: bool,
    /// Distinguishes a made-up key; 0 is none.
    fresh: u32,
}

impl Items {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        let held = RefCell::new(vec![None; shared.keys.len()]);
        Self { shared, held, next: Cell::new(0), mixed: Cell::new(0), fresh: Cell::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.shared.keys.len()
    }

    pub(super) fn key(&self, number: usize) -> &Key {
        &self.shared.keys[number]
    }

    /// Decides on the next request.
    pub(super) fn next(&self) -> Asked {
        let number = self.next.get();
        self.next.set((number + 1) % self.len());
        let plain = Asked { number, is_conditional: true, fresh: 0 };
        match self.shared.config.mode {
            Mode::Mixed => {
                self.mixed.set((self.mixed.get() + 1) % MIXED_EVERY);
                match self.mixed.get() {
                    0 => {
                        self.fresh.set(self.fresh.get() % FRESH_KEYS + 1);
                        Asked { is_conditional: false, fresh: self.fresh.get(), ..plain }
                    }
                    place if place == MIXED_EVERY / 2 => Asked { is_conditional: false, ..plain },
                    _ => plain,
                }
            }
            Mode::UseCached => plain,
            _ => Asked { is_conditional: false, ..plain },
        }
    }

    /// What goes over the wire for it.
    pub(super) fn request(&self, asked: &Asked) -> Wanted {
        let key = self.key(asked.number);
        let path = match asked.fresh {
            0 => key.to_string(),
            fresh if key.as_str().contains('?') => format!("{key}&fresh={fresh}"),
            fresh => format!("{key}?fresh={fresh}"),
        };
        let held = self.held.borrow();
        let copy = asked.is_conditional.then(|| held[asked.number].clone()).flatten();
        Wanted { path, copy }
    }

    /// The first request for an item.
    pub(super) fn first_request(&self, number: usize) -> Wanted {
        self.request(&Asked { number, is_conditional: false, fresh: 0 })
    }

    /// Takes the first answer.
    pub(super) fn first(&self, number: usize, answer: &Answer) -> Result<ReplyKind, FailureKind> {
        self.check(&Asked { number, is_conditional: false, fresh: 0 }, answer)
    }

    /// Whether the item has what it takes to ask whether it has changed, if that will be asked.
    pub(super) fn may_be_unchanged(&self, number: usize) -> bool {
        let held = self.held.borrow();
        let has_validator = held[number]
            .as_ref()
            .is_some_and(|held| held.etag.is_some() || held.last_modified.is_some());
        has_validator || self.shared.config.mode == Mode::Full
    }

    /// Checks an answer, and keeps what it says of the item.
    pub(super) fn check(&self, asked: &Asked, answer: &Answer) -> Result<ReplyKind, FailureKind> {
        let mut all = self.held.borrow_mut();
        let held = &mut all[asked.number];
        match answer.status {
            StatusCode::NOT_MODIFIED => {
                let mine = held.as_ref().and_then(|held| held.etag.as_ref());
                let theirs = answer.held.etag.as_ref();
                let is_same = mine.zip(theirs).is_none_or(|(mine, theirs)| mine == theirs);
                match (asked.is_conditional, is_same && answer.held.length == 0) {
                    (false, _) => Err(FailureKind::WrongReply),
                    (true, false) => Err(FailureKind::WrongTag),
                    (true, true) => Ok(ReplyKind::UseCached),
                }
            }
            StatusCode::OK => {
                if held.as_ref().is_some_and(|held| is_contradicted(held, &answer.held)) {
                    return Err(FailureKind::WrongBytes);
                }
                if asked.fresh == 0 {
                    *held = Some(answer.held.clone());
                }
                Ok(ReplyKind::Full)
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(ReplyKind::NotFound),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Ok(ReplyKind::Busy),
            _ => Ok(ReplyKind::Error),
        }
    }
}

/// Whether one strong ETag stands for two contents.
fn is_contradicted(held: &Held, found: &Held) -> bool {
    let is_strong =
        |held: &Held| held.etag.as_ref().is_some_and(|e| !e.as_bytes().starts_with(b"W"));
    let is_same = is_strong(held) && held.etag == found.etag;
    is_same && (held.length, held.crc) != (found.length, found.crc)
}
