//! What servers answer.

use super::{BodyRoute, BodyVerdict, Request, Router, Stage, Title};
use crate::node::Fault;
use crate::wire::backplane::{Message, UseCachedBy};
use crate::wire::lane::{BodyStart, has_streamed_body};
use crate::wire::{Assignment, ClientId, Frame, Name, Time};

impl Router {
    /// A message came from a server.
    pub fn handle_server_message(&mut self, now: Time, from: &Name, message: Message) {
        self.heard_from(now, from);
        match message {
            Message::Reply { request_id, assignment, by, inner } => {
                if let Some(request) = self.take_asked(request_id, from) {
                    self.handle_reply(now, from, request_id, request, (assignment, by, inner));
                }
            }
            Message::NotOwner { request_id, known } => {
                if let Some(request) = self.take_asked(request_id, from) {
                    self.handle_not_owner(now, from, request, known);
                }
            }
            Message::HandedOn { request_id, to } => {
                if let Some(request) = self.take_asked(request_id, from) {
                    self.handle_handed_on(now, request, &to);
                }
            }
            Message::AssignmentChanged { client, assignment } if assignment.primary() == from => {
                self.learn(now, client, assignment, None);
            }
            Message::Status(status) if status.name == *from => {
                let was_ready = self.board.member(from).is_some_and(|member| member.is_ready());
                self.board.take(status);
                if !was_ready && self.board.member(from).is_some_and(|member| member.is_ready()) {
                    self.admit_waiting(now);
                    self.dispatch_waiting(now, None);
                }
            }
            Message::Holds { query, client, holding } => {
                self.handle_holds(now, from, query, client, holding);
            }
            // Pongs were heard above; nothing else is a server's to say to a router.
            _ => {}
        }
    }

    /// The request with this number, if `from` is the server that was asked.
    fn take_asked(&mut self, request_id: u64, from: &Name) -> Option<Request> {
        let stage = &self.requests.get(&request_id)?.stage;
        if !matches!(stage, Stage::Asked { server, .. } if server == from) {
            return None;
        }
        self.requests.remove(&request_id)
    }

    fn handle_reply(
        &mut self,
        now: Time,
        from: &Name,
        request_id: u64,
        mut request: Request,
        (assignment, by, inner): (Option<Assignment>, Option<UseCachedBy>, Frame),
    ) {
        let client = request.client;
        if let Some(assignment) = assignment {
            self.learn(now, client, assignment, Some(request.lane));
        }
        let current = self.assignments.find(&client);
        let serves = current.is_some_and(|current| current.assignment.primary() == from);
        if !serves && request.idempotent && !self.config.planted.is(Fault::NoEpochCheck) {
            // Another server took over while this one was answering: its answer is of a lower
            // epoch.
            return self.dispatch(now, request);
        }
        if serves {
            self.assignments.confirm(&client);
        }
        self.replies.count_use_cached(by);
        self.answer_with(&request, inner.clone());
        if has_streamed_body(&inner) {
            request.stage = Stage::Body { server: from.clone(), begun: false };
            self.requests.insert(request_id, request);
        } else {
            self.end(&request);
        }
    }

    /// Takes a higher assignment, and gives the client its token.
    pub(super) fn learn(
        &mut self,
        now: Time,
        client: ClientId,
        assignment: Assignment,
        lane: Option<super::LaneId>,
    ) {
        let taken = if self.config.planted.is(Fault::NoEpochCheck) {
            self.assignments.set(client, assignment, Title::Known);
            true
        } else {
            self.assignments.raise(client, assignment, Title::Known)
        };
        if taken {
            self.announce(now, client, lane);
        }
    }

    /// The server does not list the client. It may know who does; otherwise the alternate takes
    /// over, and if that is the one who refuses, all servers are asked.
    fn handle_not_owner(
        &mut self,
        now: Time,
        from: &Name,
        request: Request,
        known: Option<Assignment>,
    ) {
        let client = request.client;
        let Stage::Asked { epoch: asked, .. } = &request.stage else {
            return;
        };
        let asked = asked.clone();
        if let Some(known) = known.filter(|known| known.primary() != from) {
            self.learn(now, client, known, Some(request.lane));
        }
        let current = self.assignments.find(&client).map(|current| current.assignment);
        if let Some(current) = current.filter(|current| current.epoch == asked) {
            match current.alternate.clone() {
                Some(alternate) if alternate != *from && self.is_usable(&alternate) => {
                    self.take_over(client, &alternate, &current);
                }
                _ => {
                    self.resolve(now, client);
                }
            }
        }
        self.dispatch_elsewhere(now, request);
    }

    /// The server is over its threshold and names a second one, which must serve.
    fn handle_handed_on(&mut self, now: Time, request: Request, to: &Name) {
        let client = request.client;
        let Stage::Asked { epoch: asked, .. } = &request.stage else {
            return;
        };
        let current = self.assignments.find(&client).map(|current| current.assignment);
        if let Some(current) = current.filter(|current| current.epoch == *asked) {
            let second = if self.is_usable(to) { Some(to.clone()) } else { self.choose_primary() };
            if let Some(second) = second {
                self.reassign(client, &second, &current, Title::HandedOn);
            }
        }
        self.dispatch_elsewhere(now, request);
    }

    /// A body begins to come from a server.
    pub fn handle_body(&mut self, from: &Name, request_id: u64, offset: u64) -> BodyVerdict {
        let Some(request) = self.requests.get_mut(&request_id) else {
            return BodyVerdict::Unwanted;
        };
        match &mut request.stage {
            Stage::Asked { server, .. } if server == from => BodyVerdict::Early,
            Stage::Body { server, begun } if server == from && !*begun => {
                *begun = true;
                let start = BodyStart { request_id: request.inner_id, offset };
                BodyVerdict::Wanted(BodyRoute { session: request.session, start })
            }
            _ => BodyVerdict::Unwanted,
        }
    }

    /// A body was passed on to its end, or the client's stream was reset because it broke off.
    pub fn handle_body_ended(&mut self, request_id: u64) {
        if let Some(request) = self.requests.remove(&request_id) {
            self.end(&request);
        }
    }
}
