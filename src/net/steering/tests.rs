//! Real sockets on loopback, four workers, and the program against a model of it.

mod kernel;
mod model;
mod resets;

use super::*;
use crate::net::endpoint::{self, DiallingEndpoints};
use crate::net::tls::{self, Roots};
use quinn::{ClientConfig, Connection, Endpoint};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

const WORKERS: u8 = 4;
const ALPN: &[u8] = b"steering-test";
/// Long enough for any machine: nothing here waits for it unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// The workers of a process, all in this thread: what steers is the kernel.
struct Process {
    group: PortGroup,
    endpoints: Vec<Endpoint>,
}

impl Process {
    fn start(address: SocketAddr, steering: Steering) -> Self {
        Self::with_secrets(address, steering, &EndpointSecrets::random(steering))
    }

    fn with_secrets(address: SocketAddr, steering: Steering, secrets: &EndpointSecrets) -> Self {
        let group = PortGroup::bind(address, usize::from(WORKERS), steering).unwrap();
        assert_eq!(group.workers(), usize::from(WORKERS));
        let start = |worker| start_worker(group.socket(worker).unwrap(), worker, secrets);
        let endpoints = (0..WORKERS).map(start).collect();
        Self { group, endpoints }
    }

    fn address(&self) -> SocketAddr {
        self.group.local_address().unwrap()
    }

    fn open_connections(&self) -> usize {
        self.endpoints.iter().map(Endpoint::open_connections).sum()
    }
}

fn start_worker(socket: UdpSocket, worker: u8, secrets: &EndpointSecrets) -> Endpoint {
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let tls = tls::public_server(&certs.join("server.pem"), &certs.join("server.key"), &[ALPN]);
    let accepting = endpoint::public_accepting(tls::quic_server(tls.unwrap()));
    let ids = WorkerIds::new(worker, 0);
    let endpoint = endpoint::worker_endpoint(socket, ids, secrets, accepting).unwrap();
    tokio::spawn(accept(endpoint.clone(), worker));
    endpoint
}

async fn accept(endpoint: Endpoint, worker: u8) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            answer(connection, worker).await;
        });
    }
}

/// Says on each stream which worker this is, and where it sees the client.
async fn answer(connection: Connection, worker: u8) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        receive.read_to_end(100).await.unwrap();
        let port = connection.remote_address().port().to_be_bytes();
        send.write_all(&[worker, port[0], port[1]]).await.unwrap();
        send.finish().unwrap();
    }
}

