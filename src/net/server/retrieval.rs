//! Questions to the source, and calls.

use super::Shell;
use crate::node::server::{CallResponse, Called, Retrieved};
use crate::source::{self, Answer, Freshness, SharedSource, SourceError};
use std::rc::Rc;
use std::sync::Arc;

/// A question to the source that is answered in any case: a source that panics costs one request,
/// not the wait of all who asked for that item.
pub(super) struct Retrieval {
    shell: Rc<Shell>,
    ticket: u64,
    answered: bool,
}

impl Retrieval {
    pub(super) fn new(shell: Rc<Shell>, ticket: u64) -> Self {
        Self { shell, ticket, answered: false }
    }

    /// Whom to ask.
    pub(super) fn source(&self) -> SharedSource {
        Arc::clone(&self.shell.source)
    }

    /// Hands the answer in.
    pub(super) fn answer(mut self, answer: Result<Answer, SourceError>) {
        let (answer, freshness) = match answer {
            Ok(Answer { retrieved, freshness }) => (Ok(retrieved), freshness),
            Err(error) => (Err(error), Freshness::default()),
        };
        let retrieved = self.translate(answer);
        self.answered = true;
        self.hand_in(retrieved, freshness);
    }

    /// The source's answer as the machine takes it; what stays open is kept here.
    fn translate(&self, answer: Result<source::Retrieved, SourceError>) -> Retrieved {
        match answer {
            Ok(source::Retrieved::Unchanged) => Retrieved::Unchanged,
            Ok(source::Retrieved::Version(version)) => Retrieved::Version(version),
            Ok(source::Retrieved::Unmirrored(item)) => {
                let (headers, length) = (item.headers.clone(), item.length);
                self.shell.opened.borrow_mut().insert(self.ticket, item);
                Retrieved::Unmirrored { headers, length }
            }
            Ok(source::Retrieved::NotFound) => Retrieved::NotFound,
            Err(SourceError::Refused(text)) => Retrieved::Refused(text),
            Err(SourceError::Failed(text)) => Retrieved::Failed(text),
        }
    }

    fn hand_in(&self, retrieved: Retrieved, freshness: Freshness) {
        let ticket = self.ticket;
        self.shell.with(|node, now| node.handle_retrieved(now, ticket, retrieved, freshness));
        // Left over if the machine had no more use for it.
        self.shell.opened.borrow_mut().remove(&ticket);
    }
}

impl Drop for Retrieval {
    fn drop(&mut self) {
        if !self.answered {
            let failed = Retrieved::Failed("the source panicked".into());
            self.hand_in(failed, Freshness::default());
        }
    }
}

/// A call that is answered in any case: one during which the source panics has failed.
pub(super) struct Calling {
    shell: Rc<Shell>,
    ticket: u64,
    answered: bool,
}

impl Calling {
    pub(super) fn new(shell: Rc<Shell>, ticket: u64) -> Self {
        Self { shell, ticket, answered: false }
    }

    /// Who executes it.
    pub(super) fn source(&self) -> SharedSource {
        Arc::clone(&self.shell.source)
    }

    /// Hands in what came of it.
    pub(super) fn answer(mut self, answer: Result<CallResponse, SourceError>) {
        self.answered = true;
        self.hand_in(match answer {
            Ok(response) => Called::Answered(response),
            Err(SourceError::Refused(text)) => Called::Refused(text),
            Err(SourceError::Failed(text)) => Called::Failed(text),
        });
    }

    fn hand_in(&self, called: Called) {
        self.shell.with(|node, now| node.handle_called(now, self.ticket, called));
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if !self.answered {
            self.hand_in(Called::Failed("the source panicked".into()));
        }
    }
}
