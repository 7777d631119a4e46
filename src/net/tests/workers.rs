//! What holds for several workers.

use super::cluster::{Cluster, block_on, sample, wait_until};
use super::lane::Lane;
use crate::source::{Answer, Known, Retrieved, Source, SourceError, Version};
use crate::wire::lane::{ErrorCode, Outcome};
use crate::wire::{ClientId, HeaderBlock, Key};
use bytes::Bytes;
use std::sync::Arc;

const WORKERS: usize = 4;

fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

/// By worker of the router: how many sessions it has.
async fn sessions(cluster: &Cluster) -> Vec<usize> {
    let look = |shell: &std::rc::Rc<crate::net::router::Shell>| shell.sessions();
    cluster.inspectors.look(look).await.expect("all workers answer")
}

#[test]
fn clients_that_change_their_address_keep_connection_and_worker() {
    let cluster = Cluster::start(WORKERS, sample());
    block_on(async {
        let mut lanes = Vec::new();
        for _ in 0..3 * WORKERS {
            let mut lane = Lane::connect(cluster.router).await;
            let first = lane.get(0, Some(&key("/items/1k.bin"))).await;
            assert!(matches!(first, Outcome::Full { .. }), "{first:?}");
            lanes.push(lane);
        }
        let before = sessions(&cluster).await;
        assert_eq!(before.iter().sum::<usize>(), lanes.len());
        for _ in 0..5 {
            for lane in &mut lanes {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
                lane.endpoint.rebind(socket).expect("another address");
                let again = lane.get(0, None).await;
                assert!(matches!(again, Outcome::UseCached { .. }), "{again:?}");
            }
        }
        assert_eq!(sessions(&cluster).await, before);
        assert!(lanes.iter().all(|lane| lane.connection.close_reason().is_none()));
    });
}

#[test]
fn requests_reach_the_worker_that_owns_the_client() {
    let cluster = Cluster::start(WORKERS, sample());
    block_on(async {
        let mut clients = Vec::new();
        for _ in 0..8 * WORKERS {
            let mut lane = Lane::connect(cluster.router).await;
            let first = lane.get(0, Some(&key("/"))).await;
            assert!(matches!(first, Outcome::Full { .. }), "{first:?}");
            clients.push(lane.client);
        }
        let listed = listed(&cluster).await;
        assert_eq!(listed.iter().map(Vec::len).sum::<usize>(), clients.len());
        for (worker, clients) in listed.iter().enumerate() {
            assert!(clients.iter().all(|client| client.owner(WORKERS as u64) == worker as u64));
        }
        assert_eq!(misdirected(&cluster).await, 0);
    });
}

/// By worker of the server: the clients that it lists.
async fn listed(cluster: &Cluster) -> Vec<Vec<ClientId>> {
    let look = |shell: &std::rc::Rc<crate::net::server::Shell>| {
        let views = shell.with(|node, _| node.client_views(None, 1000));
        views.into_iter().map(|view| view.client).collect()
    };
    cluster.servers[0].inspectors.look(look).await.expect("all workers answer")
}

async fn misdirected(cluster: &Cluster) -> u64 {
    let look = |shell: &std::rc::Rc<crate::net::server::Shell>| {
        shell.with(|node, _| node.view().counters.misdirected_requests)
    };
    let all = cluster.servers[0].inspectors.look(look).await;
    all.expect("all workers answer").into_iter().sum()
}

#[test]
fn a_server_that_restarts_with_another_worker_count_is_asked_at_the_right_one() {
    let mut cluster = Cluster::start(2, sample());
    block_on(async {
        let mut lane = Lane::connect(cluster.router).await;
        for workers in [3, 1, 4] {
            cluster.restart_server(workers, sample());
            wait_until(async || {
                let look = |shell: &std::rc::Rc<crate::net::router::Shell>| shell.links();
                let all = cluster.inspectors.look(look).await.expect("all workers answer");
                all.into_iter().all(|links| links == [workers])
            })
            .await;
            // The server lost all it knew: it is asked who has the client, and lists it afresh.
            let again = lane.get(0, Some(&key("/items/1k.bin"))).await;
            assert!(matches!(again, Outcome::Full { .. }), "{again:?}");
            let owner = lane.client.owner(workers as u64) as usize;
            assert_eq!(listed(&cluster).await[owner], [lane.client]);
        }
    });
}

/// Panics when it is asked for one key.
struct Fragile;

impl Source for Fragile {
    async fn retrieve(&self, key: &Key, _: Option<&Known>) -> Result<Answer, SourceError> {
        assert_ne!(key.as_str(), "/panic", "as this test wants");
        let body = Bytes::copy_from_slice(key.as_bytes());
        Ok(Retrieved::Version(Version::new(HeaderBlock::default(), body)).into())
    }
}

#[test]
fn a_source_that_panics_costs_one_request() {
    let cluster = Cluster::start(2, Arc::new(Fragile));
    block_on(async {
        let mut lane = Lane::connect(cluster.router).await;
        let mut other = Lane::connect(cluster.router).await;
        for round in 0..3 {
            let failed = lane.get(0, Some(&key("/panic"))).await;
            let source = matches!(failed, Outcome::Error { code: ErrorCode::Source, .. });
            assert!(source, "{failed:?}");
            for lane in [&mut lane, &mut other] {
                let fine = lane.get(1, Some(&key(&format!("/fine/{round}")))).await;
                assert!(matches!(fine, Outcome::Full { .. }), "{fine:?}");
            }
        }
    });
}

#[test]
fn a_panic_in_a_clients_task_costs_one_connection() {
    let cluster = Cluster::start(1, sample());
    block_on(async {
        let mut lane = Lane::connect(cluster.router).await;
        let mut other = Lane::connect(cluster.router).await;
        for lane in [&mut lane, &mut other] {
            lane.get(0, Some(&key("/"))).await;
        }
        let doomed = lane.client;
        let look = move |shell: &std::rc::Rc<crate::net::router::Shell>| shell.doom(doomed);
        cluster.inspectors.look(look).await.expect("the worker answers");
        lane.ask(0..1, None).await;
        lane.connection.closed().await;
        let still = other.get(0, None).await;
        assert!(matches!(still, Outcome::UseCached { .. }), "{still:?}");
        assert_eq!(sessions(&cluster).await, [1]);
    });
}
