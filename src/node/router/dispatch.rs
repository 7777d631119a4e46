//! Where a request goes now.
//!
//! A request follows the assignment of its client. When the primary cannot be asked, the alternate
//! is made primary in the next term and asked to take over. When that cannot be asked either, all
//! servers are asked who holds the client, before it is assigned afresh.

use super::pools::Pool;
use super::requests::version_of;
use super::{PoolIndex, Request, Router, Stage};
use crate::assign::{Entry, ServerIndex, Title};
use crate::node::Fault;
use crate::wire::backplane::{Forward, How};
use crate::wire::lane::{BATCH_VERSION, ErrorCode, Outcome};
use crate::wire::session::OLDEST_VERSION;
use crate::wire::{ClientId, FrameType, Time};
use rand::Rng;

/// How often one request may be sent, at the most, before its client is told that nobody answers.
const MAX_ATTEMPTS: u16 = 16;

/// The version of the protocol that lets a server go on with a body.
const RESUME_SINCE: u64 = 2;

impl Router {
    /// Sends a request on its way, or lets it wait for a server.
    pub(super) fn dispatch(&mut self, now: Time, mut request: Request) {
        let client = request.client;
        if request.attempts >= MAX_ATTEMPTS || now >= request.deadline {
            let text = "no server answered: try again".to_owned();
            return self.answer_unavailable(request, text);
        }
        let mut entry = self.entry_of(now, &request);
        let primary = entry.map(Entry::primary);
        let pool = self.session_pool(request.session);
        let resolved = self.resolutions.is_empty() || !self.resolutions.contains_key(&client);
        if resolved && primary.is_some_and(|primary| self.can_serve(pool, primary)) {
            // The usual case: nothing to settle.
        } else if resolved && self.settle_on_usable(now, (client, pool), entry) {
            entry = self.assignments.find(&client);
        } else {
            return self.wait(request);
        }
        let Some(entry) = entry else {
            let text = "the client is not known any more: reconnect".to_owned();
            return self.answer_unavailable(request, text);
        };
        if request.body.is_some() && !self.servers.speaks(entry.primary(), RESUME_SINCE) {
            let text = "the server that took over cannot go on with a body".to_owned();
            return self.answer_unavailable(request, text);
        }
        let since = version_of(request.frame.kind());
        if since > OLDEST_VERSION && !self.servers.speaks(entry.primary(), since) {
            let text = "the server does not speak so new a version of the protocol";
            return self.answer(request, Outcome::error(ErrorCode::NotSupported, text));
        }
        request.attempts += 1;
        request.asked_at = now;
        request.stage = Stage::Asked { entry, hedge: None };
        self.forward(now, entry, request);
    }

    /// What the table says of the request's client. Another worker may have forgotten the client
    /// while it has a session here: then its session's own memory holds. Or it has learned of a
    /// new assignment, which the client has not been told.
    fn entry_of(&mut self, now: Time, request: &Request) -> Option<Entry> {
        let found = self.assignments.find(&request.client);
        let session = self.sessions.get_mut(request.session.0)?;
        if let Some(entry) = found {
            session.entry = found;
            if entry.title() == Title::Known && session.told != found {
                self.announce(now, request.client, Some((request.session, request.lane)));
            }
            return found;
        }
        if let Some(entry) = session.entry {
            self.assignments.raise(request.client, entry);
        }
        session.entry
    }

    /// Asks the primary. A new number for each attempt, so that a late answer to an earlier one is
    /// not taken for the answer to this one.
    fn forward(&mut self, now: Time, entry: Entry, request: Request) {
        let how = match entry.title() {
            Title::Known => How::Known,
            Title::Assign => How::Assign,
            Title::HandedOn => How::HandedOn,
            Title::Takeover => How::Takeover,
        };
        let former = match how {
            How::Known => Vec::new(),
            _ => self.assignments.former(&request.client),
        };
        let client = request.client;
        let deadline_ms = request.deadline.since(now).as_millis() as u64;
        let inner = request.frame.clone();
        let takes_deltas = self.may_send_delta(&request, entry.primary());
        let resume = request.body.as_ref().and_then(|body| body.resume());
        let number = self.keep(request);
        let forward = Forward {
            request_id: number,
            client,
            term: entry.term(),
            change: entry.change(),
            primary: None,
            how,
            deadline_ms,
            former,
            resume,
            takes_deltas,
            inner,
        };
        let server = entry.primary();
        self.send_to_owner(server, &client, forward.encode_frame());
        self.counters.forwarded += 1;
        self.budget.earn();
        self.watch(now, server, number);
        if self.is_in_doubt(server) {
            self.hedge(now, number);
        }
    }

    /// Whether client and server both know a DELTA.
    pub(super) fn may_send_delta(&self, request: &Request, server: ServerIndex) -> bool {
        request.takes_deltas && self.servers.speaks(server, BATCH_VERSION)
    }

