//! Statuses, releases, and coming back after a pause.

use super::{
    ClientRole, Link, PAUSE, REPEAT_INTERVAL, RETURN_GRACE, Return, STATUS_INTERVAL, Server,
};
use crate::wire::backplane::{Message, SelfState, Status};
use crate::wire::{Name, Time};
use std::collections::{BTreeSet, VecDeque};

const _: () = assert!(RETURN_GRACE.as_millis() > PAUSE.as_millis());

impl Server {
    /// A link came up: a router's connection, or our own connection to another server.
    pub fn handle_link_up(&mut self, now: Time, link: &Link) {
        self.turn(now);
        match link {
            Link::Router(_) => {
                self.routers.insert(link.clone());
            }
            Link::Server(name) => {
                self.board.set_reachable(name, true);
                if let Some(returning) = &self.returning {
                    let round = returning.round;
                    self.send_to_server(name, Message::Returned { round });
                }
                let owed: Vec<_> = self.owed_to(name);
                for (client, epoch) in owed {
                    self.send_to_server(name, Message::Release { client, epoch });
                }
                if self.board.member(name).is_some_and(|member| member.is_ready()) {
                    self.find_company();
                }
            }
        }
        let status = self.status();
        self.send(link, Message::Status(status));
    }

    /// A link went down, and what was sent over it lately may be lost.
    pub fn handle_link_down(&mut self, now: Time, link: &Link) {
        self.turn(now);
        match link {
            Link::Router(_) => {
                self.routers.remove(link);
            }
            Link::Server(name) => {
                self.board.set_reachable(name, false);
                self.replace_alternates_at(name);
                self.status_changed(now);
            }
        }
    }

    pub(super) fn handle_peer_message(&mut self, now: Time, from: &Name, message: Message) {
        match message {
            Message::Status(status) if status.name == *from => {
                let was_ready = self.board.member(from).is_some_and(|member| member.is_ready());
                self.board.take(status);
                let ready = self.board.member(from).is_some_and(|member| member.is_ready());
                if ready && !was_ready {
                    self.find_company();
                }
            }
            Message::MirrorBegin { client, epoch, former } => {
                self.handle_mirror_begin(now, from, client, epoch, former);
            }
            Message::Mirror { client, epoch, sequence, slot, key, version } => {
                self.handle_mirror((client, epoch, sequence), slot, &key, version.as_ref());
            }
            Message::MirrorEnd { client, epoch } => self.handle_mirror_end(now, client, &epoch),
            Message::MirrorRefused { client, assignment } => {
                self.handle_mirror_refused(now, client, &assignment);
            }
            Message::Release { client, epoch } => self.handle_release(now, from, client, epoch),
            Message::Released { client, epoch } => {
                let debt = (from.clone(), client);
                if self.debts.get(&debt).is_some_and(|owed| *owed <= epoch) {
                    self.debts.remove(&debt);
                }
            }
            Message::Returned { round } => {
                for (client, epoch) in self.owed_to(from) {
                    self.send_to_server(from, Message::Release { client, epoch });
                }
                self.send_to_server(from, Message::Settled { round });
            }
            Message::Settled { round } => self.handle_settled(now, from, round),
            // Nothing else is a server's to say to a server.
            _ => {}
        }
    }

    /// The loop stood still: others may have taken our clients meanwhile. Ask them, and serve
    /// nobody until they have answered.
    pub(super) fn begin_return(&mut self, now: Time) {
        let awaited: BTreeSet<_> = self
            .board
            .members()
            .filter(|(name, member)| member.status.is_some() && **name != self.config.name)
            .map(|(name, _)| name.clone())
            .collect();
        if self.primary_clients == 0 || awaited.is_empty() {
            return;
        }
        self.rounds += 1;
        let held_back =
            self.returning.take().map_or_else(VecDeque::new, |returning| returning.held_back);
        let round = self.rounds;
        let repeat_at = now + REPEAT_INTERVAL;
        for name in &awaited {
            self.send_to_server(name, Message::Returned { round });
        }
        self.returning = Some(Return { round, since: now, repeat_at, awaited, held_back });
        self.status_changed(now);
    }

    fn handle_settled(&mut self, now: Time, from: &Name, round: u64) {
        let Some(returning) = &mut self.returning else {
            return;
        };
        if returning.round == round {
            returning.awaited.remove(from);
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
                for name in awaited {
                    self.send_to_server(&name, Message::Returned { round });
                }
            }
            return;
        }
        let held_back = std::mem::take(&mut returning.held_back);
        self.returning = None;
        self.status_changed(now);
        for (link, forward) in held_back {
            self.handle_forward(now, &link, forward);
        }
    }

    /// Our numbers now.
    pub(super) fn status(&mut self) -> Status {
        self.status_sequence += 1;
        Status {
            name: self.config.name.clone(),
            incarnation: self.config.incarnation,
            sequence: self.status_sequence,
            zone: self.config.zone.clone(),
            state: if self.returning.is_some() { SelfState::Returned } else { SelfState::Ready },
            primary_clients: self.primary_clients,
            alternate_clients: self.alternate_clients(),
            threshold: self.config.threshold,
            capacity: self.config.capacity,
            handed_on_clients: self.counters.handed_on_clients,
            must_served_clients: self.counters.must_served_clients,
            released_clients: self.counters.released_clients,
            pid: self.config.pid,
            admin: self.config.admin.clone(),
        }
    }

    /// Clients that this server would take over.
    pub(super) fn alternate_clients(&self) -> u64 {
        self.clients.len() as u64 - self.primary_clients
    }

    pub(super) fn push_status(&mut self, now: Time) {
        self.status_due = now + STATUS_INTERVAL;
        let status = self.status();
        let servers = self.board.members().filter(|(_, member)| member.reachable);
        let mut links: Vec<_> = servers.map(|(name, _)| Link::Server(name.clone())).collect();
        links.extend(self.routers.iter().cloned());
        for link in links {
            self.send(&link, Message::Status(status.clone()));
        }
    }

    /// Checks what must hold at every moment; the simulator calls it after every step.
    ///
    /// # Panics
    /// If the count of clients as primary differs from the list, or a primary's client is neither
    /// mirrored nor waiting for a server that could mirror it.
    pub fn assert_consistent(&self) {
        let listed = self.clients.values().filter(|record| record.role == ClientRole::Primary);
        assert_eq!(listed.count() as u64, self.primary_clients, "{}: count", self.config.name);
        for (client, record) in &self.clients {
            let alone = record.role == ClientRole::Primary && record.alternate.is_none();
            assert_eq!(alone, self.alone.contains(client), "{}: {client}", self.config.name);
            assert_ne!(record.alternate.as_ref(), Some(&self.config.name), "its own alternate");
        }
    }
}
