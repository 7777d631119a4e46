//! Statuses, releases, and coming back after a pause.

use super::{
    ClientRole, Link, PAUSE, Peer, REPEAT_INTERVAL, RETURN_GRACE, Return, STATUS_INTERVAL, Server,
};
use crate::cluster::Count;
use crate::node::Fault;
use crate::wire::backplane::{Message, SelfState, Status};
use crate::wire::{Name, Time};
use std::collections::{BTreeSet, VecDeque};

const _: () = assert!(RETURN_GRACE.as_millis() > PAUSE.as_millis());

impl Server {
    /// A router connected, with which this protocol version is spoken.
    pub fn handle_router_up(&mut self, now: Time, link: &Link, version: u64) {
        self.turn(now);
        self.routers.insert(link.clone(), version);
        let status = self.status();
        self.send(link, Message::Status(status));
    }

    /// A router's connection is gone, and what was sent over it lately may be lost.
    pub fn handle_router_down(&mut self, now: Time, link: &Link) {
        self.turn(now);
        self.routers.remove(link);
    }

    /// Our own connections to all workers of another server stand, and speak this version.
    pub fn handle_peer_up(&mut self, now: Time, name: &Name, workers: u64, version: u64) {
        self.turn(now);
        if self.board.member(name).is_none() {
            self.owe_newcomer(name);
        }
        self.peers.insert(name.clone(), Peer { workers, version });
        self.board.set_reachable(name, true);
        if let Some(returning) = &mut self.returning {
            let round = returning.round;
            // It may have come back with another number of workers.
            let before = returning.awaited.len();
            returning.awaited.retain(|(awaited, _)| awaited != name);
            if returning.awaited.len() < before {
                returning.awaited.extend((0..workers).map(|worker| (name.clone(), worker)));
            }
            self.send_to_server(name, &Message::Returned { round });
        }
        // Ahead of everything, so that mirrors are known to be of this run.
        let status = self.status();
        self.send_to_server(name, &Message::Status(status));
        for (client, epoch) in self.owed_to(name) {
            self.send_to_owner(name, &client, Message::Release { client, epoch });
        }
        if self.board.member(name).is_some_and(|member| member.is_ready()) {
            self.find_company();
        }
    }

    /// Our own connections to another server are gone, and what was sent over them lately may be
    /// lost.
    pub fn handle_peer_down(&mut self, now: Time, name: &Name) {
        self.turn(now);
        self.board.set_reachable(name, false);
        self.lose_pulls(name);
        self.replace_alternates_at(name);
        self.status_changed(now);
    }

    /// Membership says that another server is gone. While our own connections to it stand, that is
    /// not believed; they break soon if it is true. Nobody waits for it any more, and nothing is
    /// owed to it: should it come back after all, it is owed anew, as a newcomer.
    pub fn handle_peer_gone(&mut self, now: Time, name: &Name) {
        if self.board.member(name).is_none_or(|member| member.reachable) {
            return;
        }
        self.handle_peer_down(now, name);
        self.board.forget(name);
        self.peers.remove(name);
        self.forget_debts_to(name);
        if let Some(returning) = &mut self.returning {
            returning.awaited.retain(|(awaited, _)| awaited != name);
            self.settle_if_waited_enough(now);
        }
    }

    pub(super) fn handle_peer_message(
        &mut self,
        now: Time,
        from: &Name,
        worker: u64,
        message: Message,
    ) {
        match message {
            Message::Status(status) if status.name == *from => {
                self.handle_status(now, from, status);
            }
            Message::MirrorBegin { client, epoch, former } => {
                self.handle_mirror_begin(now, from, client, epoch, former);
            }
            Message::Mirror { client, epoch, sequence, slot, key, version } => {
                self.handle_mirror((client, epoch, sequence), slot, &key, version.as_ref());
            }
            Message::Pull { number, digest, offset } => {
                self.handle_pull(&Link::Server(from.clone(), worker), number, &digest, offset);
            }
            Message::Pulled { number, offset, bytes } => {
                self.handle_pulled(now, from, (number, offset), bytes);
            }
            Message::MirrorAck { client, epoch, sequence } => {
                self.handle_mirror_ack(now, client, &epoch, sequence);
            }
            Message::HandOver { client, epoch, former } => {
                self.handle_hand_over(now, from, client, &epoch, former);
            }
            Message::HandedOver { client, assignment } => {
                self.handle_handed_over(now, from, client, assignment);
            }
            Message::MirrorEnd { client, epoch } => self.handle_mirror_end(now, client, &epoch),
            Message::MirrorRefused { client, assignment } => {
                self.handle_mirror_refused(now, client, &assignment);
            }
            Message::Release { client, epoch } => self.handle_release(now, from, client, epoch),
            Message::Released { client, epoch } => self.handle_released(from, client, &epoch),
            Message::Returned { round } => {
                let workers = self.workers_of(from);
                for (client, epoch) in self.owed_to(from) {
                    if client.owner(workers) == worker {
                        self.send_to_owner(from, &client, Message::Release { client, epoch });
                    }
                }
                self.send(&Link::Server(from.clone(), worker), Message::Settled { round });
            }
            Message::Settled { round } => self.handle_settled(now, from, worker, round),
            // Nothing else is a server's to say to a server.
            _ => {}
        }
    }

