//! Where a request goes now.
//!
//! A request follows the assignment of its client. When the primary cannot be asked, the alternate
//! is made primary in the next term and asked to take over. When that cannot be asked either, all
//! servers are asked who holds the client, before it is assigned afresh.

use super::{Request, Router, Stage, Title};
use crate::node::Fault;
use crate::wire::backplane::{Forward, How, Message};
use crate::wire::{Assignment, ClientId, Name, Time};

/// How often one request may be sent, at the most, before its client is told that nobody answers.
const MAX_ATTEMPTS: u32 = 16;

impl Router {
    /// Sends a request on its way, or lets it wait for a server.
    pub(super) fn dispatch(&mut self, now: Time, mut request: Request) {
        let client = request.client;
        if request.attempts >= MAX_ATTEMPTS || now >= request.deadline {
            let text = "no server answered: try again".to_owned();
            return self.answer_unavailable(request, text);
        }
        if self.resolutions.contains_key(&client) || !self.settle_on_usable(now, client) {
            request.stage = Stage::Waiting;
            let number = self.number();
            self.requests.insert(number, request);
            return;
        }
        let Some(assigned) = self.assignments.find(&client) else {
            let text = "the client is not known any more: reconnect".to_owned();
            return self.answer_unavailable(request, text);
        };
        // A new number for each attempt, so that a late answer to an earlier one is not taken for
        // the answer to this one.
        let request_id = self.number();
        let epoch = assigned.assignment.epoch;
        let server = epoch.primary.clone();
        let how = match assigned.title {
            Title::Known => How::Known,
            Title::Assign => How::Assign,
            Title::HandedOn => How::HandedOn,
            Title::Takeover => How::Takeover,
        };
        let former = match how {
            How::Known => Vec::new(),
            _ => self.assignments.former(&client),
        };
        let deadline_ms = request.deadline.since(now).as_millis() as u64;
        let inner = request.frame.clone();
        let forward =
            Forward { request_id, client, epoch: epoch.clone(), how, deadline_ms, former, inner };
        request.attempts += 1;
        request.stage = Stage::Asked { server: server.clone(), epoch };
        self.requests.insert(request_id, request);
        self.send(&server, Message::Forward(forward));
    }

    /// Makes sure that the client's primary can be asked, by takeover if need be. `false` if that
    /// has to wait.
    fn settle_on_usable(&mut self, now: Time, client: ClientId) -> bool {
        let Some(assigned) = self.assignments.find(&client) else {
            return true;
        };
        if self.is_usable(assigned.assignment.primary()) {
            return true;
        }
        match assigned.assignment.alternate.clone() {
            Some(alternate) if self.is_usable(&alternate) => {
                self.take_over(client, &alternate, &assigned.assignment)
            }
            _ => self.resolve(now, client),
        }
    }

    /// Makes the alternate primary in the next term. It becomes true when the alternate acts on it.
    /// `false`, and nothing changes, where there is no higher term.
    pub(super) fn take_over(&mut self, client: ClientId, by: &Name, old: &Assignment) -> bool {
        let Some(epoch) = old.epoch.next_term(by.clone()) else {
            return false;
        };
        self.takeovers += 1;
        self.assignments.add_former(client, old.primary());
        self.assignments.set(client, Assignment { epoch, alternate: None }, Title::Takeover);
        true
    }

    /// Gives the client to a server afresh, at a term above all that is known. Nothing changes
    /// where there is no higher term.
    pub(super) fn reassign(&mut self, client: ClientId, to: &Name, old: &Assignment, title: Title) {
        let Some(epoch) = old.epoch.next_term(to.clone()) else {
            return;
        };
        if title == Title::Assign {
            // Nobody holds the client; whoever did may come back and must let go.
            self.assignments.add_former(client, old.primary());
            if let Some(alternate) = &old.alternate {
                self.assignments.add_former(client, alternate);
            }
        }
        self.board.count_sent(to);
        self.assignments.set(client, Assignment { epoch, alternate: None }, title);
    }

    /// Sends a request again. One that is not idempotent is sent at most once.
    pub(super) fn dispatch_again(&mut self, now: Time, request: Request) {
        if request.idempotent || self.config.planted.is(Fault::ResentCall) {
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
        let waits = |request: &Request| {
            request.stage == Stage::Waiting && only.is_none_or(|only| only == request.client)
        };
        let waiting: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| waits(request))
            .map(|(number, _)| *number)
            .collect();
        for number in waiting {
            if let Some(request) = self.requests.remove(&number) {
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
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            if let Some(request) = self.requests.remove(&number) {
                let limit = self.config.request_timeout.as_millis();
                let text = format!("no server answered within {limit} ms: try again");
                self.answer_unavailable(request, text);
            }
        }
    }

    /// The next server in order that can take a fresh client: below its threshold, else below its
    /// capacity, else any that can be reached, which will say BUSY itself.
    pub(super) fn choose_primary(&mut self) -> Option<Name> {
        let names: Vec<_> =
            self.board.members().filter(|(_, member)| member.is_ready()).map(|(n, _)| n).collect();
        let start = names.iter().position(|name| Some(*name) > self.cursor.as_ref()).unwrap_or(0);
        let in_order = || names[start..].iter().chain(&names[..start]).copied();
        let below = |limit: fn(&crate::wire::backplane::Status) -> u64| {
            in_order().find(|name| {
                let member = self.board.member(name);
                member.is_some_and(|member| {
                    let status = member.status.as_ref();
                    status.is_some_and(|status| member.primary_clients() < limit(status))
                })
            })
        };
        let chosen = below(|status| status.threshold)
            .or_else(|| below(|status| status.capacity))
            .or_else(|| in_order().next())?
            .clone();
        self.board.count_sent(&chosen);
        self.cursor = Some(chosen.clone());
        Some(chosen)
    }
}