/// The worker that serves a connection, and the port of the client as it sees it.
async fn ask(connection: &Connection) -> (u8, u16) {
    let asked = async {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(b"who?").await.unwrap();
        send.finish().unwrap();
        receive.read_to_end(100).await.unwrap()
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.expect("no worker answers");
    (answer[0], u16::from_be_bytes([answer[1], answer[2]]))
}

fn client_config() -> ClientConfig {
    ClientConfig::new(tls::quic_client(tls::public_client(Roots::Bundled, &[ALPN]).unwrap()))
}

/// A configuration whose first packet names a worker.
fn aimed_at(worker: u8) -> ClientConfig {
    let mut config = client_config();
    config.initial_dst_cid_provider(initial_id_of(worker));
    config
}

async fn connect(from: &Endpoint, config: ClientConfig, to: SocketAddr) -> Connection {
    let connecting = from.connect_with(config, to, "localhost").unwrap();
    tokio::time::timeout(PATIENCE, connecting).await.expect("no worker accepts").unwrap()
}

#[tokio::test]
async fn on_the_backplane_the_first_id_names_the_worker() {
    let process = Process::start(loopback(), Steering::Backplane);
    let client = endpoint::bind(loopback(), None).unwrap();
    let mut connections = Vec::new();
    for worker in [0, 1, 2, 3, 3, 2, 1, 0, 4, 7, 255] {
        let connection = connect(&client, aimed_at(worker), process.address()).await;
        assert_eq!(ask(&connection).await.0, worker % WORKERS, "aimed at {worker}");
        connections.push((connection, worker));
    }
    for (connection, worker) in &connections {
        assert_eq!(ask(connection).await.0, worker % WORKERS, "aimed at {worker}, later");
    }
    assert_eq!(process.open_connections(), connections.len());
}

#[tokio::test]
async fn members_dial_each_other_from_their_shared_ports() {
    let here = Process::start(loopback(), Steering::Backplane);
    let there = Process::start(loopback(), Steering::Backplane);
    for (from, endpoint) in here.endpoints.iter().enumerate() {
        for to in 0..WORKERS {
            let connection = connect(endpoint, aimed_at(to), there.address()).await;
            assert_eq!(ask(&connection).await.0, to, "from {from}");
        }
    }
}

#[tokio::test]
async fn a_public_connection_stays_with_the_worker_that_accepted_it() {
    let process = Process::start(loopback(), Steering::Public);
    let mut connections = Vec::new();
    for _ in 0..32 {
        let client = endpoint::bind(loopback(), None).unwrap();
        // All of them try to aim at one worker.
        let connection = connect(&client, aimed_at(2), process.address()).await;
        let (worker, port) = ask(&connection).await;
        assert_eq!(port, client.local_addr().unwrap().port());
        connections.push((client, connection, worker));
    }
    for (_, connection, worker) in &connections {
        for _ in 0..3 {
            assert_eq!(ask(connection).await.0, *worker);
        }
    }
    // One attempt in 4^31 fails here by chance.
    assert!(connections.iter().any(|(.., worker)| *worker != connections[0].2), "not spread");
    assert_eq!(process.open_connections(), connections.len(), "somebody was accepted twice");
}

#[tokio::test]
async fn a_client_that_changes_its_address_keeps_connection_and_worker() {
    for steering in [Steering::Public, Steering::Backplane] {
        let process = Process::start(loopback(), steering);
        for aim in 0..WORKERS {
            let client = endpoint::bind(loopback(), None).unwrap();
            let connection = connect(&client, aimed_at(aim), process.address()).await;
            let (worker, _) = ask(&connection).await;
            for turn in 0..5 {
                client.rebind(plain_socket(loopback()).unwrap()).unwrap();
                let port = client.local_addr().unwrap().port();
                assert_eq!(ask(&connection).await, (worker, port), "{steering:?}, turn {turn}");
            }
            assert_eq!(connection.close_reason(), None);
        }
        assert_eq!(process.open_connections(), usize::from(WORKERS));
    }
}

#[tokio::test]
async fn clients_of_both_families_reach_a_wildcard_address() {
    let any = SocketAddr::from(([0; 16], 0));
    if plain_socket(any).is_err() {
        // No IPv6 here.
        return;
    }
    let process = Process::start(any, Steering::Backplane);
    let client = endpoint::bind(loopback(), None).unwrap();
    let address = (Ipv4Addr::LOCALHOST, process.address().port()).into();
    for worker in 0..WORKERS {
        let connection = connect(&client, aimed_at(worker), address).await;
        assert_eq!(ask(&connection).await.0, worker);
    }
}

#[tokio::test]
async fn what_is_no_packet_harms_nobody() {
    for steering in [Steering::Public, Steering::Backplane] {
        let process = Process::start(loopback(), steering);
        let client = endpoint::bind(loopback(), None).unwrap();
        let connection = connect(&client, aimed_at(1), process.address()).await;
        let noise = UdpSocket::bind(loopback()).unwrap();
        for first in [0x00, 0x40, 0x43, 0x7f, 0x80, 0xc0, 0xd0, 0xe0, 0xf0, 0xff] {
            for fill in [0x00, 0x01, 0xff] {
                for length in (0..=32).chain([1199, 1200, 1452]) {
                    let mut packet = vec![fill; length];
                    packet.iter_mut().take(1).for_each(|byte| *byte = first);
                    let _ = noise.send_to(&packet, process.address());
                }
            }
        }
        let (worker, _) = ask(&connection).await;
        assert!(steering == Steering::Public || worker == 1);
        for worker in 0..WORKERS {
            let connection = connect(&client, aimed_at(worker), process.address()).await;
            ask(&connection).await;
        }
    }
}

#[tokio::test]
async fn one_worker_needs_no_group() {
    let group = PortGroup::bind(loopback(), 1, Steering::Public).unwrap();
    assert_eq!(group.workers(), 1);
    let secrets = EndpointSecrets::random(Steering::Public);
    let _worker = start_worker(group.socket(0).unwrap(), 0, &secrets);
    let client = endpoint::bind(loopback(), None).unwrap();
    let connection = connect(&client, client_config(), group.local_address().unwrap()).await;
    assert_eq!(ask(&connection).await.0, 0);
}

#[tokio::test]
async fn a_worker_dials_different_workers_from_different_ports() {
    let mut dialling = DiallingEndpoints::new(loopback());
    let port = |endpoint: Endpoint| endpoint.local_addr().unwrap().port();
    let to_first = port(dialling.towards(0).unwrap());
    let to_last = port(dialling.towards(255).unwrap());
    assert_ne!(to_first, to_last);
    assert_eq!(port(dialling.towards(0).unwrap()), to_first);
    assert_eq!(dialling.all().count(), 2);
}

#[test]
fn a_worker_is_pinned_to_a_core_that_the_process_may_use() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None).unwrap();
    let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let workers = cores.len();
    for worker in 0..workers * 2 {
        let pin = move || (pin_to_core(worker, workers), sched_getaffinity(None).unwrap());
        let (core, now) = std::thread::spawn(pin).join().unwrap();
        if workers == 1 {
            assert_eq!(core, None);
        } else {
            assert_eq!(core, Some(cores[worker % workers]));
            assert!(now.count() == 1 && now.is_set(cores[worker % workers]));
        }
    }
    assert_eq!(pin_to_core(0, workers - 1), None, "there are cores to spare");
    let narrowed = move || {
        let mut only = CpuSet::new();
        only.set(cores[cores.len() - 1]);
        sched_setaffinity(None, &only).unwrap();
        let pinned = pin_to_core(0, 8);
        assert!(sched_getaffinity(None).unwrap().is_set(cores[cores.len() - 1]));
        pinned
    };
    assert_eq!(std::thread::spawn(narrowed).join().unwrap(), None, "it left the mask");
}
