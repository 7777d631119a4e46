//! Clients that speak HTTP: their connections are sessions without HELLO, and each of their
//! requests is one HTTP_REQUEST of the front's.
//!
//! What differs from native clients: several connections may belong to one client, as browsers
//! open them, so a newer one does not end an older one; a request can be taken back; and the
//! content of a request may come on a stream of its own, once its server asks for it.

use super::{LaneId, Output, Request, Router, SessionId, Stage};
use crate::assign::ServerIndex;
use crate::node::Fault;
use crate::wire::backplane::Message;
use crate::wire::http::HTTP_VERSION;
use crate::wire::session::{Hello, VERSION};
use crate::wire::{FrameType, Time};
use bytes::Bytes;
use std::time::Duration;

/// How long the content of a request may take, and its answer: as long as it goes on.
const CONTENT_TIMEOUT: Duration = Duration::from_secs(3600);

/// The lane of all requests of an HTTP session: there is nothing that it stands for.
pub const HTTP_LANE: LaneId = 1;

/// The requests of an HTTP session that are at a server or wait for one: the front's number of
/// each, and ours, which changes with each attempt.
#[derive(Debug, Default)]
pub(super) struct Current(Vec<(u64, u64)>);

impl Current {
    fn set(&mut self, inner_id: u64, number: u64) {
        match self.0.iter_mut().find(|(inner, _)| *inner == inner_id) {
            Some((_, known)) => *known = number,
            None => self.0.push((inner_id, number)),
        }
    }

    fn find(&self, inner_id: u64) -> Option<u64> {
        self.0.iter().find(|(inner, _)| *inner == inner_id).map(|(_, number)| *number)
    }

    pub(super) fn remove(&mut self, inner_id: u64) {
        if let Some(place) = self.0.iter().position(|(inner, _)| *inner == inner_id) {
            self.0.swap_remove(place);
        }
    }
}

impl Router {
    /// The client of a connection that speaks HTTP shows its token, or has none.
    pub fn handle_http_client(&mut self, now: Time, session: SessionId, token: Option<Bytes>) {
        if let Some(known) = self.sessions.get_mut(session.0) {
            known.http = Some(Box::default());
        }
        let hello = Hello { oldest: HTTP_VERSION, newest: VERSION, token, pool: None };
        self.admit(now, session, hello);
    }

    /// The client does not want the answer any more.
    pub fn handle_cancelled(&mut self, session: SessionId, inner_id: u64) {
        if self.config.planted.is(Fault::KeepsCancelled) {
            return;
        }
        let current = self.sessions.get(session.0).and_then(|known| known.http.as_ref());
        let Some(number) = current.and_then(|current| current.find(inner_id)) else {
            return;
        };
        let Some(request) = self.requests.remove(number) else {
            return;
        };
        if let Stage::Asked { entry, hedge } = request.stage {
            for server in [Some(entry.primary()), hedge].into_iter().flatten() {
                let cancel = Message::Cancel { request_id: number }.encode();
                self.send_to_owner(server, &request.client, cancel);
            }
        }
        self.abandon_body(&request);
        self.end(&request);
    }

    /// The connection of a client is gone: none of its answers is wanted.
    pub(super) fn cancel_all(&mut self, session: SessionId) {
        let current = self.sessions.get(session.0).and_then(|known| known.http.as_ref());
        let inner_ids: Vec<_> =
            current.into_iter().flat_map(|current| current.0.iter().map(|(id, _)| *id)).collect();
        for inner_id in inner_ids {
            self.handle_cancelled(session, inner_id);
        }
    }

    /// A server has taken a request, and wants its content.
    pub(super) fn handle_want_body(
        &mut self,
        now: Time,
        from: ServerIndex,
        worker: u64,
        number: u64,
    ) {
        if self.asked(number, from).is_some()
            && let Some(request) = self.requests.get_mut(number)
        {
            // Client, origin and server are each watched for going on with it.
            request.deadline = now + CONTENT_TIMEOUT;
            let (session, inner_id) = (request.session, request.inner_id());
            let output = Output::SendContent { session, inner_id, server: from, worker, number };
            self.outputs.push_back(output);
        }
    }

    /// Whether the session speaks HTTP.
    pub(super) fn is_http(&self, session: SessionId) -> bool {
        self.sessions.get(session.0).is_some_and(|known| known.http.is_some())
    }

    /// Keeps a request under a new number.
    pub(super) fn keep(&mut self, request: Request) -> u64 {
        if request.frame.kind() != FrameType::HttpRequest {
            return self.requests.insert(request);
        }
        let (session, inner_id) = (request.session, request.inner_id());
        let number = self.requests.insert(request);
        if let Some(known) = self.sessions.get_mut(session.0)
            && let Some(current) = &mut known.http
        {
            current.set(inner_id, number);
        }
        number
    }
}
