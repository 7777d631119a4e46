//! Who may be served here.
//!
//! A server serves only clients that it lists as primary. It comes to list one in four ways: a
//! fresh client that a router assigns, one that another server handed on, one whose mirror it holds
//! as alternate when a router says that the primary is gone, and one that a router assigns afresh
//! at a higher term because nobody holds it any more. Everything else gets NOT_OWNER, with what is
//! known of the owner; the higher epoch wins wherever two meet.

use super::{ClientRole, Link, MAX_HELD_BACK, Record, Server};
use crate::cluster::Count;
use crate::node::Fault;
use crate::wire::backplane::{Forward, Holding, Holds, How, MAX_FORMER, Message, SelfState};
use crate::wire::lane::{Outcome, Reply};
use crate::wire::{Assignment, ClientId, Epoch, FrameType, Name, Time};
use std::time::Duration;

/// When a client that met a full pool should come back.
const BUSY_RETRY_MS: u64 = 1000;
/// How long a server remembers to whom it handed a client on.
const HANDED_ON_MEMORY: Duration = Duration::from_secs(1);

/// What a server does with a request, by what it knows of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Title {
    /// Serve it: the client is listed as primary.
    Owned,
    /// Serve it as a hedge: the client's mirror is here.
    StandBy,
    /// List the client as primary, in the epoch that the router names, then serve it.
    Adopt,
    /// The client is fresh, and here it is to be decided whether there is room.
    Fresh,
    /// Not ours.
    Foreign,
}

impl Server {
    pub(super) fn handle_forward(&mut self, now: Time, link: &Link, forward: &Forward) {
        if self.may_read_meanwhile(forward) {
            return self.serve(now, link, &Forward { how: How::Standby, ..forward.clone() });
        }
        if let Some(returning) = &mut self.returning {
            if returning.held_back.len() < MAX_HELD_BACK {
                returning.held_back.push_back((now, link.clone(), forward.clone()));
            } else {
                self.refuse_ownership(link, forward);
            }
            return;
        }
        let ours = forward.client.owner(self.config.workers) == self.config.worker;
        if !ours && !self.config.planted.is(Fault::WrongOwner) {
            self.counters.misdirected_requests += 1;
            let (request_id, workers) = (forward.request_id, self.config.workers);
            return self.send(link, Message::WrongWorker { request_id, workers });
        }
        match self.title(forward) {
            Title::Owned if self.leaves_to_routers(now, &forward.client) => {
                self.leave_to_router(link, forward);
            }
            Title::Owned => self.serve(now, link, forward),
            Title::StandBy => self.serve(now, link, forward),
            Title::Adopt => {
                self.adopt(now, forward);
                self.serve(now, link, forward);
            }
            Title::Fresh => self.handle_fresh(now, link, forward),
            Title::Foreign => self.refuse_ownership(link, forward),
        }
    }

    /// Back after a pause, and not yet told which clients are still ours: what a client that is
    /// listed here reads is answered as a standby would, from its mirror and without changing it.
    /// Whatever that mirror lacks, the tag of the answer is that of a fresh version.
    fn may_read_meanwhile(&self, forward: &Forward) -> bool {
        if self.returning.is_none() {
            return false;
        }
        let read = forward.inner.kind() == FrameType::Get && forward.resume.is_none();
        let ours = forward.client.owner(self.config.workers) == self.config.worker;
        read && ours && self.title(forward) == Title::Owned
    }

    fn title(&self, forward: &Forward) -> Title {
        let names_us = match &forward.primary {
            None => true,
            Some(primary) => *primary == self.config.name,
        };
        let Some(record) = self.clients.get(&forward.client) else {
            let released = self.released.epoch(&forward.client);
            return match forward.how {
                _ if released.is_some_and(|released| *released >= self.asked_epoch(forward)) => {
                    Title::Foreign
                }
                How::Assign | How::HandedOn if names_us => Title::Fresh,
                _ => Title::Foreign,
            };
        };
        let (asked, own) = ((forward.term, forward.change), record.counters());
        // The names decide only between equals.
        let primary = forward.primary.as_ref().unwrap_or(&self.config.name);
        let known = self.names.name(record.primary());
        let higher = asked > own || (asked == own && known < primary);
        let higher = higher || self.config.planted.is(Fault::NoEpochCheck);
        match (record.role, forward.how) {
            (_, How::Standby) => Title::StandBy,
            (ClientRole::Primary, _) if !higher => Title::Owned,
            // Also where the router believes that we know: the epoch is nobody else's.
            _ if higher && names_us => Title::Adopt,
            _ => Title::Foreign,
        }
    }

    fn asked_epoch(&self, forward: &Forward) -> Epoch {
        forward.epoch(&self.config.name)
    }

    /// Room is decided by our own exact count; the router only had our last status.
    fn handle_fresh(&mut self, now: Time, link: &Link, forward: &Forward) {
        let must_serve = forward.how == How::HandedOn;
        let drains = self.state() == SelfState::Draining;
        let mut placed = !drains && self.tally.take_place(self.config.threshold);
        if !placed
            && !must_serve
            && let Some(to) = self.second_server(now, forward.client)
        {
            self.send(link, Message::HandedOn { request_id: forward.request_id, to });
            return;
        }
        placed = placed || self.tally.take_place(self.config.capacity);
        if !placed {
            self.reply_busy(link, forward);
            return;
        }
        // The tally counts it already.
        self.told.0 += 1;
        if must_serve {
            self.tally.increase(Count::MustServed);
        }
        self.adopt(now, forward);
        self.serve(now, link, forward);
    }

