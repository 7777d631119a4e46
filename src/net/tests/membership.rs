//! Membership between parts that run in this process: who is linked, and who is heard.

use super::cluster::{Part, RunningServer, block_on, sample, wait_until};
use crate::config::{ServerConfig, bundled, load_router, load_server};
use crate::net::backplane::{Dialling, Identity};
use crate::net::inspect::Inspectors;
use crate::net::tls::{self, Backplane};
use crate::net::{router, server};
use crate::wire::Name;
use crate::wire::backplane::{Gossip, GossipKind, MemberId, Purpose, Role};
use crate::wire::session::CloseCode;
use quinn::{ConnectionError, VarInt};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;

/// A router, with the directory of the files that all parts use.
struct Router {
    inspectors: Inspectors<router::Shell>,
    _part: Part,
}

fn files() -> TempDir {
    let files = tempfile::tempdir().expect("a temporary directory");
    bundled::write_to(files.path()).expect("the bundled certificates");
    files
}

fn member_section(role: &str) -> String {
    format!(
        "[backplane]\nca = \"backplane-ca.pem\"\ncert = \"backplane-{role}.pem\"\n\
         key = \"backplane-{role}.key\"\n"
    )
}

impl Router {
    fn start(files: &TempDir, seed: &str) -> Self {
        let text = format!(
            "name = \"router-1\"\nlisten = \"127.0.0.1:0\"\nworkers = 1\nseeds = [\"{seed}\"]\n\
             [tls]\ncert = \"server.pem\"\nkey = \"server.key\"\n{}",
            member_section("router")
        );
        let path = files.path().join("router.toml");
        std::fs::write(&path, text).expect("a file in a directory of our own");
        let config = load_router(&path).expect("a good configuration");
        let service = router::RouterService::bind(config).expect("a free port");
        let inspectors = service.inspectors();
        let part = Part::run(move |stop| {
            service.run(async move { drop(stop.await) }).expect("workers start and end");
        });
        Self { inspectors, _part: part }
    }

    /// The names of the members that it knows to exist.
    async fn members(&self) -> Vec<String> {
        let look = |shell: &Rc<router::Shell>| {
            let members = shell.mesh().expect("the worker is the first").members().1;
            let up = members.iter().filter(|known| known.state_word() != "down");
            up.map(|known| known.member.name.to_string()).collect()
        };
        self.inspectors.each()[0].look(look).await.unwrap_or_default()
    }
}

fn server_config(files: &TempDir, name: &str, seeds: &str) -> ServerConfig {
    let text = format!(
        "name = \"{name}\"\nlisten = \"127.0.0.1:0\"\nworkers = 1\nseeds = [{seeds}]\n{}\
         [[pool]]\nname = \"default\"\nsource = {{ program = true }}\n",
        member_section("server")
    );
    let path = files.path().join(format!("{name}.toml"));
    std::fs::write(&path, text).expect("a file in a directory of our own");
    load_server(&path).expect("a good configuration")
}

async fn router_links(server: &RunningServer) -> usize {
    let look = |shell: &Rc<server::Shell>| shell.router_links();
    server.inspectors.each()[0].look(look).await.expect("the worker answers")
}

#[test]
fn a_server_known_by_two_addresses_has_one_set_of_links() {
    let files = files();
    let mut config = server_config(&files, "server-1", "");
    // On all addresses: the seed is one of them, and the server tells of another.
    config.listen = ([0, 0, 0, 0], 0).into();
    let server = RunningServer::run(config, sample());
    let seed = format!("127.0.0.2:{}", server.address.port());
    let router = Router::start(&files, &seed);
    block_on(async {
        wait_until(async || router_links(&server).await == 1).await;
        wait_until(async || router.members().await == ["server-1"]).await;
        let look = |shell: &Rc<router::Shell>| shell.mesh().expect("a first worker").members().1;
        let known = router.inspectors.each()[0].look(look).await.expect("the worker answers");
        let address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
        assert_eq!(known[0].member.address, Some(address));
        // Long enough for a second set to come about, if it did.
        for _ in 0..50 {
            assert_eq!(router_links(&server).await, 1);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn a_name_leads_to_all_members_at_its_addresses() {
    let files = files();
    let first = RunningServer::run(server_config(&files, "server-1", ""), sample());
    // The first one is a seed by address here, and by a name that has to be looked up below.
    let seed = format!("\"{}\"", first.address);
    let second = RunningServer::run(server_config(&files, "server-2", &seed), sample());
    let router = Router::start(&files, &format!("dns:localhost:{}", first.address.port()));
    block_on(async {
        wait_until(async || router.members().await == ["server-1", "server-2"]).await;
        for server in [&first, &second] {
            wait_until(async || router_links(server).await == 1).await;
        }
        drop(second);
        wait_until(async || router.members().await == ["server-1"]).await;
    });
}

/// Somebody with a member's certificate who says what he likes.
async fn intrude(files: &TempDir, name: &str, to: SocketAddr, gossip: &Gossip) -> ConnectionError {
    let config = server_config(files, name, "");
    let own = Backplane::load(&config.backplane, Role::Server, &config.name).expect("good files");
    let dialling = Dialling::new(config.listen, tls::quic_client(own.client_config()));
    let (role, name) = (Role::Server, config.name);
    let identity = Identity {
        role,
        name,
        incarnation: 1,
        workers: 1,
        worker: 0,
        versions: config.versions,
        pool: None,
    };
    let mut met = identity.dial_any(&dialling, to, Purpose::Gossip).await.expect("it answers");
    met.send.write_all(gossip.encode().bytes()).await.expect("it reads");
    met.connection.closed().await
}

#[test]
fn whoever_speaks_in_anothers_name_is_not_heard() {
    let files = files();
    let server = RunningServer::run(server_config(&files, "server-1", ""), sample());
    let member = |name| MemberId {
        role: Role::Server,
        name: Name::new(name).expect("a name"),
        incarnation: 1,
        address: None,
    };
    let gossip = Gossip {
        from: member("server-2"),
        refuted: 0,
        to: member("server-1"),
        kind: GossipKind::Announce,
        updates: vec![],
    };
    block_on(async {
        let closed = intrude(&files, "server-9", server.address, &gossip).await;
        let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
        assert_eq!(close.error_code, VarInt::from_u32(CloseCode::ProtocolViolation as u32));
        let look = |shell: &Rc<server::Shell>| {
            let mesh = shell.mesh().expect("a first worker");
            (mesh.members().1, mesh.links())
        };
        let (known, links) = server.inspectors.each()[0].look(look).await.expect("it answers");
        assert_eq!((known, links), (vec![], 0));
    });
}

#[test]
fn a_server_of_version_1_is_linked_to_by_its_seed_and_hears_no_gossip() {
    let files = files();
    let mut config = server_config(&files, "server-1", "");
    config.versions.newest = 1;
    let server = RunningServer::run(config, sample());
    let router = Router::start(&files, &server.address.to_string());
    block_on(async {
        wait_until(async || router_links(&server).await == 1).await;
        assert!(router.members().await.is_empty());
    });
}
