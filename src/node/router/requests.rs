//! A client's requests: from a lane to a server, and their end.

use super::{LaneId, MAX_REQUESTS, Output, Request, Router, SessionId, Stage};
use crate::wire::http::HTTP_VERSION;
use crate::wire::lane::{self, ErrorCode, Outcome, Reply};
use crate::wire::session::{CloseCode, OLDEST_VERSION};
use crate::wire::{Frame, FrameType, Time};

/// When a client that asked for too much at once should come back.
const TOO_MANY_RETRY_MS: u64 = 10;

impl Router {
    /// A frame came on a lane. The shell reads lanes once the session is welcome.
    pub fn handle_lane_frame(&mut self, now: Time, session: SessionId, lane: LaneId, frame: Frame) {
        let known = self.sessions.get(session.0);
        let Some((client, is_http)) = known.and_then(|it| Some((it.client()?, it.http.is_some())))
        else {
            return;
        };
        let request = match frame.kind() {
            FrameType::Get | FrameType::Batch | FrameType::Call | FrameType::Inventory => !is_http,
            // Made by our own front; nobody else may say who a client is and whom it asks.
            FrameType::HttpRequest => is_http,
            _ => false,
        };
        let (true, Ok(_)) = (request, frame.request_id()) else {
            let reason = format!("a {:?} frame is no request", frame.kind());
            return self.close(now, session, CloseCode::ProtocolViolation, reason);
        };
        let idempotent = lane::is_idempotent(&frame);
        let pool = self.session_pool(session);
        let deadline = now + self.request_timeout(pool);
        let most = self.pools.get(pool).config.limits.in_flight;
        let Some(known) = self.sessions.get_mut(session.0) else {
            return;
        };
        known.in_flight += 1;
        let request = Request {
            session,
            lane,
            attempts: 0,
            idempotent,
            takes_deltas: known.version >= lane::BATCH_VERSION,
            client,
            frame,
            deadline,
            asked_at: now,
            stage: Stage::Waiting,
            body: None,
        };
        let full = self.requests.len() >= MAX_REQUESTS;
        if full || known.in_flight > most {
            let outcome = Outcome::Busy { retry_after_ms: TOO_MANY_RETRY_MS };
            return self.answer(request, outcome);
        }
        let since = version_of(request.frame.kind());
        if known.version < since {
            let text = format!("this is of version {since} of the protocol");
            return self.answer(request, Outcome::error(ErrorCode::NotSupported, text));
        }
        self.dispatch(now, request);
    }

    /// Answers a request ourselves.
    pub(super) fn answer(&mut self, request: Request, outcome: Outcome) {
        // The client asks again from the start.
        self.abandon_body(&request);
        let frame = Reply { request_id: request.inner_id(), outcome }.encode();
        self.answer_with((request.session, request.lane), frame);
        self.end(&request);
    }

    pub(super) fn answer_unavailable(&mut self, request: Request, text: String) {
        let sent = request.stage != Stage::Waiting;
        if request.idempotent || !sent {
            self.answer(request, Outcome::error(ErrorCode::Unavailable, text));
        } else {
            self.answer(request, Outcome::FateUnknown);
        }
    }

    pub(super) fn answer_with(&mut self, (session, lane): (SessionId, LaneId), frame: Frame) {
        self.replies.count(frame.kind());
        self.outputs.push_back(Output::ToLane { session, lane, frame });
    }

    /// A request is over.
    pub(super) fn end(&mut self, request: &Request) {
        if let Some(session) = self.sessions.get_mut(request.session.0) {
            session.in_flight -= 1;
            if let Some(current) = &mut session.http {
                current.remove(request.inner_id());
            }
        }
    }
}

/// The first version of the protocol that has a request.
pub(super) fn version_of(kind: FrameType) -> u64 {
    match kind {
        FrameType::Call => lane::CALL_VERSION,
        FrameType::Batch | FrameType::Inventory => lane::BATCH_VERSION,
        FrameType::HttpRequest => HTTP_VERSION,
        _ => OLDEST_VERSION,
    }
}
