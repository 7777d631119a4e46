//! The cluster of `docs/cluster.md`: two routers and four servers, started as processes from exactly
//! the files in `examples/cluster`, each of which names one other member. A fifth server comes while
//! they run, and goes again.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{page, signal, understudy, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use understudy::client::{Client, ClientConfig, ReplyKind, Roots, ValidatorPolicy};

const ROUTERS: [&str; 2] = ["router-1", "router-2"];
const SERVERS: [&str; 4] = ["server-1", "server-2", "server-3", "server-4"];
const FIFTH: &str = "server-5";
const HELLO: &[u8] = b"Hello from the cluster.\n";

/// A directory with the files, on a loopback network of this test's own: the files say
/// `127.0.0.something`, and another test may run by them at the same time.
struct Place {
    directory: TempDir,
    network: String,
}

/// A process that is killed when the test ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already, which is no matter.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        static PLACES: AtomicU32 = AtomicU32::new(0);
        // Few tests in each of many processes.
        let id = std::process::id() * 4 + PLACES.fetch_add(1, Ordering::Relaxed);
        let network = format!("127.{}.{}.", 1 + id / 250 % 250, 1 + id % 250);
        let place = Self { directory, network };
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster");
        for entry in fs::read_dir(&example).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            if path.extension().is_some_and(|ending| ending == "toml") {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.replace("127.0.0.", &place.network);
                fs::write(place.path(name.to_str().unwrap()), text).unwrap();
            }
        }
        fs::create_dir(place.path("www")).unwrap();
        fs::copy(example.join("www/hello.txt"), place.path("www/hello.txt")).unwrap();
        fs::write(place.path("token.keys"), "5a".repeat(32)).unwrap();
        let mut arguments = vec!["certs".to_owned(), "new".into(), "--out".into()];
        arguments.push(place.path("certs").display().to_string());
        for (flag, values) in [
            ("--name", vec![place.ip("router-1"), place.ip("router-2")]),
            ("--router", ROUTERS.map(str::to_owned).to_vec()),
            ("--server", SERVERS.iter().chain([&FIFTH]).map(|name| (*name).to_owned()).collect()),
        ] {
            values.into_iter().for_each(|value| arguments.extend([flag.to_owned(), value]));
        }
        let made = understudy(arguments);
        assert_eq!(made.code, Some(0), "{made:?}");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.toml"))
    }

    /// As the files number them.
    fn ip(&self, name: &str) -> String {
        let (role, number) = name.split_once('-').unwrap();
        format!("{}{}{number}", self.network, if role == "router" { 1 } else { 2 })
    }

    fn admin(&self, name: &str) -> SocketAddr {
        let port = if name.starts_with("router") { 4480 } else { 4481 };
        format!("{}:{port}", self.ip(name)).parse().unwrap()
    }

    fn public(&self, router: &str) -> SocketAddr {
        format!("{}:4433", self.ip(router)).parse().unwrap()
    }

    /// Has a member speak no newer version than this one, and know all servers: members of version
    /// 1 do not gossip.
    fn speak(&self, name: &str, version: u64) {
        let servers = SERVERS.map(|server| format!("\"{}:4443\"", self.ip(server))).join(", ");
        let text = fs::read_to_string(self.config(name)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("newest_version"));
        let lines = lines.map(|line| match line {
            "[backplane]" => format!("[backplane]\nnewest_version = {version}"),
            line if line.starts_with("seeds") => format!("seeds = [{servers}]"),
            line => line.to_owned(),
        });
        fs::write(self.config(name), lines.collect::<Vec<_>>().join("\n")).unwrap();
    }

    fn start(&self, name: &str) -> Process {
        let role = name.split_once('-').unwrap().0;
        let log = fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_understudy"))
            .args([role, "--config"])
            .arg(self.config(name))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        Process(child.unwrap())
    }

    /// A page, as far as there is an answer.
    fn page(&self, name: &str, path: &str) -> Option<Value> {
        let (code, body) = page(self.admin(name), path).ok()?;
        (code == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    /// Of each member that a process knows, the state.
    fn members(&self, name: &str) -> BTreeMap<String, String> {
        let status = self.page(name, "/status");
        let members = status.as_ref().and_then(|status| status["members"].as_array());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let state = |member: &Value| (text(&member["name"]), text(&member["state"]));
        members.into_iter().flatten().map(state).collect()
    }

    /// Whether a process knows all of these to be there, and nobody else.
    fn knows(&self, name: &str, all: &[&str]) -> bool {
        let members = self.members(name);
        let up = members.iter().filter(|(_, state)| *state != "down").map(|(name, _)| name);
        up.eq(all) && members[name] == "self"
    }

    /// The servers that a router is linked to and has statuses of.
    fn healthy(&self, router: &str) -> BTreeSet<String> {
        let status = self.page(router, "/status");
        let servers = status.as_ref().and_then(|status| status["servers"].as_array());
        let good = |server: &&Value| server["state"] == "healthy" && server["capacity"] != 0;
        let name = |server: &Value| server["name"].as_str().unwrap().to_owned();
        servers.into_iter().flatten().filter(good).map(name).collect()
    }

    /// Whether all of `all` know each other, and both routers use the servers among them.
    fn is_complete(&self, all: &[&str]) -> bool {
        let servers = all.iter().filter(|name| name.starts_with("server"));
        let servers: BTreeSet<_> = servers.map(|name| (*name).to_owned()).collect();
        all.iter().all(|name| self.knows(name, all))
            && ROUTERS.iter().all(|router| self.healthy(router) == servers)
    }

    fn wait_until_complete(&self, what: &str, all: &[&str]) {
        // What was said in vain is of use only when it fails.
        let show = ShowLogs(self);
        wait_until(what, || self.is_complete(all));
        std::mem::forget(show);
    }

    async fn client(&self, router: &str) -> Client {
        let mut config = ClientConfig::new(vec![self.public(router)]);
        config.server_name = self.ip(router);
        config.roots = Roots::File(self.path("certs/ca.pem"));
        let client = Client::connect(config).await.unwrap();
        assert_eq!(client.get("/hello.txt").await.unwrap().bytes, HELLO);
        client
    }
}

/// Shows what the processes said, if the test fails meanwhile.
struct ShowLogs<'a>(&'a Place);

