//! The result as one page that needs nothing else: no script, font or picture from anywhere.

use super::json;
use crate::load::config::LoadConfig;
use crate::load::{INTERVAL, Measured};
use serde_json::{Value, json};
use std::time::Duration;

/// The page, with a place for the data.
const PAGE: &str = include_str!("page.html");
/// What stands at that place.
const PLACE: &str = "{{data}}";
/// Steps of the percentile distribution in each half of what is left, as HdrHistogram's own charts
/// have them.
const STEPS_PER_HALF: u32 = 5;
/// Points of the distribution, at the most.
const MAX_POINTS: usize = 200;

/// The whole page.
pub(super) fn render(config: &LoadConfig, measured: &Measured) -> String {
    let data = json!({
        "result": json::value(config, measured),
        "intervals": intervals(measured),
        "distribution": distribution(measured),
        "events": events(measured),
    });
    // Inside a script only the start of a tag could end it.
    PAGE.replacen(PLACE, &data.to_string().replace('<', "\\u003c"), 1)
}

/// One row for each interval: where it starts, replies a second, failures, latencies.
fn intervals(measured: &Measured) -> Vec<Value> {
    let row = |(number, tally): (usize, &crate::load::tally::Tally)| {
        let start = INTERVAL * number as u32;
        let length = INTERVAL.min(measured.duration.saturating_sub(start));
        let us = |quantile| json::microseconds(tally.latency_ns.value_at_quantile(quantile));
        let has_any = !tally.latency_ns.is_empty();
        let latency = |value: f64| has_any.then_some(value);
        let rate = tally.replies() as f64 / length.max(Duration::from_millis(1)).as_secs_f64();
        json!({
            "start_s": start.as_secs_f64(),
            "rate_per_s": rate,
            "failed": tally.failures(),
            "p50": latency(us(0.5)),
            "p90": latency(us(0.9)),
            "p99": latency(us(0.99)),
            "p999": latency(us(0.999)),
            "max": latency(json::microseconds(tally.latency_ns.max())),
        })
    };
    measured.intervals.iter().enumerate().map(row).collect()
}

/// Pairs of a quantile and the latency that it stands for.
fn distribution(measured: &Measured) -> Vec<(f64, f64)> {
    let points = measured.total.latency_ns.iter_quantiles(STEPS_PER_HALF).take(MAX_POINTS);
    let point = |step: hdrhistogram::iterators::IterationValue<u64>| {
        (step.quantile_iterated_to(), json::microseconds(step.value_iterated_to()))
    };
    points.map(point).collect()
}

/// Pairs of a time, in seconds since the beginning, and what happened then.
fn events(measured: &Measured) -> Vec<(f64, String)> {
    let since = |time: &std::time::Instant| match time.checked_duration_since(measured.begin) {
        Some(after) => after.as_secs_f64(),
        None => -measured.begin.duration_since(*time).as_secs_f64(),
    };
    let events = measured.total.events.iter();
    let mut events: Vec<_> = events.map(|(time, what)| (since(time), what.clone())).collect();
    events.sort_by(|one, other| one.0.total_cmp(&other.0));
    events
}
