//! The latencies of each interval, as an HdrHistogram log (version 2), which other tools read.

use crate::load::{INTERVAL, Measured};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use std::io;

/// Latencies are kept in nanoseconds; the log's own column of maxima is in milliseconds, as usual.
const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;

/// The whole log.
pub(super) fn log(measured: &Measured) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("understudy bench: latencies in nanoseconds, the column of maxima in ms")
        .with_start_time(measured.began)
        .with_base_time(measured.began)
        .with_max_value_divisor(NANOSECONDS_PER_MILLISECOND)
        .begin_log_with(&mut out, &mut serializer)?;
    for (number, tally) in measured.intervals.iter().enumerate() {
        let start = INTERVAL * number as u32;
        let length = INTERVAL.min(measured.duration.saturating_sub(start));
        log.write_histogram(&tally.latency_ns, start, length, None)
            .map_err(|why| io::Error::other(why.to_string()))?;
    }
    Ok(out)
}