impl Drop for ShowLogs<'_> {
    fn drop(&mut self) {
        for name in ROUTERS.iter().chain(&SERVERS).chain([&FIFTH]) {
            let log = fs::read_to_string(self.0.path(&format!("{name}.log"))).unwrap_or_default();
            eprintln!("--- {name}: {:?}\n{log}", self.0.members(name));
        }
    }
}

fn primary(client: &Client) -> String {
    client.assignment().unwrap().primary().to_string()
}

#[test]
fn the_files_of_the_example_are_right() {
    let place = Place::new();
    let document = include_str!("../docs/cluster.md");
    assert!(document.contains(include_str!("../examples/cluster/server-1.toml")));
    assert!(document.contains(include_str!("../examples/cluster/router-1.toml")));
    for name in ROUTERS.iter().chain(&SERVERS).chain([&FIFTH]) {
        let checked = understudy(["check", "--config", place.config(name).to_str().unwrap()]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let text = fs::read_to_string(place.config(name)).unwrap();
        let seeds = text.lines().find(|line| line.starts_with("seeds")).unwrap();
        assert_eq!(seeds.matches(&place.network).count(), 1, "{name} names more than one seed");
    }
}

#[tokio::test]
async fn a_cluster_finds_itself_by_one_seed_each_and_grows_and_shrinks_while_it_serves() {
    let place = Place::new();
    let all: Vec<_> = ROUTERS.into_iter().chain(SERVERS).collect();
    let mut processes: BTreeMap<_, _> = all.iter().map(|name| (*name, place.start(name))).collect();
    place.wait_until_complete("everybody knows everybody", &all);

    // Both routers serve, and one after the other its new clients get the next server in order.
    let mut old = Vec::new();
    for number in 0..8 {
        old.push(place.client(ROUTERS[number % 2]).await);
    }
    let before: Vec<_> = old.iter().map(primary).collect();
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 4, "{before:?}");
    let status = understudy(["status", "--admin", &place.admin("router-2").to_string()]);
    for name in &all {
        assert!(status.text().lines().any(|line| line.starts_with(name)), "{status:?}");
    }

    // A fifth server comes: new clients spread to it, the others stay where they are.
    processes.insert(FIFTH, place.start(FIFTH));
    let more: Vec<_> = all.iter().copied().chain([FIFTH]).collect();
    place.wait_until_complete("everybody knows the fifth server", &more);
    let mut new = Vec::new();
    for number in 0..10 {
        new.push(place.client(ROUTERS[number % 2]).await);
    }
    let spread: BTreeSet<_> = new.iter().map(primary).collect();
    assert_eq!(spread.len(), 5, "{spread:?}");
    for (client, primary_before) in old.iter().zip(&before) {
        assert_eq!(client.get("/hello.txt").await.unwrap().bytes, HELLO);
        assert_eq!(primary(client), *primary_before);
    }

    // A server is told to stop: it says so, and its clients are answered by others.
    signal(processes["server-2"].0.id(), Signal::TERM);
    let fewer: Vec<_> = more.iter().copied().filter(|name| *name != "server-2").collect();
    place.wait_until_complete("everybody knows that server-2 is gone", &fewer);
    for client in old.iter().chain(&new) {
        assert_eq!(client.get("/hello.txt").await.unwrap().bytes, HELLO);
        assert_ne!(primary(client), "server-2");
    }
    for name in &fewer {
        assert_eq!(place.members(name)["server-2"], "down");
    }

    // It comes back as a later run, from the same file.
    processes.insert("server-2", place.start("server-2"));
    place.wait_until_complete("server-2 is back", &more);

    // One that is killed cannot say so: the others find out.
    signal(processes[FIFTH].0.id(), Signal::KILL);
    place.wait_until_complete("everybody knows that the fifth server is dead", &all);
    for client in old.iter().chain(&new) {
        assert_eq!(client.get("/hello.txt").await.unwrap().bytes, HELLO);
        assert_ne!(primary(client), FIFTH);
    }
}

