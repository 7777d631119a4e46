//! What servers answer.

use super::{LaneId, Output, Request, Router, SessionId, Stage};
use crate::assign::{Entry, ServerIndex, Title};
use crate::node::Fault;
use crate::wire::backplane::{Message, Status, UseCachedBy};
use crate::wire::lane::has_streamed_body;
use crate::wire::session::Assigned;
use crate::wire::{Assignment, ClientId, Frame, FrameType, Name, Time};

impl Router {
    /// A message came from a worker of a server.
    pub fn handle_server_message(
        &mut self,
        now: Time,
        from: ServerIndex,
        worker: u64,
        message: Message,
    ) {
        let answer = match &message {
            Message::Pong { number } => Some(*number),
            _ => None,
        };
        self.heard_from(now, from, worker, answer);
        match message {
            Message::Reply { request_id, by, inner, .. } if self.is_hedged(request_id, from) => {
                self.handle_standby_reply(now, request_id, by, inner);
            }
            Message::NotOwner { request_id, .. } | Message::WrongWorker { request_id, .. }
                if self.is_hedged(request_id, from) =>
            {
                self.end_hedge(request_id);
            }
            Message::Reply { request_id, assignment, by, inner } => {
                self.handle_reply(now, from, request_id, (assignment, by, inner));
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
            Message::WrongWorker { request_id, workers } => {
                if let Some(request) = self.take_asked(request_id, from) {
                    self.handle_wrong_worker(now, from, request, workers);
                }
            }
            Message::AssignmentChanged { client, assignment }
                if assignment.primary() == self.assignments.name(from)
                    || self.is_primary(from, &client) =>
            {
                self.learn(now, client, &assignment, None);
            }
            Message::Status(status) if status.name == *self.assignments.name(from) => {
                self.handle_status(now, from, status);
            }
            Message::WantBody { request_id } => {
                self.handle_want_body(now, from, worker, request_id)
            }
            Message::Holds { query, client, holds } => {
                self.handle_holds(now, from, query, client, holds);
            }
            // Pongs were heard above; nothing else is a server's to say to a router.
            _ => {}
        }
    }

    fn handle_status(&mut self, now: Time, from: ServerIndex, status: Status) {
        let Some(pool) = self.servers.get(from).map(|known| known.pool) else {
            return;
        };
        let is_ready = |router: &Self| router.member(from).is_some_and(|member| member.is_ready());
        let was_ready = is_ready(self);
        self.pools.get_mut(pool).board.take(now, status);
        if !was_ready && is_ready(self) {
            self.admit_waiting(now);
            self.dispatch_waiting(now, None);
        }
    }

    /// Whether a server is the client's primary, as far as is known: it may hand the client over.
    fn is_primary(&self, server: ServerIndex, client: &ClientId) -> bool {
        self.assignments.find(client).is_some_and(|known| known.primary() == server)
    }

    /// The request with this number, if `from` is the server that was asked.
    pub(super) fn asked(&self, request_id: u64, from: ServerIndex) -> Option<&Request> {
        let asked =
            |stage: &Stage| matches!(stage, Stage::Asked { entry, .. } if entry.primary() == from);
        self.requests.get(request_id).filter(|request| asked(&request.stage))
    }

    fn take_asked(&mut self, request_id: u64, from: ServerIndex) -> Option<Request> {
        self.asked(request_id, from)?;
        self.requests.remove(request_id)
    }

    fn handle_reply(
        &mut self,
        now: Time,
        from: ServerIndex,
        request_id: u64,
        (assignment, by, inner): (Option<Assignment>, Option<UseCachedBy>, Frame),
    ) {
        let Some(request) = self.asked(request_id, from) else {
            return;
        };
        let (client, to, idempotent) =
            (request.client, (request.session, request.lane), request.idempotent);
        let (asked_at, resumed) = (request.asked_at, request.body.is_some());
        // A call takes as long as it takes: that says nothing of the server.
        let is_call = is_call(request);
        if let Some(known) = self.servers.get_mut(from).filter(|_| !is_call) {
            known.times.take(now.since(asked_at));
        }
        if let Some(assignment) = assignment {
            self.learn(now, client, &assignment, Some(to));
        }
        let current = self.assignments.find(&client);
        let serving = current.filter(|current| current.primary() == from);
        if serving.is_none() && idempotent && !self.config.planted.is(Fault::NoEpochCheck) {
            // Another server took over while this one was answering: its answer is of a lower
            // epoch.
            if let Some(request) = self.requests.remove(request_id) {
                self.dispatch(now, request);
            }
            return;
        }
        if let Some(serving) = serving {
            self.assignments.confirm(&client, serving);
        }
        if resumed {
            return self.handle_resumed(request_id, from, &inner);
        }
        self.pass_reply(request_id, from, by, inner);
    }

    /// The alternate answered a hedge.
    fn handle_standby_reply(
        &mut self,
        now: Time,
        request_id: u64,
        by: Option<UseCachedBy>,
        inner: Frame,
    ) {
        let Some(request) = self.requests.get(request_id) else {
            return;
        };
        let Stage::Asked { entry, hedge: Some(standby) } = request.stage else {
            return;
        };
        if !Self::is_real_answer(&inner) {
            return self.end_hedge(request_id);
        }
        // The primary takes at least so long.
        let waited = now.since(request.asked_at);
        let is_call = is_call(request);
        if let Some(primary) = self.servers.get_mut(entry.primary()).filter(|_| !is_call) {
            primary.times.take(waited);
        }
        self.counters.hedge_wins += 1;
        self.pass_reply(request_id, standby, by, inner);
    }

    /// Gives the client the answer to a request.
    fn pass_reply(
        &mut self,
        request_id: u64,
        from: ServerIndex,
        by: Option<UseCachedBy>,
        inner: Frame,
    ) {
        let Some(request) = self.requests.get(request_id) else {
            return;
        };
        let to = (request.session, request.lane);
        self.replies.count_use_cached(by);
        if has_streamed_body(&inner) {
            self.expect_body(request_id, from, &inner);
            self.watch_body(from, request_id);
        } else if let Some(request) = self.requests.remove(request_id) {
            self.end(&request);
        }
        self.answer_with(to, inner);
    }

    /// Takes a higher assignment, and gives the client its token.
    pub(super) fn learn(
        &mut self,
        now: Time,
        client: ClientId,
        assignment: &Assignment,
        to: Option<(SessionId, LaneId)>,
    ) {
        let Some(entry) = self.assignments.pack(assignment, Title::Known) else {
            return;
        };
        let taken = if self.config.planted.is(Fault::NoEpochCheck) {
            self.assignments.set(client, entry);
            true
        } else {
            self.assignments.raise(client, entry)
        };
        if taken {
            self.announce(now, client, to);
        }
    }

    /// Gives the client its new token: on the lane of the request that is answered next, ahead of
    /// its reply, or on the first stream of the client's newest session.
    pub(super) fn announce(
        &mut self,
        now: Time,
        client: ClientId,
        to: Option<(SessionId, LaneId)>,
    ) {
        let asking = to.map(|(session, _)| session);
        let Some(session) = asking.or_else(|| self.session_of.get(&client).copied()) else {
            return;
        };
        let Some(entry) = self.assignments.find(&client) else {
            return;
        };
        if let Some(known) = self.sessions.get_mut(session.0) {
            known.told = Some(entry.with_title(Title::Known));
        }
        let pool = self.session_pool(session);
        let token = self.seal(now, (client, pool), entry);
        let frame = Assigned { token, assignment: self.assignments.spell(entry) }.encode();
        self.outputs.push_back(match to {
            Some((session, lane)) => Output::ToLane { session, lane, frame },
            None => Output::ToSession { session, frame },
        });
    }

    /// The server does not list the client. It may know who does; otherwise the alternate takes
    /// over, and if that is the one who refuses, all servers are asked.
    fn handle_not_owner(
        &mut self,
        now: Time,
        from: ServerIndex,
        request: Request,
        known: Option<Assignment>,
    ) {
        let client = request.client;
        let Stage::Asked { entry: asked, .. } = request.stage else {
            return;
        };
        if let Some(known) = known.filter(|known| known.primary() != self.assignments.name(from)) {
            self.learn(now, client, &known, Some((request.session, request.lane)));
        }
        let pool = self.session_pool(request.session);
        let current = self.assignments.find(&client);
        if let Some(current) = current.filter(|current| self.same_epoch(*current, asked)) {
            match current.alternate() {
                Some(alternate) if alternate != from && self.can_serve(pool, alternate) => {
                    self.take_over(client, alternate, current);
                }
                _ => {
                    self.resolve(now, client, pool);
                }
            }
        }
        self.dispatch_elsewhere(now, request);
    }

    /// The server is over its threshold and names a second one, which must serve.
    fn handle_handed_on(&mut self, now: Time, request: Request, to: &Name) {
        let client = request.client;
        let Stage::Asked { entry: asked, .. } = request.stage else {
            return;
        };
        let pool = self.session_pool(request.session);
        let current = self.assignments.find(&client);
        if let Some(current) = current.filter(|current| self.same_epoch(*current, asked)) {
            let to = self.assignments.shared().names.find(to);
            let second = to.filter(|to| self.can_serve(pool, *to));
            if let Some(second) = second.or_else(|| self.choose_primary(pool)) {
                self.reassign(client, second, current, Title::HandedOn);
            }
        }
        self.dispatch_elsewhere(now, request);
    }

    fn same_epoch(&self, one: Entry, other: Entry) -> bool {
        self.assignments.shared().names.compare(one, other).is_eq()
    }

    /// The server has more or fewer workers than when its links were made.
    fn handle_wrong_worker(
        &mut self,
        now: Time,
        from: ServerIndex,
        request: Request,
        workers: u64,
    ) {
        if self.servers.workers(from) != workers {
            self.outputs.push_back(Output::Relink { server: from });
            // Until it is linked again nobody can be asked there, and nothing is taken from it.
            self.wait(request);
        } else {
            self.dispatch_elsewhere(now, request);
        }
    }
}

/// Whether a request is executed, and takes as long as that takes.
fn is_call(request: &Request) -> bool {
    match request.frame.kind() {
        FrameType::Call => true,
        FrameType::HttpRequest => !request.idempotent,
        _ => false,
    }
}
