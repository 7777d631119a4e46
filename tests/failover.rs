//! What clients notice when a server or a router fails while they ask: nothing.
//!
//! Each test is one event in a cluster of processes, under a moderate load that goes on all the
//! time, with large bodies under way when it strikes. How long anything takes is not looked at
//! here: `understudy bench failover` measures that.

// The rules of the pure core are not for tests of processes.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "failover/asking.rs"]
mod asking;
mod common;
#[path = "failover/network.rs"]
mod network;

use asking::{Asking, HELD};
use common::{Cluster, understudy, wait_for, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use understudy::client::Client;

/// Clients that ask all the time.
const CLIENTS: usize = 8;
/// Answers that each of them must get after something has happened: it goes on.
const MORE: u64 = 20;

/// A cluster, and clients that ask it.
struct Scene {
    // Clients end before their cluster does.
    asking: Asking,
    cluster: Cluster,
    /// The primary of the first client.
    victim: String,
    /// One that has the same primary, and does not ask.
    idle: Client,
}

impl Scene {
    /// Starts all; every mirror is warm afterwards, and large bodies are under way from the victim.
    fn start(arguments: &[&str]) -> Self {
        let asking = Asking::new();
        let cluster =
            Cluster::start(&[&["--servers", "3", "--dir", asking.directory()], arguments].concat());
        let routers = cluster.routers();
        let routers: Vec<_> = routers.iter().map(|name| cluster.process(name).address).collect();
        let clients: Vec<_> = (0..CLIENTS).map(|_| asking.connect(&routers)).collect();
        let victim = primary(&clients[0]);
        // There are three servers: one of the next has the same, unless it is full.
        let idle = wait_for("another client of the victim", || {
            Some(asking.connect(&routers)).filter(|client| primary(client) == victim)
        });
        let all = || clients.iter().chain([&idle]);
        all().for_each(|client| wait_until_mirrored(&cluster, client));
        let asking = asking.begin(clients);
        Self { asking, cluster, victim, idle }
    }

    /// The clients that ask and have this primary.
    fn of(&self, server: &str) -> usize {
        let primaries = self.asking.clients().iter().map(primary);
        primaries.filter(|primary| primary == server).count()
    }

    /// Waits until all that ask have another primary than the victim.
    fn wait_until_taken_over(&self) {
        wait_until("the alternates take over", || self.of(&self.victim) == 0);
    }

    /// What a server says of itself.
    fn status(&self, server: &str, field: &str) -> Value {
        self.cluster.json(server, "/status")[field].clone()
    }

    /// Lets everything go on for a while, and checks that nobody noticed anything.
    fn end(&mut self) {
        self.asking.wait_for_more(MORE);
        self.asking.end();
    }

    /// Waits until each client has exactly one primary, and nobody owes a release.
    fn wait_until_at_rest(&self) {
        wait_until("the releases are paid", || {
            let servers = self.cluster.servers();
            servers.iter().all(|server| self.status(server, "releases_owed") == 0)
        });
        let mut primaries = BTreeMap::<String, Vec<String>>::new();
        for server in self.cluster.servers() {
            for client in listed(&self.cluster, &server) {
                primaries.entry(client).or_default().push(server.clone());
            }
        }
        for client in self.asking.clients().iter().chain([&self.idle]) {
            let servers = &primaries[&id(client)];
            assert_eq!(servers, &[primary(client)], "{}", id(client));
        }
    }

    /// Clients that the victim will have released in all, once those that ask are taken from it.
    fn released_after_takeovers(&self) -> u64 {
        let released = self.status(&self.victim, "released_clients");
        released.as_u64().expect("a number") + self.of(&self.victim) as u64
    }

    /// What must be so of a server that was gone for a while, while one client did not ask.
    fn check_returned(&self, released: u64) {
        let victim = &self.victim;
        wait_until("it drops the clients that were taken over", || {
            self.status(victim, "released_clients") == released
        });
        wait_until("it is healthy", || {
            let by_router = &self.cluster.server_status(victim)["state"];
            self.status(victim, "state") == "healthy" && by_router == "healthy"
        });
        let left = listed(&self.cluster, victim);
        assert!(left.contains(&id(&self.idle)), "the one that was not taken over is left");
        let taken = self.asking.clients().iter().filter(|client| primary(client) != *victim);
        assert!(taken.map(id).all(|client| !left.contains(&client)), "{left:?}");
        self.check_idle_was_left_alone();
        self.wait_until_serves(victim);
    }

    /// The client that did not ask has the primary that it had, in the same term.
    fn check_idle_was_left_alone(&self) {
        let term = || self.idle.assignment().map(|it| (it.primary().clone(), it.epoch.term));
        let before = term();
        self.asking.check_one(&self.idle);
        assert_eq!(term(), before);
    }

    /// Waits until a new client is given to a server.
    fn wait_until_serves(&self, server: &str) {
        let router = [self.cluster.router()];
        wait_until("it serves new clients", || primary(&self.asking.connect(&router)) == server);
    }
}

fn id(client: &Client) -> String {
    client.client_id().expect("the router said who it is").to_string()
}

fn primary(client: &Client) -> String {
    client.assignment().expect("it was assigned").primary().to_string()
}

/// The clients that a server lists as primary.
fn listed(cluster: &Cluster, server: &str) -> Vec<String> {
    let page = cluster.json(server, "/clients");
    let clients = page["clients"].as_array().expect("a list of clients");
    let clients = clients.iter().filter(|client| client["role"] == "primary");
    clients.map(|client| client["client"].as_str().expect("text").to_owned()).collect()
}

/// Waits until primary and alternate know what a client holds.
fn wait_until_mirrored(cluster: &Cluster, client: &Client) {
    wait_until("both mirrors are whole", || {
        let page = cluster.json("router", &format!("/clients/{}", id(client)));
        let mirrors = page["mirrors"].as_array().expect("a list of mirrors");
        mirrors.len() == 2 && mirrors.iter().all(|mirror| mirror["entries"] == HELD)
    });
}

#[test]
fn nobody_notices_that_a_primary_is_killed() {
    let mut scene = Scene::start(&["--no-restart"]);
    scene.asking.while_bodies_are_under_way(|| scene.cluster.kill(&scene.victim));
    scene.wait_until_taken_over();
    scene.end();
}

#[test]
fn nobody_notices_that_a_primary_is_frozen_and_it_drops_exactly_who_was_taken_over() {
    let mut scene = Scene::start(&[]);
    let released = scene.released_after_takeovers();
    scene.asking.while_bodies_are_under_way(|| {
        scene.cluster.signal(&scene.victim, Signal::STOP);
    });
    scene.wait_until_taken_over();
    scene.asking.wait_for_more(MORE);
    scene.cluster.signal(&scene.victim, Signal::CONT);
    scene.check_returned(released);
    scene.end();
    scene.wait_until_at_rest();
}

#[test]
fn nobody_notices_that_a_primary_is_cut_off_and_it_drops_exactly_who_was_taken_over() {
    let name = "nobody_notices_that_a_primary_is_cut_off_and_it_drops_exactly_who_was_taken_over";
    if !network::enter(name) {
        return;
    }
    let mut scene = Scene::start(&["--apart"]);
    let released = scene.released_after_takeovers();
    let address = scene.cluster.process(&scene.victim).address.ip();
    scene.asking.while_bodies_are_under_way(|| network::cut(address));
    scene.wait_until_taken_over();
    scene.asking.wait_for_more(MORE);
    network::heal();
    scene.check_returned(released);
    scene.end();
    scene.wait_until_at_rest();
}

#[test]
fn nobody_notices_that_a_router_is_killed() {
    let mut scene = Scene::start(&["--routers", "2", "--no-restart"]);
    let whom = |scene: &Scene| {
        let clients = scene.asking.clients().iter();
        clients.map(|client| (id(client), client.assignment())).collect::<Vec<_>>()
    };
    let before = whom(&scene);
    scene.asking.while_bodies_are_under_way(|| scene.cluster.kill("router"));
    scene.end();
    let after = whom(&scene);
    let ids = |whom: &[(String, _)]| whom.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&after), ids(&before), "the same clients");
    // The same primaries and terms too, unless a server was slow enough to be taken for lost.
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    let takeovers = &scene.cluster.json("router-2", "/status")["takeovers"];
    assert!(takeovers.as_u64() >= Some(changed as u64), "{takeovers}: {before:?}, {after:?}");
}

