//! What is told of a run, and what arguments come to.

use super::plan::{Plan, duration};
use super::{Arguments, hlog, json, page, summary};
use crate::load::config::{Claim, KeyChoice, LoadConfig, Mode, Target, Trust};
use crate::load::tally::{FailureKind, ReplyKind, Tally};
use crate::load::{INTERVAL, Measured, WireBytes};
use clap::Parser;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn plan(arguments: &[&str]) -> Plan {
    let arguments = ["bench"].iter().chain(arguments);
    let parsed = Command::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}"));
    Plan::new(parsed.arguments).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Two intervals, the second one with a failure and an event whose text is out for trouble.
fn measured() -> (LoadConfig, Measured) {
    let begin = Instant::now();
    let (mut first, mut second) = (Tally::default(), Tally::default());
    (1..=100).for_each(|us| first.reply(ReplyKind::UseCached, Duration::from_micros(us)));
    second.reply(ReplyKind::Full, Duration::from_millis(3));
    second.failed(FailureKind::WrongTag, 1);
    second.events.push((begin + INTERVAL, "</script><b>lost".to_owned()));
    let mut total = first.clone();
    total.add(&second);
    let measured = Measured {
        total,
        intervals: vec![first, second],
        begin,
        began: SystemTime::now(),
        duration: INTERVAL * 2,
        wire_bytes: WireBytes { received: 1_000, sent: 500 },
        cpu: vec![(7, Some(0.000_101)), (8, None)],
        own_cpu_s: Some(1.0),
        keys: 16,
        is_cut_short: false,
    };
    (plan(&[]).load, measured)
}

#[test]
fn the_result_is_one_line_of_json_with_every_field() {
    let (config, measured) = measured();
    let line = json::line(&config, &measured);
    assert_eq!(line.matches('\n').count(), 1);
    let result: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&result["requests"], &result["failed"]), (&102.into(), &1.into()));
    assert_eq!(result["failures"], serde_json::json!({ "wrong_tag": 1 }));
    let replies = result["replies"].as_object().unwrap();
    let names: BTreeSet<_> = replies.keys().map(String::as_str).collect();
    let expected = ["busy", "delta", "echo", "error", "full", "not_found", "use_cached", "welcome"];
    assert_eq!(names, BTreeSet::from(expected));
    assert_eq!((&replies["use_cached"], &replies["full"]), (&100.into(), &1.into()));
    assert_eq!((&result["rate_per_s"], &result["duration_s"]), (&101.0.into(), &1.0.into()));
    let us = |name: &str| result["latency_us"][name].as_f64().unwrap();
    for (name, expected) in [("p50", 51.0), ("p90", 91.0), ("p99", 100.0), ("max", 3_000.0)] {
        assert!((us(name) / expected - 1.0).abs() < 0.002, "{name}: {}", us(name));
    }
    assert!(us("p999") <= us("max"));
    assert_eq!((&result["wire_bytes_in"], &result["wire_bytes_out"]), (&1000.into(), &500.into()));
    assert!((result["cpu"]["7"]["us_per_reply"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    assert!(
        result["cpu"]["8"]["seconds"].is_null() && result["cpu"]["8"]["us_per_reply"].is_null()
    );
    assert_eq!((&result["connections"], &result["in_flight"]), (&8.into(), &16.into()));
}

#[test]
fn the_summary_names_what_there_was_and_nothing_else() {
    let (config, measured) = measured();
    let text = summary::render(&config, &measured);
    for expected in ["use_cached  ", "full", "wrong_tag", "latency p999", "cpu of 7", "cpu of 8"] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    assert!(!text.contains("busy") && !text.contains("timeout"), "{text}");
}

#[test]
fn the_page_needs_nothing_from_anywhere_and_cannot_be_broken_out_of() {
    let (config, measured) = measured();
    let page = page::render(&config, &measured);
    for foreign in ["http:", "https:", "src=", "href=", "@import", "url(", "fetch(", "import("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(!page.contains("</script><b>"), "the event's text is no markup");
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    let (data, _) = rest.split_once("</script>").unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["events"][0], serde_json::json!([0.5, "</script><b>lost"]));
    assert_eq!(data["result"]["requests"], 102);
    let intervals = data["intervals"].as_array().unwrap();
    assert_eq!(intervals.len(), 2);
    assert_eq!((&intervals[0]["rate_per_s"], &intervals[1]["failed"]), (&200.0.into(), &1.into()));
    let distribution = data["distribution"].as_array().unwrap();
    let last = distribution.last().unwrap();
    assert!((last[1].as_f64().unwrap() / 3_000.0 - 1.0).abs() < 0.002, "{last}");
}

#[test]
fn an_empty_run_can_be_told_of_too() {
    let (config, mut measured) = measured();
    measured.total = Tally::default();
    measured.intervals = vec![Tally::default()];
    measured.duration = Duration::ZERO;
    let result: serde_json::Value = serde_json::from_str(&json::line(&config, &measured)).unwrap();
    assert_eq!((&result["requests"], &result["rate_per_s"]), (&0.into(), &0.0.into()));
    assert!(page::render(&config, &measured).contains("\"p50\":null"));
    assert!(!summary::render(&config, &measured).contains("NaN"));
}

#[test]
fn the_log_holds_the_latencies_of_each_interval() {
    let (_, measured) = measured();
    let log = hlog::log(&measured).unwrap();
    let mut lengths = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            assert_eq!(interval.start_timestamp(), INTERVAL * lengths.len() as u32);
            assert_eq!(interval.duration(), INTERVAL);
            let encoded = base64(interval.encoded_histogram());
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut &encoded[..]).unwrap();
            lengths.push(histogram.len());
        }
    }
    assert_eq!(lengths, [100, 1]);
}

/// Decodes what the log holds; the crate that wrote it does not publish its own decoder.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit).expect("a base64 digit");
        bits = (bits << 6) | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn the_defaults_are_use_cached_answers_of_a_router_on_this_machine() {
    let LoadConfig { target, trust, mode, keys, claim, connections, in_flight, rate, .. } =
        plan(&[]).load;
    let addresses = vec!["127.0.0.1:4433".parse().unwrap()];
    assert_eq!(target, Target::Routers { addresses, pool: None });
    assert_eq!((trust, mode, claim), (Trust::Bundled, Mode::UseCached, Claim::None));
    assert_eq!((keys, connections, in_flight, rate), (KeyChoice::Listed(16), 8, 16, None));
}

#[test]
fn an_http3_target_is_taken_apart() {
    let load = plan(&["--http3", "https://127.0.0.1:8443/files/", "--insecure"]).load;
    let (address, authority) = ("127.0.0.1:8443".parse().unwrap(), "127.0.0.1:8443".to_owned());
    let prefix = "/files".to_owned();
    assert_eq!(load.target, Target::Http3 { address, authority, prefix });
    assert_eq!((load.server_name.as_str(), load.trust), ("localhost", Trust::Anybody));
    let load = plan(&["--http3", "https://127.0.0.1", "--server-name", "www.example"]).load;
    assert_eq!(load.target.address(0, 0).port(), 443);
    assert_eq!(load.server_name, "www.example");
}

#[test]
fn times_have_units() {
    assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
    assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
    assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
    for bad in ["", "10", "s", "-1s", "nans", "1e9s", "25h", "10 s x"] {
        assert!(duration(bad).is_err(), "{bad:?}");
    }
}