    /// The server that a client is handed on to: the same one for all requests that were already on
    /// their way, and one client counted once.
    fn second_server(&mut self, now: Time, client: ClientId) -> Option<Name> {
        if let Some((to, _)) = self.handed_on.get(&client) {
            return Some(to.clone());
        }
        let to = self.board.choose_second(&self.config.name)?.chosen().clone();
        self.board.count_sent(&to);
        self.tally.increase(Count::HandedOn);
        self.status_changed(now);
        self.handed_on.insert(client, (to.clone(), now + HANDED_ON_MEMORY));
        Some(to)
    }

    pub(super) fn forget_handed_on(&mut self, now: Time) {
        self.handed_on.retain(|_, (_, until)| *until > now);
    }

    /// Lists the client as primary in the epoch that the router named. A mirror that is here stays,
    /// and stays warm.
    fn adopt(&mut self, now: Time, forward: &Forward) {
        let client = forward.client;
        self.become_primary(now, client, self.asked_epoch(forward), forward.former.clone(), None);
        // A client's first server is chosen by one router alone.
        let first = forward.term == 1 && forward.how != How::Takeover;
        self.settle_as_primary(now, client, first);
    }

    /// Lists the client as primary, in an epoch of ours, with the mirror that is here.
    pub(super) fn become_primary(
        &mut self,
        now: Time,
        client: ClientId,
        epoch: Epoch,
        mut former: Vec<Name>,
        hands_over: Option<&Name>,
    ) {
        let own = self.names.own();
        let mut record = Record::new(ClientRole::Primary, &epoch, own, now);
        if let Some(known) = self.clients.get_mut(&client) {
            (record.mirror, record.filed) = (std::mem::take(&mut known.mirror), known.filed);
            match known.role {
                ClientRole::Primary => record.alternate = known.alternate,
                ClientRole::Alternate => {
                    self.tally.increase(Count::TakenOver);
                    former.push(self.names.name(known.primary()).clone());
                    self.primary_clients += 1;
                }
            }
            former.extend(known.former(&self.names).cloned());
        } else {
            self.primary_clients += 1;
        }
        // Whoever hands the client over is told by us, ahead of any release: not by the alternate.
        former.retain(|name| Some(name) != hands_over);
        let former = self.distinct_others(former);
        record.set_former(former.iter().filter_map(|name| self.names.add(name)));
        self.clients.insert(client, record);
        self.file(now, client);
        self.choose_alternate(client);
    }

    /// Tells those who may still list a client that it was taken.
    pub(super) fn settle_as_primary(&mut self, now: Time, client: ClientId, first: bool) {
        if !first && !self.config.planted.is(Fault::LostRelease) {
            self.owe_believers(client);
        }
        self.pay_debts(Some(&client));
        self.status_changed(now);
    }

    /// Other servers' names, each once, no more than a frame may carry: the newest ones.
    pub(super) fn distinct_others(&self, mut names: Vec<Name>) -> Vec<Name> {
        let mut distinct = Vec::new();
        for name in names.drain(..) {
            if name != self.config.name && !distinct.contains(&name) {
                distinct.push(name);
            }
        }
        distinct.truncate(MAX_FORMER);
        distinct
    }

    pub(super) fn refuse_ownership(&mut self, link: &Link, forward: &Forward) {
        let known = self.known_assignment(&forward.client);
        self.send(link, Message::NotOwner { request_id: forward.request_id, known });
    }

    /// What can be told of a client that is not served here.
    pub(super) fn known_assignment(&self, client: &ClientId) -> Option<Assignment> {
        let record = self.clients.get(client);
        record.map(|record| record.assignment(&self.config.name, &self.names)).or_else(|| {
            // Its alternate is not known here. The primary tells, when it is asked under an earlier
            // change.
            let released = self.released.epoch(client)?.clone();
            let epoch = Epoch { change: 0, ..released };
            Some(Assignment { epoch, alternate: None })
        })
    }

    fn reply_busy(&mut self, link: &Link, forward: &Forward) {
        // A frame whose request id cannot be read came from a client that cannot read a reply.
        let Ok(request_id) = forward.inner.request_id() else {
            return;
        };
        let reply = Reply { request_id, outcome: Outcome::Busy { retry_after_ms: BUSY_RETRY_MS } };
        let asked = (forward.request_id, &forward.client, None);
        self.send_reply(link, asked, reply, None);
    }

    pub(super) fn answer_who_holds(&mut self, link: &Link, query: u64, client: ClientId) {
        let mirror = self.clients.get(&client).map(|record| Holding {
            as_primary: record.role == ClientRole::Primary,
            assignment: record.assignment(&self.config.name, &self.names),
            entries: record.mirror.len() as u64,
        });
        let holds = match (mirror, self.released.epoch(&client)) {
            (Some(mirror), _) => Holds::Mirror(mirror),
            (None, Some(epoch)) if self.version_of(link) >= Holds::RELEASED_SINCE => {
                Holds::Released(epoch.clone())
            }
            _ => Holds::Nothing,
        };
        self.send(link, Message::Holds { query, client, holds });
    }
}