#[test]
fn nobody_notices_that_a_primary_is_drained() {
    let mut scene = Scene::start(&[]);
    let admin = scene.cluster.process("router").admin.to_string();
    let command = |what: &str, more: &[&str]| {
        let arguments = [&[what, &scene.victim, "--admin", &admin], more].concat();
        let output = understudy(arguments);
        assert_eq!(output.code, Some(0), "{output:?}; {}", scene.cluster.stderr());
    };
    scene.asking.while_bodies_are_under_way(|| command("drain", &["--wait"]));
    assert_eq!(listed(&scene.cluster, &scene.victim), [""; 0], "all were handed over");
    assert_eq!(scene.status(&scene.victim, "state"), "draining");
    scene.wait_until_taken_over();
    scene.asking.check_one(&scene.idle);
    assert_ne!(primary(&scene.idle), scene.victim);
    command("undrain", &[]);
    scene.wait_until_serves(&scene.victim);
    scene.end();
    scene.wait_until_at_rest();
}

#[test]
fn nobody_notices_that_one_server_after_the_other_is_started_anew() {
    let mut scene = Scene::start(&[]);
    for server in scene.cluster.servers() {
        let cluster = &scene.cluster;
        scene.asking.while_bodies_are_under_way(|| {
            cluster.signal(&server, Signal::TERM);
            cluster.event("child_exited", Some(&server));
        });
        cluster.wait_for_restart(&server);
        let pid = cluster.process(&server).pid;
        wait_until("the router finds the new one healthy", || {
            let status = cluster.server_status(&server);
            status["pid"] == pid && status["state"] == "healthy"
        });
    }
    // The one that did not ask all the while was handed over too, with all that is known of it.
    scene.asking.check_one(&scene.idle);
    scene.end();
    scene.wait_until_at_rest();
}
