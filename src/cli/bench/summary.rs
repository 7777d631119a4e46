//! The result for people.

use super::json::{PERCENTILES, claim, cpu_us_per_reply};
use crate::cli::table::{Align, render as table};
use crate::load::Measured;
use crate::load::config::LoadConfig;
use crate::load::tally::{FailureKind, ReplyKind};
use std::fmt::Write;
use std::time::Duration;

const BYTES_PER_MIB: f64 = (1 << 20) as f64;

/// A few lines, each ended by a newline.
pub(super) fn render(config: &LoadConfig, measured: &Measured) -> String {
    let total = &measured.total;
    let mut text = String::new();
    let pace = match config.rate {
        Some(rate) => format!("{rate} requests/s planned"),
        None => "the next request follows an answer".to_owned(),
    };
    let (mode, keys, in_flight) = (config.mode.name(), measured.keys, config.in_flight);
    let _ = writeln!(
        text,
        "{mode}, validator {}: {} connections, {in_flight} in flight on each, {keys} keys",
        claim(config.claim),
        config.connections,
    );
    let _ = writeln!(text, "{pace}\n");
    let count = |name: &str, count: u64| vec![name.to_owned(), count.to_string()];
    let mut rows = vec![count("requests", total.replies() + total.failures())];
    for kind in ReplyKind::ALL.into_iter().filter(|kind| total.of(*kind) > 0) {
        rows.push(count(&format!("  {}", kind.name()), total.of(kind)));
    }
    rows.push(count("failed", total.failures()));
    for kind in FailureKind::ALL.into_iter().filter(|kind| total.failures_of(*kind) > 0) {
        rows.push(count(&format!("  {}", kind.name()), total.failures_of(kind)));
    }
    text += &table(&[("COUNT", Align::Left), ("", Align::Right)], &rows);
    text.push('\n');
    text += &figures(measured);
    if measured.is_cut_short {
        text += "\nit was ended before its time\n";
    }
    text
}

fn figures(measured: &Measured) -> String {
    let total = &measured.total;
    let mut rows = Vec::new();
    let mut row = |name: String, value: String, unit: &str| {
        rows.push(vec![name, value, unit.to_owned()]);
    };
    row("replies".into(), format!("{:.0}", measured.rate_per_s()), "per s");
    row("measured".into(), format!("{:.2}", measured.duration.as_secs_f64()), "s");
    let latency =
        |nanoseconds| format!("{:.1}", Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6);
    for (name, quantile) in PERCENTILES {
        let value = total.latency_ns.value_at_quantile(quantile);
        row(format!("latency {name}"), latency(value), "us");
    }
    row("latency max".into(), latency(total.latency_ns.max()), "us");
    let seconds = measured.duration.as_secs_f64().max(f64::MIN_POSITIVE);
    let rate = |bytes: u64| format!("{:.2}", bytes as f64 / BYTES_PER_MIB / seconds);
    row("wire in".into(), rate(measured.wire_bytes.received), "MiB per s");
    row("wire out".into(), rate(measured.wire_bytes.sent), "MiB per s");
    let processes = measured.cpu.iter().map(|(pid, seconds)| (format!("cpu of {pid}"), *seconds));
    for (name, seconds) in processes.chain([("cpu of this".to_owned(), measured.own_cpu_s)]) {
        let value = match cpu_us_per_reply(seconds, total.replies()) {
            Some(value) => format!("{value:.3}"),
            None => "-".to_owned(),
        };
        row(name, value, "us per reply");
    }
    table(&[("FIGURE", Align::Left), ("", Align::Right), ("", Align::Left)], &rows)
}
