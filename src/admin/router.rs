//! The router's admin pages.

use super::members::{self, MemberEntry};
use super::{failure, metrics, nowhere, page};
use crate::assign::Title;
use crate::net::inspect::{Inspector, Inspectors};
use crate::net::router::{Shell, StatusCounts};
use crate::net::traffic::Traffic;
use crate::node::router::{HealthState, ReplyCounters, RouterView, ServerRow};
use crate::wire::backplane::{Holding, SelfState};
use crate::wire::{Assignment, ClientId, Name};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use std::time::Duration;

/// How long a server may take to say what it holds.
const HOLDING_TIMEOUT: Duration = Duration::from_secs(1);

type Workers = State<Inspectors<Shell>>;

/// All pages of a router.
pub(crate) fn pages(workers: Inspectors<Shell>) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/status", get(status))
        .route("/clients/{id}", get(client))
        .route("/metrics", get(show_metrics))
        .fallback(nowhere)
        .with_state(workers)
}

#[derive(Serialize)]
struct StatusPage {
    servers: Vec<ServerEntry>,
    members: Vec<MemberEntry>,
    workers: usize,
    clients: usize,
    sessions: usize,
    requests: usize,
    takeovers: u64,
    hedges: u64,
    resumed_bodies: u64,
    replies: Replies,
    use_cached_by: UseCachedBy,
    coalescing: Coalescing,
}

/// How many replies travel together.
#[derive(Serialize)]
struct Coalescing {
    datagrams_sent: u64,
    send_calls: u64,
    replies_per_datagram: f64,
    replies_per_send_call: f64,
}

#[derive(Serialize)]
struct ServerEntry {
    name: String,
    pool: String,
    pid: u64,
    address: String,
    admin: String,
    state: &'static str,
    /// The protocol version that is spoken with it.
    version: u64,
    primary_clients: u64,
    alternate_clients: u64,
    threshold: u64,
    capacity: u64,
    handed_on_clients: u64,
    must_served_clients: u64,
    released_clients: u64,
}

#[derive(Serialize)]
struct Replies {
    use_cached: u64,
    full: u64,
    delta: u64,
    not_found: u64,
    busy: u64,
    called: u64,
    fate_unknown: u64,
    error: u64,
}

#[derive(Serialize)]
struct UseCachedBy {
    mirror: u64,
    crc: u64,
    strong: u64,
}

#[derive(Serialize)]
struct ClientPage {
    client: String,
    primary: String,
    alternate: Option<String>,
    epoch: u64,
    change: u64,
    confirmed: bool,
    mirrors: Vec<MirrorEntry>,
}

#[derive(Serialize)]
struct MirrorEntry {
    server: String,
    role: Option<&'static str>,
    epoch: Option<u64>,
    entries: Option<u64>,
}

/// The one word for a server's state: the router's own view first, then what the server says.
pub(super) fn state(row: &ServerRow) -> &'static str {
    let own = row.status.as_ref().map(|status| status.state);
    match (row.health, own) {
        (HealthState::Down, _) => "down",
        (HealthState::Suspect, _) => "suspect",
        (HealthState::Healthy, Some(SelfState::Draining)) => "draining",
        (HealthState::Healthy, Some(SelfState::Returned)) => "returned",
        (HealthState::Healthy, _) => "healthy",
    }
}

fn server_entry(row: &ServerRow, address: String) -> ServerEntry {
    let status = row.status.as_ref();
    let number = |field: fn(&crate::wire::backplane::Status) -> u64| status.map_or(0, field);
    ServerEntry {
        name: row.name.to_string(),
        pool: row.pool.to_string(),
        pid: number(|status| status.pid),
        address,
        admin: status.map_or_else(String::new, |status| status.admin.clone()),
        state: state(row),
        version: row.version,
        primary_clients: number(|status| status.primary_clients),
        alternate_clients: number(|status| status.alternate_clients),
        threshold: number(|status| status.threshold),
        capacity: number(|status| status.capacity),
        handed_on_clients: number(|status| status.handed_on_clients),
        must_served_clients: number(|status| status.must_served_clients),
        released_clients: number(|status| status.released_clients),
    }
}

fn status_page(
    view: &RouterView,
    traffic: &Traffic,
    workers: usize,
    members: Vec<MemberEntry>,
    address: impl Fn(&Name) -> String,
) -> StatusPage {
    let ReplyCounters { use_cached, full, delta, not_found, busy, error, .. } = view.replies;
    let ReplyCounters { called, fate_unknown, .. } = view.replies;
    let replies = Replies { use_cached, full, delta, not_found, busy, called, fate_unknown, error };
    let sent = use_cached + full + delta + not_found + busy + called + fate_unknown + error;
    let ReplyCounters { by_mirror: mirror, by_crc: crc, by_strong: strong, .. } = view.replies;
    StatusPage {
        servers: view.servers.iter().map(|row| server_entry(row, address(&row.name))).collect(),
        members,
        workers,
        clients: view.clients,
        sessions: view.sessions,
        requests: view.requests,
        takeovers: view.counters.takeovers,
        hedges: view.counters.hedges,
        resumed_bodies: view.counters.resumed_bodies,
        replies,
        use_cached_by: UseCachedBy { mirror, crc, strong },
        coalescing: coalescing(sent, traffic),
    }
}

