//! The server's admin pages.

use super::members::{self, MemberEntry};
use super::{failure, metrics, nowhere, page};
use crate::cluster::Choice;
use crate::net::inspect::Inspectors;
use crate::net::server::{Shell, drain};
use crate::node::server::{ClientRole, ClientView, ServerView};
use crate::wire::ClientId;
use crate::wire::backplane::SelfState;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Clients on one page, unless fewer are asked for.
const MAX_CLIENTS: usize = 1000;

type Workers = State<Inspectors<Shell>>;

/// All pages of a server.
pub(crate) fn pages(workers: Inspectors<Shell>) -> Router {
    Router::new()
        .route("/ready", get(async || "ready\n"))
        .route("/status", get(status))
        .route("/clients", get(clients))
        .route("/clients/{id}", get(client))
        .route("/metrics", get(show_metrics))
        .route("/drain", post(start_drain))
        .route("/undrain", post(stop_drain))
        .fallback(nowhere)
        .with_state(workers)
}

#[derive(Serialize)]
struct StatusPage {
    name: String,
    pid: u32,
    state: &'static str,
    primary_clients: u64,
    alternate_clients: u64,
    threshold: u64,
    capacity: u64,
    workers: usize,
    handed_on_clients: u64,
    must_served_clients: u64,
    released_clients: u64,
    taken_over_clients: u64,
    handed_over_clients: u64,
    forgotten_clients: u64,
    /// Entries by which the alternates of its clients are behind, and for how long.
    mirror_lag_entries: u64,
    mirror_lag_ms: u64,
    /// Other servers that take clients now.
    ready_servers: u64,
    drifted_entries: u64,
    retrievals: u64,
    calls: u64,
    open_calls: usize,
    misdirected_requests: u64,
    releases_owed: usize,
    deltas: u64,
    batches: u64,
    /// Bytes of memory, of the budget.
    memory: MemoryEntry,
    members: Vec<MemberEntry>,
}

#[derive(Serialize)]
struct MemoryEntry {
    items: usize,
    /// Those of them that are payloads.
    payloads: usize,
    deltas: usize,
    codings: usize,
    mirrors: usize,
}

#[derive(Serialize)]
struct ClientsPage {
    primary_clients: u64,
    alternate_clients: u64,
    clients: Vec<ClientEntry>,
    /// Ask again with `?after=` this, if there is one.
    next_after: Option<String>,
}

#[derive(Serialize)]
struct ClientEntry {
    client: String,
    role: &'static str,
    epoch: u64,
    change: u64,
    primary: String,
    alternate: Option<String>,
    mirror_entries: usize,
    why_alternate: Option<Why>,
}

/// Why this alternate: what was weighed, best first. Less load is better, another zone best.
#[derive(Serialize)]
struct Why {
    chosen: String,
    weighed: Vec<WeighedEntry>,
}

#[derive(Serialize)]
struct WeighedEntry {
    server: String,
    other_zone: bool,
    primary_clients: u64,
    alternate_clients: u64,
    capacity: u64,
    sent_since_status: u64,
    is_former: bool,
}

#[derive(Serialize)]
struct MirrorPage {
    client: String,
    slots: Vec<SlotEntry>,
}

#[derive(Serialize)]
struct SlotEntry {
    slot: u64,
    key: String,
    crc32: Option<String>,
    digest: Option<String>,
    bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Range {
    after: Option<String>,
    limit: Option<usize>,
}

fn state(state: SelfState) -> &'static str {
    match state {
        SelfState::Ready => "healthy",
        SelfState::Returned => "returned",
        SelfState::Draining => "draining",
    }
}

