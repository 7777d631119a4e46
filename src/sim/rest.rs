//! What must hold at rest.

use super::checks::Check;
use super::cluster::World;
use super::network::Seat;
use crate::node::router::RouterView;
use crate::node::server::{ClientRole, ClientView, Server};
use crate::wire::{Assignment, ClientId, Name};
use std::collections::{BTreeMap, BTreeSet};

impl World {
    pub(super) fn check_rest(&mut self) {
        if let Err((check, what)) = self.find_unrest() {
            self.fail(check, what);
        }
    }

    fn find_unrest(&self) -> Result<(), (Check, String)> {
        self.check_calls_ended()?;
        self.check_primaries()?;
        self.check_debts()?;
        for client in self.live_client_ids() {
            self.check_assignment(&client)?;
        }
        self.check_statuses()
    }

    /// The workers of all servers.
    fn machines(&self) -> impl Iterator<Item = (&Name, &Server)> {
        self.servers.iter().flat_map(|process| {
            process.workers.iter().map(|worker| (&process.name, &worker.machine))
        })
    }

    /// The workers of all routers.
    pub(super) fn router_views(&self) -> impl Iterator<Item = (Seat, RouterView)> {
        self.routers.iter().enumerate().flat_map(|(place, process)| {
            let workers = process.workers.iter().enumerate();
            workers.map(move |(at, worker)| ((place, at), worker.machine.view()))
        })
    }

    fn live_client_ids(&self) -> BTreeSet<ClientId> {
        let remembered = !self.plan.forgets_clients();
        // Those who had nothing to ask for lately may be forgotten.
        let asked = remembered || !self.cacheable_keys().is_empty();
        let clients = self.live_clients().into_iter().filter(|_| asked).filter_map(|place| {
            self.clients[place].machine.as_ref().and_then(|machine| machine.client_id())
        });
        // Callers ask for the last time long before the end.
        let callers = self.callers.iter().filter(|_| remembered);
        let browsers = self.browsers.iter().filter(|_| remembered);
        let by_hand = callers.filter_map(|caller| caller.client);
        clients.chain(by_hand).chain(browsers.filter_map(|browser| browser.client)).collect()
    }

    fn check_calls_ended(&self) -> Result<(), (Check, String)> {
        for (place, caller) in self.callers.iter().enumerate() {
            if let Some((request_id, (asked, _))) = caller.open.first_key_value() {
                let waited = self.now.since(*asked);
                let what = format!("caller {place}, request {request_id}: no reply in {waited:?}");
                return Err((Check::EndsOnce, what));
            }
        }
        for (seat, view) in self.router_views() {
            if view.requests > 0 {
                let what = format!("router {seat:?} has {} requests", view.requests);
                return Err((Check::EndsOnce, what));
            }
            if view.in_flight > 0 {
                let what = format!("the sessions of router {seat:?} have {}", view.in_flight);
                return Err((Check::EndsOnce, what));
            }
        }
        for (name, machine) in self.machines() {
            let view = machine.view();
            let open = (view.open_retrievals, view.open_calls, view.open_exchanges);
            if open != (0, 0, 0) {
                let what = format!("{name} has {open:?} retrievals, calls and exchanges");
                return Err((Check::EndsOnce, what));
            }
        }
        Ok(())
    }

    fn check_primaries(&self) -> Result<(), (Check, String)> {
        let mut primaries: BTreeMap<ClientId, (&Name, ClientView)> = BTreeMap::new();
        for (name, machine) in self.machines() {
            let views = machine.client_views(None, usize::MAX).into_iter();
            for view in views.filter(|view| view.role == ClientRole::Primary) {
                if let Some((other, theirs)) = primaries.get(&view.client) {
                    let (client, ours) = (view.client, &view.assignment);
                    let theirs = &theirs.assignment;
                    let what = format!("{client}: {other} {theirs:?}, and {name} {ours:?}");
                    return Err((Check::TwoPrimaries, what));
                }
                primaries.insert(view.client, (name, view));
            }
        }
        Ok(())
    }

    fn check_debts(&self) -> Result<(), (Check, String)> {
        for (name, machine) in self.machines() {
            let debts = machine.view().debts;
            if debts > 0 {
                return Err((Check::Debt, format!("{name} owes {debts} releases")));
            }
        }
        Ok(())
    }

    /// A client that was just served has one primary, one alternate that knows it, and equal
    /// mirrors; and was told so.
    fn check_assignment(&self, client: &ClientId) -> Result<(), (Check, String)> {
        let wrong = |what: String| Err((Check::Alternate, format!("client {client}: {what}")));
        let mut primary = None;
        let mut alternates = Vec::new();
        for (name, machine) in self.machines() {
            let views = machine.client_views(None, usize::MAX);
            let Some(view) = views.into_iter().find(|view| view.client == *client) else {
                continue;
            };
            match view.role {
                ClientRole::Primary => primary = Some((machine, view)),
                ClientRole::Alternate => alternates.push((name, machine, view)),
            }
        }
        let Some((machine, view)) = primary else {
            return wrong("no server lists it as primary".into());
        };
        let [(name, alternate, theirs)] = &alternates[..] else {
            let names: Vec<_> = alternates.iter().map(|(name, ..)| name).collect();
            return wrong(format!("{:?}, and alternates are {names:?}", view.assignment));
        };
        if view.assignment.alternate.as_ref() != Some(name)
            || view.assignment.epoch != theirs.assignment.epoch
        {
            return wrong(format!("{:?}, but {name} has {:?}", view.assignment, theirs.assignment));
        }
        let told = self.told(client).or_else(|| self.told_by_http(client));
        if let Some(told) = told.filter(|told| **told != view.assignment) {
            return wrong(format!("{:?}, but it was told {told:?}", view.assignment));
        }
        let ours: Vec<_> = machine.mirror_entries(client).collect();
        let theirs: Vec<_> = alternate.mirror_entries(client).collect();
        if ours != theirs {
            return wrong(format!("its mirrors differ: {ours:?}, {theirs:?}"));
        }
        Ok(())
    }

    /// What a client was told last, if it is one that listens.
    fn told(&self, client: &ClientId) -> Option<&Assignment> {
        let machines = self.live_clients().into_iter().filter_map(|place| {
            self.clients[place].machine.as_ref().filter(|it| it.client_id() == Some(*client))
        });
        machines.filter_map(|machine| machine.assignment()).next()
    }

    /// The same of one that speaks HTTP: the highest that came over any of its connections.
    fn told_by_http(&self, client: &ClientId) -> Option<&Assignment> {
        let browsers = self.browsers.iter().filter(|browser| browser.client == Some(*client));
        let told = browsers.flat_map(|it| it.links.values()).filter_map(|it| it.told.as_ref());
        told.max_by(|one, other| one.epoch.cmp(&other.epoch))
    }

    fn check_statuses(&self) -> Result<(), (Check, String)> {
        for (seat, view) in self.router_views() {
            for (name, machine) in self.machines() {
                let row = view.servers.iter().find(|row| row.name == *name);
                let status = row.and_then(|row| row.status.as_ref());
                let told = status.map(|status| (status.primary_clients, status.alternate_clients));
                let truth = machine.view();
                if told != Some((truth.primary_clients, truth.alternate_clients)) {
                    let what = format!("router {seat:?} has {told:?} for {name}: {truth:?}");
                    return Err((Check::Status, what));
                }
            }
        }
        Ok(())
    }
}