    fn handle_status(&mut self, now: Time, from: &Name, status: Status) {
        let member = self.board.member(from);
        let was_ready = member.is_some_and(|member| member.is_ready());
        let state = member.and_then(|member| member.status.as_ref()).map(|status| status.state);
        if member.is_none() {
            self.owe_newcomer(from);
        }
        let drains = status.state == SelfState::Draining && state != Some(SelfState::Draining);
        if !self.board.take(now, status) {
            return;
        }
        let ready = self.board.member(from).is_some_and(|member| member.is_ready());
        if ready && !was_ready {
            self.find_company();
        }
        if drains && !self.config.planted.is(Fault::KeepsDrained) {
            self.replace_alternates_at(from);
        }
    }

    /// The loop stood still: others may have taken our clients meanwhile. Ask them, and serve
    /// nobody until they have answered.
    pub(super) fn begin_return(&mut self, now: Time) {
        let awaited: BTreeSet<_> = self
            .board
            .members()
            .filter(|(name, member)| member.status.is_some() && **name != self.config.name)
            .flat_map(|(name, _)| (0..self.workers_of(name)).map(|worker| (name.clone(), worker)))
            .collect();
        if self.primary_clients == 0 || awaited.is_empty() {
            return;
        }
        self.rounds += 1;
        let held_back = self
            .returning
            .as_mut()
            .map_or_else(VecDeque::new, |returning| std::mem::take(&mut returning.held_back));
        let round = self.rounds;
        let repeat_at = now + REPEAT_INTERVAL;
        for (name, worker) in &awaited {
            self.send(&Link::Server(name.clone(), *worker), Message::Returned { round });
        }
        if self.returning.is_none() {
            self.tally.increase(Count::Returning);
        }
        self.returning = Some(Return { round, since: now, repeat_at, awaited, held_back });
        self.status_changed(now);
    }

    fn handle_settled(&mut self, now: Time, from: &Name, worker: u64, round: u64) {
        let Some(returning) = &mut self.returning else {
            return;
        };
        if returning.round == round {
            returning.awaited.remove(&(from.clone(), worker));
            self.settle_if_waited_enough(now);
        }
    }

    /// Repeats the question, and ends the return when all have answered or too much time has
    /// passed.
    pub(super) fn settle_if_waited_enough(&mut self, now: Time) {
        let Some(returning) = &mut self.returning else {
            return;
        };
        let waited = now.since(returning.since) >= RETURN_GRACE;
        if !returning.awaited.is_empty() && !waited {
            if now >= returning.repeat_at {
                returning.repeat_at = now + REPEAT_INTERVAL;
                let round = returning.round;
                let awaited = returning.awaited.clone();
                for (name, worker) in awaited {
                    self.send(&Link::Server(name, worker), Message::Returned { round });
                }
            }
            return;
        }
        let held_back = std::mem::take(&mut returning.held_back);
        self.returning = None;
        self.tally.correct(Count::Returning, 1, 0);
        self.status_changed(now);
        for (since, link, mut forward) in held_back {
            let waited = now.since(since).as_millis() as u64;
            if waited >= forward.deadline_ms {
                continue;
            }
            forward.deadline_ms -= waited;
            self.handle_forward(now, &link, &forward);
        }
    }

    /// The server's numbers now.
    pub(super) fn status(&self) -> Status {
        Status {
            name: self.config.name.clone(),
            incarnation: self.config.incarnation,
            sequence: self.tally.next_status(),
            zone: self.config.zone.clone(),
            state: self.state(),
            primary_clients: self.tally.read(Count::Primary),
            alternate_clients: self.tally.read(Count::Alternate),
            threshold: self.config.threshold,
            capacity: self.config.capacity,
            handed_on_clients: self.tally.read(Count::HandedOn),
            must_served_clients: self.tally.read(Count::MustServed),
            released_clients: self.tally.read(Count::Released),
            pid: self.config.pid,
            admin: self.config.admin.clone(),
        }
    }

    pub(super) fn push_status(&mut self, now: Time) {
        self.status_due = now + STATUS_INTERVAL;
        let status = self.status();
        let servers = self.board.members().filter(|(_, member)| member.reachable);
        let mut links: Vec<_> = servers
            .flat_map(|(name, _)| {
                (0..self.workers_of(name)).map(|worker| Link::Server(name.clone(), worker))
            })
            .collect();
        links.extend(self.routers.keys().cloned());
        for link in links {
            self.send(&link, Message::Status(status.clone()));
        }
    }

    /// Checks what must hold at every moment; the simulator calls it after every step.
    ///
    /// # Panics
    /// If the count of clients as primary differs from the list, or another worker owns a client,
    /// or a primary's client is neither mirrored nor waiting for a server that could mirror it.
    pub fn assert_consistent(&self) {
        let listed = self.clients.values().filter(|record| record.role == ClientRole::Primary);
        assert_eq!(listed.count() as u64, self.primary_clients, "{}: count", self.config.name);
        let alternate = self.clients.len() as u64 - self.primary_clients;
        assert_eq!(self.told, (self.primary_clients, alternate), "{}: tally", self.config.name);
        for (client, record) in self.clients.iter() {
            let owner = client.owner(self.config.workers);
            assert_eq!(owner, self.config.worker, "{}: {client}'s owner", self.config.name);
            let alone = record.role == ClientRole::Primary && record.alternate.is_none();
            assert!(!alone || self.some_alone, "{}: {client}", self.config.name);
            let alternate = record.alternate(&self.names);
            assert_ne!(alternate, Some(&self.config.name), "its own alternate");
        }
    }
}