fn coalescing(replies: u64, traffic: &Traffic) -> Coalescing {
    let (datagrams_sent, send_calls) = (traffic.sent.datagrams, traffic.sent.system_calls);
    let each = |count: u64| replies as f64 / count.max(1) as f64;
    Coalescing {
        datagrams_sent,
        send_calls,
        replies_per_datagram: each(datagrams_sent),
        replies_per_send_call: each(send_calls),
    }
}

/// The worker that any will do for.
fn first(workers: &Inspectors<Shell>) -> &Inspector<Shell> {
    &workers.each()[0]
}

/// The numbers of all workers.
async fn view(workers: &Inspectors<Shell>) -> Option<Numbers> {
    let look = |shell: &std::rc::Rc<Shell>| Numbers {
        view: shell.with(|node, _| node.view()),
        traffic: shell.traffic(),
        handshakes: shell.handshakes(),
        http_answers: shell.http_answers(),
        access_log: shell.access_log().map(|log| (log.written(), log.dropped())),
    };
    let add = |sum: &mut Numbers, other: &Numbers| {
        sum.view.add(&other.view);
        sum.traffic.add(&other.traffic);
        sum.handshakes += other.handshakes;
        sum.http_answers.add(&other.http_answers);
    };
    workers.sum(look, add).await
}

/// A router's numbers: its machines', and its shells'.
pub(super) struct Numbers {
    pub(super) view: RouterView,
    pub(super) traffic: Traffic,
    /// Handshakes of clients that are under way.
    pub(super) handshakes: usize,
    /// Answers of the HTTP front.
    pub(super) http_answers: StatusCounts,
    /// Entries that the access log has written and lost, if there is one; all workers' already.
    pub(super) access_log: Option<(u64, u64)>,
}

/// A client that comes now would be served, whichever worker it comes to, in some pool at least: a
/// pool without servers is no reason to keep clients of the others away.
async fn ready(State(workers): Workers) -> Response {
    let ready = workers.sum(
        |shell| shell.with(|node, _| node.ready_pools()),
        |all: &mut Vec<(Name, bool)>, one| {
            for ((_, all), (_, one)) in all.iter_mut().zip(one) {
                *all = *all && *one;
            }
        },
    );
    let (ready, missing): (Vec<_>, Vec<_>) =
        ready.await.unwrap_or_default().into_iter().partition(|(_, is_ready)| *is_ready);
    if ready.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "no server can be reached\n").into_response();
    }
    let mut text = "ready\n".to_owned();
    for (pool, _) in missing {
        text += &format!("no server of pool {pool} can be reached\n");
    }
    text.into_response()
}

async fn status(State(workers): Workers) -> Response {
    let Some(Numbers { view, traffic, .. }) = view(&workers).await else {
        return page::<()>(None);
    };
    let names: Vec<_> = view.servers.iter().map(|row| row.name.clone()).collect();
    let look = move |shell: &std::rc::Rc<Shell>| {
        let address = |name: Name| (shell.server_address(&name), name);
        (names.into_iter().map(address).collect::<Vec<_>>(), members::entries(shell.mesh()))
    };
    let Some((addresses, members)) = first(&workers).look(look).await else {
        return page::<()>(None);
    };
    let address = |wanted: &Name| {
        let found = addresses.iter().find(|(_, name)| name == wanted);
        found.map_or_else(String::new, |(address, _)| address.clone())
    };
    page(Some(status_page(&view, &traffic, workers.each().len(), members, address)))
}

async fn client(State(workers): Workers, Path(id): Path<String>) -> Response {
    let Ok(client) = id.parse::<ClientId>() else {
        return failure(StatusCode::BAD_REQUEST, "a client id has 32 hex digits");
    };
    let worker = first(&workers);
    let found = worker.look(move |shell| shell.with(|node, _| node.assignment(&client))).await;
    match found {
        None => page::<()>(None),
        Some(None) => failure(StatusCode::NOT_FOUND, "this router does not know the client"),
        Some(Some((assignment, title))) => {
            page(Some(client_page(worker, client, &assignment, title).await))
        }
    }
}

async fn client_page(
    worker: &Inspector<Shell>,
    client: ClientId,
    assignment: &Assignment,
    title: Title,
) -> ClientPage {
    let mut mirrors = Vec::new();
    for server in [Some(assignment.primary()), assignment.alternate.as_ref()].into_iter().flatten()
    {
        let name = server.clone();
        let ask = worker.ask(move |shell, answer| shell.ask_holding(&name, client, answer));
        let holding = tokio::time::timeout(HOLDING_TIMEOUT, ask).await.ok().flatten().flatten();
        mirrors.push(mirror_entry(server, holding));
    }
    ClientPage {
        client: client.to_string(),
        primary: assignment.primary().to_string(),
        alternate: assignment.alternate.as_ref().map(ToString::to_string),
        epoch: assignment.epoch.term,
        change: assignment.epoch.change,
        confirmed: title == Title::Known,
        mirrors,
    }
}

fn mirror_entry(server: &Name, holding: Option<Holding>) -> MirrorEntry {
    let role = |holding: &Holding| if holding.as_primary { "primary" } else { "alternate" };
    MirrorEntry {
        server: server.to_string(),
        role: holding.as_ref().map(role),
        epoch: holding.as_ref().map(|holding| holding.assignment.epoch.term),
        entries: holding.as_ref().map(|holding| holding.entries),
    }
}

async fn show_metrics(State(workers): Workers) -> Response {
    view(&workers).await.map_or_else(|| page::<()>(None), |it| metrics::of_router(&it))
}
