//! Metrics in the OpenMetrics text format, made from a machine's numbers when they are asked for.

use super::router::{Numbers, state};
use crate::node::router::ReplyCounters;
use crate::node::server::ServerView;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// Collects numbers for one answer.
struct Sheet(Registry);

impl Sheet {
    fn new() -> Self {
        Self(Registry::with_prefix("understudy"))
    }

    /// A number that only ever grows; one row per label.
    fn counter(&mut self, name: &str, help: &str, rows: &[(Labels, u64)]) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in rows {
            family.get_or_create(labels).inc_by(*value);
        }
        self.0.register(name, help, family);
    }

    /// A number that goes up and down; one row per label.
    fn gauge(&mut self, name: &str, help: &str, rows: &[(Labels, u64)]) {
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in rows {
            family.get_or_create(labels).set(i64::try_from(*value).unwrap_or(i64::MAX));
        }
        self.0.register(name, help, family);
    }

    fn answer(&self) -> Response {
        let mut text = String::new();
        match encode(&mut text, &self.0) {
            Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

fn plain(value: u64) -> [(Labels, u64); 1] {
    [(Vec::new(), value)]
}

fn labelled<const N: usize>(
    label: &'static str,
    rows: [(&'static str, u64); N],
) -> [(Labels, u64); N] {
    rows.map(|(value, number)| (vec![(label, value.to_owned())], number))
}

/// A router's metrics.
pub(super) fn of_router(numbers: &Numbers) -> Response {
    let Numbers { view, traffic, handshakes, .. } = numbers;
    let mut sheet = Sheet::new();
    sheet.gauge("clients", "Clients with an assignment", &plain(view.clients as u64));
    sheet.gauge("sessions", "Clients that are connected", &plain(view.sessions as u64));
    let help = "Handshakes of clients under way";
    sheet.gauge("handshakes_open", help, &plain(*handshakes as u64));
    sheet.gauge("requests_open", "Requests without an answer yet", &plain(view.requests as u64));
    let counters = view.counters;
    sheet.counter("takeovers", "Takeovers that this router asked for", &plain(counters.takeovers));
    sheet.counter("forwarded", "Requests sent to servers, hedges not", &plain(counters.forwarded));
    sheet.counter("hedges", "Requests also sent to an alternate", &plain(counters.hedges));
    sheet.counter(
        "hedge_wins",
        "Hedges that the alternate answered first",
        &plain(counters.hedge_wins),
    );
    sheet.counter(
        "resumed_bodies",
        "Bodies that broke off at one server and went on at another",
        &plain(counters.resumed_bodies),
    );
    sheet.counter(
        "abandoned_bodies",
        "Bodies that broke off and could not go on",
        &plain(counters.abandoned_bodies),
    );
    replies(&view.replies, &mut sheet);
    let (sent, received) = (&traffic.sent, &traffic.received);
    let ways = |sent, received| labelled("direction", [("sent", sent), ("received", received)]);
    let datagrams = ways(sent.datagrams, received.datagrams);
    sheet.counter("client_datagrams", "UDP datagrams from and to clients", &datagrams);
    let bytes = ways(sent.bytes, received.bytes);
    sheet.counter("client_bytes", "Bytes in them", &bytes);
    let help = "System calls that sent them; replies by this are what coalescing saves";
    sheet.counter("client_send_calls", help, &plain(sent.system_calls));
    let states: Vec<_> = view
        .servers
        .iter()
        .map(|row| {
            let server = ("server", row.name.to_string());
            let pool = ("pool", row.pool.to_string());
            (vec![server, pool, ("state", state(row).to_owned())], 1)
        })
        .collect();
    sheet.gauge("server_state", "1 for the state that a server is in", &states);
    http_front(numbers, &mut sheet);
    sheet.answer()
}

/// What clients of the native protocol were answered.
fn replies(replies: &ReplyCounters, sheet: &mut Sheet) {
    let by_kind = labelled(
        "reply",
        [
            ("use_cached", replies.use_cached),
            ("full", replies.full),
            ("delta", replies.delta),
            ("batch", replies.batch),
            ("noted", replies.noted),
            ("not_found", replies.not_found),
            ("unknown_slot", replies.unknown_slot),
            ("busy", replies.busy),
            ("called", replies.called),
            ("fate_unknown", replies.fate_unknown),
            ("error", replies.error),
        ],
    );
    sheet.counter("replies", "Replies that went to clients", &by_kind);
    let by_evidence = labelled(
        "by",
        [("mirror", replies.by_mirror), ("crc", replies.by_crc), ("strong", replies.by_strong)],
    );
    sheet.counter("use_cached", "Use-cached replies by what proved them", &by_evidence);
}

/// What the router's HTTP front did.
fn http_front(numbers: &Numbers, sheet: &mut Sheet) {
    let answers: Vec<_> = numbers
        .http_answers
        .iter()
        .map(|(version, status, count)| {
            let status = ("status", status.to_string());
            (vec![status, ("version", version.to_owned())], count)
        })
        .collect();
    sheet.counter("http_answers", "Answers to HTTP requests", &answers);
    if let Some((written, dropped)) = numbers.access_log {
        let entries = labelled("fate", [("written", written), ("dropped", dropped)]);
        sheet.counter("access_log_entries", "Entries of the access log", &entries);
    }
}

/// A server's metrics.
pub(super) fn of_server(view: &ServerView) -> Response {
    let mut sheet = Sheet::new();
    let by_role = labelled(
        "role",
        [("primary", view.primary_clients), ("alternate", view.alternate_clients)],
    );
    sheet.gauge("clients", "Clients by what the server is to them", &by_role);
    sheet.gauge(
        "threshold",
        "Clients as primary before new ones are handed on",
        &plain(view.threshold),
    );
    sheet.gauge(
        "capacity",
        "Clients as primary before new ones are refused",
        &plain(view.capacity),
    );
    let counters = &view.counters;
    for (name, help, value) in [
        ("handed_on_clients", "Clients handed on to a second server", view.handed_on_clients),
        ("must_served_clients", "Clients that had to be served", view.must_served_clients),
        ("released_clients", "Clients dropped after a takeover", view.released_clients),
        ("taken_over_clients", "Clients taken over", view.taken_over_clients),
        ("handed_over_clients", "Clients given away to drain", view.handed_over_clients),
        ("forgotten_clients", "Clients forgotten as idle", view.forgotten_clients),
        ("drifted_entries", "Mirror entries proved wrong by a client", counters.drifted_entries),
        ("retrievals", "Retrievals asked of the source", counters.retrievals),
        ("deltas", "Requests answered by a difference", counters.deltas),
        ("delta_bytes", "Bytes of these differences", counters.delta_bytes),
        ("delta_full_bytes", "Bytes of what they stood for", counters.delta_full_bytes),
        ("coded", "Requests of HTTP clients answered by coded content", counters.coded),
        ("coded_bytes", "Bytes of this content", counters.coded_bytes),
        ("coded_full_bytes", "Bytes of what it stood for", counters.coded_full_bytes),
        ("batches", "Requests about many slots", counters.batches),
        ("batched_unchanged", "Slots of them told to be unchanged", counters.batched_unchanged),
        ("listed_entries", "Mirror entries that clients had to tell of", counters.listed_entries),
        ("prefetched", "Payloads an alternate got from its source", counters.prefetched),
        ("pulled", "Payloads an alternate got from the primary", counters.pulled),
        ("emptied_mirrors", "Mirrors emptied for want of memory", counters.emptied_mirrors),
        ("calls", "Calls given to the source", counters.calls),
    ] {
        sheet.counter(name, help, &plain(value));
    }
    sheet.gauge("open_calls", "Calls that the source executes now", &plain(view.open_calls as u64));
    sheet.gauge("releases_owed", "Releases not acknowledged yet", &plain(view.debts as u64));
    let help = "Mirror entries by which the alternates of its clients are behind";
    sheet.gauge("mirror_lag_entries", help, &plain(view.lag.entries));
    let help = "Milliseconds since the alternate that is furthest behind acknowledged something";
    let lag_ms = u64::try_from(view.lag.time.as_millis()).unwrap_or(u64::MAX);
    sheet.gauge("mirror_lag_ms", help, &plain(lag_ms));
    let memory = &view.memory;
    let used = labelled(
        "for",
        [
            ("items", memory.items as u64),
            ("deltas", memory.deltas as u64),
            ("codings", memory.codings as u64),
            ("mirrors", memory.mirrors as u64),
        ],
    );
    sheet.gauge("memory_bytes", "Memory taken, of the budget", &used);
    let help = "Bytes of the payloads that are at hand, without what lies unused between them";
    sheet.gauge("payload_bytes", help, &plain(memory.payloads as u64));
    let (keys, versions) = view.shared_records;
    let records = labelled("record", [("key", keys as u64), ("version", versions as u64)]);
    sheet.gauge("mirror_records", "Distinct records that mirrors share", &records);
    sheet.answer()
}