/// All that is held is answered from the mirror, without an error, whatever is restarted meanwhile.
async fn ask_all(clients: &[Client]) {
    for client in clients {
        let reply = client.get_with("/hello.txt", ValidatorPolicy::None).await.unwrap();
        assert_eq!((&reply.bytes[..], reply.kind), (HELLO, ReplyKind::UseCached));
    }
}

/// Has them ask again and again until something is so.
async fn ask_until(what: &str, clients: &[Client], mut done: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        ask_all(clients).await;
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "not so: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn members_are_upgraded_one_by_one_from_the_version_before_and_nothing_is_lost() {
    let place = Place::new();
    let router = ROUTERS[0];
    let all: Vec<_> = [router].into_iter().chain(SERVERS).collect();
    all.iter().for_each(|name| place.speak(name, 1));
    let mut processes: BTreeMap<_, _> = all.iter().map(|name| (*name, place.start(name))).collect();
    let servers: BTreeSet<_> = SERVERS.map(str::to_owned).into();
    wait_until("the router is linked to all servers", || place.healthy(router) == servers);
    let spoken = || {
        let status = place.page(router, "/status").unwrap();
        let version = |server: &Value| server["version"].as_u64().unwrap();
        status["servers"].as_array().unwrap().iter().map(version).collect::<Vec<_>>()
    };
    assert_eq!(spoken(), [1; 4]);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(place.client(router).await);
    }
    for server in SERVERS {
        place.speak(server, 2);
        signal(processes[server].0.id(), Signal::TERM);
        let child = &mut processes.get_mut(server).unwrap().0;
        // With version 1 on either side a client moves when it asks next.
        let stopped = || child.try_wait().unwrap().is_some();
        ask_until("it has handed its clients over", &clients, stopped).await;
        processes.insert(server, place.start(server));
        ask_until("it is back", &clients, || place.healthy(router) == servers).await;
    }
    // The servers speak version 2 with each other already, and version 1 with the router.
    assert_eq!(spoken(), [1; 4]);
    place.speak(router, 2);
    processes.remove(router);
    processes.insert(router, place.start(router));
    ask_all(&clients).await;
    assert_eq!(spoken(), [2; 4]);
}
