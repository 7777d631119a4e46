//! Bodies on their way from servers to clients, and how they go on when their server is lost.
//!
//! A body that was announced to a client belongs to one version, named by its tag. When its server
//! is lost, the request goes to the next primary with that tag and the number of bytes that were
//! passed on; if that one has the same version, its bytes follow on the client's stream as if
//! nothing had happened. If not, the stream is reset and the client asks again.

use super::{Output, Request, Router, SessionId, Stage};
use crate::assign::ServerIndex;
use crate::wire::backplane::Resume;
use crate::wire::lane::{BodyStart, streamed_tag};
use crate::wire::{Frame, Tag, Time};

/// A body that was announced to a client.
#[derive(Debug)]
pub(super) struct Body {
    /// The shell's name for it: the number of the request whose reply announced it.
    number: u64,
    /// The version. `None` if that is not known before its end: it cannot go on elsewhere.
    tag: Option<Tag>,
    /// Bytes that were passed on by servers that are lost.
    passed: u64,
    /// Whether the client's stream was opened.
    begun: bool,
}

impl Body {
    /// What the next server is to be asked.
    pub(super) fn resume(&self) -> Option<Resume> {
        Some(Resume { offset: self.passed, tag: self.tag? })
    }
}

/// Where a body that came from a server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRoute {
    /// Whose.
    pub session: SessionId,
    /// The body. If it was suspended, it goes on, on the client's stream that was kept open.
    pub body: u64,
    /// How the client's stream starts, if it is a new one.
    pub start: BodyStart,
}

/// What becomes of a body that came from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyVerdict {
    /// It goes to a client.
    Wanted(BodyRoute),
    /// The reply that announces it has not come yet: ask again after the next replies.
    Early,
    /// Nobody waits for it.
    Unwanted,
}

impl Router {
    /// A reply that announces a body came, by the number of its request.
    pub(super) fn expect_body(&mut self, number: u64, from: ServerIndex, reply: &Frame) {
        if let Some(request) = self.requests.get_mut(number) {
            request.stage = Stage::Body { server: from, begun: false };
            let tag = streamed_tag(reply);
            request.body = Some(Box::new(Body { number, tag, passed: 0, begun: false }));
        }
    }

    /// A body begins to come from a server.
    pub fn handle_body(&mut self, from: ServerIndex, request_id: u64, offset: u64) -> BodyVerdict {
        let Some(request) = self.requests.get_mut(request_id) else {
            return BodyVerdict::Unwanted;
        };
        let inner_id = request.inner_id();
        match (&mut request.stage, &mut request.body) {
            (Stage::Asked { entry, hedge }, _)
                if entry.primary() == from || *hedge == Some(from) =>
            {
                BodyVerdict::Early
            }
            (Stage::Body { server, begun }, Some(body))
                if *server == from && !*begun && body.passed == offset =>
            {
                (*begun, body.begun) = (true, true);
                let start = BodyStart { request_id: inner_id, offset };
                let (session, body) = (request.session, body.number);
                BodyVerdict::Wanted(BodyRoute { session, body, start })
            }
            _ => BodyVerdict::Unwanted,
        }
    }

    /// A body was passed on to its end, or nobody takes the rest.
    pub fn handle_body_ended(&mut self, request_id: u64) {
        if let Some(request) = self.requests.remove(request_id) {
            self.end(&request);
        }
    }

    /// A body broke off at its server when so many bytes had been passed on since
    /// [`Router::handle_body`]; the client's stream is still open.
    /// Whether anybody still waits for it.
    pub fn handle_body_broken(&mut self, now: Time, request_id: u64, passed: u64) -> bool {
        let Some(mut request) = self.requests.remove(request_id) else {
            return false;
        };
        if let Some(body) = &mut request.body {
            body.passed += passed;
        }
        self.resume_elsewhere(now, request);
        true
    }

    /// The server of a body is gone, or does not send it to its end.
    fn resume_elsewhere(&mut self, now: Time, mut request: Request) {
        if request.body.as_ref().is_some_and(|body| body.tag.is_some()) {
            request.deadline = now + self.config.request_timeout;
            request.stage = Stage::Waiting;
            self.dispatch(now, request);
        } else {
            self.answer_unavailable(request, "the body broke off at its server".to_owned());
        }
    }

    /// The server of a request is gone.
    pub(super) fn move_elsewhere(&mut self, now: Time, number: u64) {
        let stage = self.requests.get(number).map(|request| &request.stage);
        if let Some(Stage::Body { begun: true, .. }) = stage {
            let body = self.requests.get(number).and_then(|request| request.body.as_ref());
            let body = body.map_or(number, |body| body.number);
            // It is moved when it is known how much was passed on.
            return self.outputs.push_back(Output::SuspendBody { body });
        }
        let Some(request) = self.requests.remove(number) else {
            return;
        };
        match request.stage {
            Stage::Body { .. } => self.resume_elsewhere(now, request),
            _ => self.dispatch_again(now, request),
        }
    }

    /// A server answered a request for the rest of a body.
    pub(super) fn handle_resumed(&mut self, number: u64, from: ServerIndex, reply: &Frame) {
        let same = |request: &Request| {
            let body = request.body.as_ref();
            body.is_some_and(|body| body.tag.is_some() && body.tag == streamed_tag(reply))
        };
        if self.requests.get(number).is_some_and(same) {
            self.counters.resumed_bodies += 1;
            if let Some(request) = self.requests.get_mut(number) {
                request.stage = Stage::Body { server: from, begun: false };
            }
        } else if let Some(request) = self.requests.remove(number) {
            self.answer_unavailable(request, "the item changed while it was sent".to_owned());
        }
    }

    /// The client asks anew, or is gone: what it has of the body is of no use.
    pub(super) fn abandon_body(&mut self, request: &Request) {
        if let Some(body) = &request.body {
            self.counters.abandoned_bodies += 1;
            if body.begun {
                self.outputs.push_back(Output::AbandonBody { body: body.number });
            }
        }
    }

    /// A session is gone, with its streams.
    pub(super) fn forget_bodies(&mut self, session: SessionId) {
        let of_session = self.requests.iter().filter(|(_, request)| request.session == session);
        let begun = of_session.filter_map(|(_, request)| request.body.as_ref());
        let begun: Vec<_> = begun.filter(|body| body.begun).map(|body| body.number).collect();
        let abandon = begun.into_iter().map(|body| Output::AbandonBody { body });
        self.outputs.extend(abandon);
    }
}
