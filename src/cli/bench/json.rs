//! The result for programs.

use crate::load::Measured;
use crate::load::config::{Claim, LoadConfig};
use crate::load::tally::{FailureKind, ReplyKind};
use serde_json::{Map, Value, json};

const NANOSECONDS_PER_MICROSECOND: f64 = 1_000.0;
const MICROSECONDS_PER_SECOND: f64 = 1e6;

/// The percentiles that are shown.
pub(super) const PERCENTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// One line, ended by a newline.
pub(super) fn line(config: &LoadConfig, measured: &Measured) -> String {
    format!("{}\n", value(config, measured))
}

/// All that is told of a run.
pub(super) fn value(config: &LoadConfig, measured: &Measured) -> Value {
    let total = &measured.total;
    let replies: Map<_, _> = ReplyKind::ALL
        .into_iter()
        .map(|kind| (kind.name().to_owned(), total.of(kind).into()))
        .collect();
    let failures: Map<_, _> = FailureKind::ALL
        .into_iter()
        .filter(|kind| total.failures_of(*kind) > 0)
        .map(|kind| (kind.name().to_owned(), total.failures_of(kind).into()))
        .collect();
    let processes = measured.cpu.iter();
    let cpu: Map<_, _> =
        processes.map(|(pid, seconds)| (pid.to_string(), cpu(*seconds, total.replies()))).collect();
    json!({
        "mode": config.mode.name(),
        "connections": config.connections,
        "in_flight": config.in_flight,
        "workers": config.workers,
        "keys": measured.keys,
        "validator": claim(config.claim),
        "planned_rate_per_s": config.rate,
        "requests": total.replies() + total.failures(),
        "failed": total.failures(),
        "failures": failures,
        "replies": replies,
        "asked_again": total.asked_again,
        "reconnects": total.reconnects,
        "rate_per_s": measured.rate_per_s(),
        "duration_s": measured.duration.as_secs_f64(),
        "cut_short": measured.is_cut_short,
        "latency_us": latency_us(measured),
        "wire_bytes_in": measured.wire_bytes.received,
        "wire_bytes_out": measured.wire_bytes.sent,
        "cpu": cpu,
        "bench_cpu": self::cpu(measured.own_cpu_s, total.replies()),
    })
}

/// What is said of copies, as on the command line.
pub(super) fn claim(claim: Claim) -> &'static str {
    match claim {
        Claim::None => "none",
        Claim::Crc => "crc",
        Claim::Strong => "strong",
    }
}

fn latency_us(measured: &Measured) -> Value {
    let latency = &measured.total.latency_ns;
    let percentiles = PERCENTILES.into_iter().map(|(name, quantile)| {
        (name.to_owned(), microseconds(latency.value_at_quantile(quantile)).into())
    });
    let mut all: Map<_, _> = percentiles.collect();
    all.insert("max".to_owned(), microseconds(latency.max()).into());
    all.into()
}

/// Nanoseconds, as latencies are counted, in microseconds, as they are told.
pub(super) fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / NANOSECONDS_PER_MICROSECOND
}

/// Null where the process was gone before the end.
fn cpu(seconds: Option<f64>, replies: u64) -> Value {
    let us_per_reply = cpu_us_per_reply(seconds, replies);
    json!({ "seconds": seconds, "us_per_reply": us_per_reply })
}

/// CPU time of a process for each reply.
pub(super) fn cpu_us_per_reply(seconds: Option<f64>, replies: u64) -> Option<f64> {
    seconds
        .filter(|_| replies > 0)
        .map(|seconds| seconds * MICROSECONDS_PER_SECOND / replies as f64)
}