fn status_page(
    view: &ServerView,
    ready_servers: u64,
    workers: usize,
    members: Vec<MemberEntry>,
) -> StatusPage {
    StatusPage {
        name: view.name.to_string(),
        pid: std::process::id(),
        state: state(view.state),
        primary_clients: view.primary_clients,
        alternate_clients: view.alternate_clients,
        threshold: view.threshold,
        capacity: view.capacity,
        workers,
        handed_on_clients: view.handed_on_clients,
        must_served_clients: view.must_served_clients,
        released_clients: view.released_clients,
        taken_over_clients: view.taken_over_clients,
        handed_over_clients: view.handed_over_clients,
        forgotten_clients: view.forgotten_clients,
        mirror_lag_entries: view.lag.entries,
        mirror_lag_ms: millis(view.lag.time),
        ready_servers,
        drifted_entries: view.counters.drifted_entries,
        retrievals: view.counters.retrievals,
        calls: view.counters.calls,
        open_calls: view.open_calls,
        misdirected_requests: view.counters.misdirected_requests,
        releases_owed: view.debts,
        deltas: view.counters.deltas,
        batches: view.counters.batches,
        memory: MemoryEntry {
            items: view.memory.items,
            payloads: view.memory.payloads,
            deltas: view.memory.deltas,
            codings: view.memory.codings,
            mirrors: view.memory.mirrors,
        },
        members,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn why(choice: &Choice) -> Why {
    let weighed = choice.weighed.iter().map(|weighed| WeighedEntry {
        server: weighed.name.to_string(),
        other_zone: weighed.other_zone,
        primary_clients: weighed.primary_clients,
        alternate_clients: weighed.alternate_clients,
        capacity: weighed.capacity,
        sent_since_status: weighed.sent_since,
        is_former: weighed.is_former,
    });
    Why { chosen: choice.chosen().to_string(), weighed: weighed.collect() }
}

fn client_entry(view: &ClientView) -> ClientEntry {
    ClientEntry {
        client: view.client.to_string(),
        role: match view.role {
            ClientRole::Primary => "primary",
            ClientRole::Alternate => "alternate",
        },
        epoch: view.assignment.epoch.term,
        change: view.assignment.epoch.change,
        primary: view.assignment.primary().to_string(),
        alternate: view.assignment.alternate.as_ref().map(ToString::to_string),
        mirror_entries: view.entries,
        why_alternate: view.choice.as_deref().map(why),
    }
}

/// The numbers of all workers.
async fn view(workers: &Inspectors<Shell>) -> Option<ServerView> {
    workers.sum(|shell| shell.with(|node, _| node.view()), ServerView::add).await
}

async fn status(State(workers): Workers) -> Response {
    show_status(&workers).await
}

async fn show_status(workers: &Inspectors<Shell>) -> Response {
    let (view, drain) = (view(workers).await, drain::look(workers).await);
    let members = workers.each()[0].look(|shell| members::entries(shell.mesh())).await;
    let all = view.zip(drain).zip(members);
    page(all.map(|((view, drain), members)| {
        status_page(&view, drain.ready_servers, workers.each().len(), members)
    }))
}

async fn start_drain(State(workers): Workers, headers: HeaderMap) -> Response {
    obey(&workers, &headers, drain::start(&workers)).await
}

async fn stop_drain(State(workers): Workers, headers: HeaderMap) -> Response {
    obey(&workers, &headers, drain::stop(&workers)).await
}

/// Carries out an order, and shows what came of it. It is not taken from a web page that somebody
/// on this machine happens to look at.
async fn obey(
    workers: &Inspectors<Shell>,
    headers: &HeaderMap,
    order: impl Future<Output = Option<()>>,
) -> Response {
    if headers.contains_key(ORIGIN) {
        return failure(StatusCode::FORBIDDEN, "orders are not taken from web pages");
    }
    match order.await {
        Some(()) => show_status(workers).await,
        None => page::<()>(None),
    }
}

async fn clients(State(workers): Workers, Query(range): Query<Range>) -> Response {
    let after = match range.after.as_deref().map(str::parse::<ClientId>).transpose() {
        Ok(after) => after,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &format!("after: {error}")),
    };
    let limit = range.limit.unwrap_or(MAX_CLIENTS).clamp(1, MAX_CLIENTS);
    let look = move |shell: &std::rc::Rc<Shell>| {
        shell.with(|node, _| (node.view(), node.client_views(after, limit + 1)))
    };
    let all = workers.sum(look, |sum, (_, clients)| sum.1.extend_from_slice(clients)).await;
    page(all.map(|(view, mut clients)| {
        clients.sort_by_key(|client| client.client);
        let more = clients.len() > limit;
        clients.truncate(limit);
        let last = clients.last().map(|client| client.client.to_string());
        ClientsPage {
            primary_clients: view.primary_clients,
            alternate_clients: view.alternate_clients,
            clients: clients.iter().map(client_entry).collect(),
            next_after: last.filter(|_| more),
        }
    }))
}

async fn client(State(workers): Workers, Path(id): Path<String>) -> Response {
    let Ok(client) = id.parse::<ClientId>() else {
        return failure(StatusCode::BAD_REQUEST, "a client id has 32 hex digits");
    };
    let look = move |shell: &std::rc::Rc<Shell>| {
        shell.with(|node, _| {
            let entries = node.mirror_entries(&client).take(MAX_CLIENTS);
            let slots = entries.map(|(slot, key, version)| SlotEntry {
                slot,
                key: key.to_string(),
                crc32: version.map(|version| format!("{:08x}", version.crc)),
                digest: version.map(|version| version.digest.to_string()),
                bytes: version.map(|version| version.length),
            });
            MirrorPage { client: client.to_string(), slots: slots.collect() }
        })
    };
    page(workers.owner(&client).look(look).await)
}

async fn show_metrics(State(workers): Workers) -> Response {
    match view(&workers).await {
        Some(view) => metrics::of_server(&view),
        None => page::<()>(None),
    }
}