    pub(super) fn wait(&mut self, mut request: Request) {
        request.stage = Stage::Waiting;
        let number = self.keep(request);
        self.waiting.insert(number);
    }

    /// Makes sure that the client's primary can be asked, by takeover if need be. `false` if that
    /// has to wait.
    fn settle_on_usable(
        &mut self,
        now: Time,
        (client, pool): (ClientId, PoolIndex),
        entry: Option<Entry>,
    ) -> bool {
        let Some(entry) = entry else {
            return true;
        };
        match entry.alternate() {
            Some(alternate) if self.can_serve(pool, alternate) => {
                self.take_over(client, alternate, entry)
            }
            _ => self.resolve(now, client, pool),
        }
    }

    /// Makes the alternate primary in the next term. It becomes true when the alternate acts on it.
    /// `false`, and nothing changes, where there is no higher term.
    pub(super) fn take_over(&mut self, client: ClientId, by: ServerIndex, old: Entry) -> bool {
        let Some(new) = Entry::new(old.term() + 1, 0, by, None, Title::Takeover) else {
            return false;
        };
        if self.assignments.find(&client) == Some(old) {
            if !self.assignments.replace(client, old, new) {
                // Another worker was faster: its decision holds.
                return true;
            }
        } else {
            self.assignments.set(client, new);
        }
        self.counters.takeovers += 1;
        let former = self.assignments.name(old.primary()).clone();
        self.assignments.add_former(client, &former);
        true
    }

    /// Gives the client to a server afresh, at a term above all that is known. Nothing changes
    /// where there is no higher term.
    pub(super) fn reassign(&mut self, client: ClientId, to: ServerIndex, old: Entry, title: Title) {
        let Some(new) = Entry::new(old.term() + 1, 0, to, None, title) else {
            return;
        };
        if title == Title::Assign {
            // Nobody holds the client; whoever did may come back and must let go.
            for server in [Some(old.primary()), old.alternate()].into_iter().flatten() {
                let name = self.assignments.name(server).clone();
                self.assignments.add_former(client, &name);
            }
        }
        self.count_sent(to);
        self.assignments.set(client, new);
    }

    /// Sends a request again. One that is not idempotent is sent at most once.
    pub(super) fn dispatch_again(&mut self, now: Time, request: Request) {
        let resent = |fault| self.config.planted.is(fault);
        let planted = match request.frame.kind() {
            FrameType::HttpRequest => resent(Fault::ResentPost),
            _ => resent(Fault::ResentCall),
        };
        if request.idempotent || planted {
            self.dispatch(now, request);
        } else {
            self.answer_unavailable(request, "its server was lost".to_owned());
        }
    }

    /// A server refused a request without acting on it: any request may go elsewhere.
    pub(super) fn dispatch_elsewhere(&mut self, now: Time, mut request: Request) {
        request.stage = Stage::Waiting;
        self.dispatch(now, request);
    }

    /// Tries again to send the requests that wait, of one client or of all.
    pub(super) fn dispatch_waiting(&mut self, now: Time, only: Option<ClientId>) {
        for number in std::mem::take(&mut self.waiting) {
            let Some(request) = self.requests.get(number) else {
                continue;
            };
            if only.is_some_and(|only| only != request.client) {
                self.waiting.insert(number);
            } else if let Some(request) = self.requests.remove(number) {
                self.dispatch(now, request);
            }
        }
    }

    /// Ends the requests that nobody answered in time.
    pub(super) fn expire_requests(&mut self, now: Time) {
        let late: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| now >= request.deadline)
            .filter(|(_, request)| !matches!(request.stage, Stage::Body { begun: true, .. }))
            .map(|(number, _)| number)
            .collect();
        for number in late {
            if let Some(request) = self.requests.remove(number) {
                let pool = self.session_pool(request.session);
                let limit = self.request_timeout(pool).as_millis();
                let text = format!("no server answered within {limit} ms: try again");
                self.answer_unavailable(request, text);
            }
        }
    }

    /// Chooses a server for a new client of a pool by its policy, and counts the client for it.
    pub(super) fn choose_primary(&mut self, pool: PoolIndex) -> Option<ServerIndex> {
        // Another worker may choose at the same moment; then the turn is another one's.
        let mut chosen = None;
        for _ in 0..crate::assign::MAX_SERVERS {
            let shared = self.assignments.shared();
            let last = shared.last_given(pool);
            let after = last.map(|last| shared.names.name(last));
            let draw = self.rng.next_u64();
            let Pool { config, board } = self.pools.get(pool);
            let name = board.choose_primary(config.policy, after, draw)?;
            chosen = shared.names.find(name);
            if chosen.is_none_or(|next| shared.give(pool, last, next)) {
                break;
            }
        }
        self.count_sent(chosen?);
        chosen
    }
}
