//! The result for people, and for programs.

use super::figures::{Figures, Latencies};
use super::{Arguments, Event, Row};
use crate::cli::table::{Align, render};
use crate::load::failover::{KINDS, PER_MILLE};
use crate::net::client::ValidatorKind;
use serde_json::{Value, json};

/// The word for a kind of use-cached answer, as in a router's counters.
pub(super) fn kind_name(kind: ValidatorKind) -> &'static str {
    match kind {
        ValidatorKind::None => "mirror",
        kind => kind.as_str(),
    }
}

/// One line, ended by a newline.
pub(super) fn json_line(arguments: &Arguments, rows: &[Row]) -> String {
    let [held, small, large] = PER_MILLE;
    let rows: Vec<Value> = rows
        .iter()
        .map(|(event, row)| {
            let mut value = match row {
                Ok(figures) => figures.json(),
                Err(why) => json!({ "not_run": why }),
            };
            value["event"] = event.name().into();
            value
        })
        .collect();
    let value = json!({
        "rate_per_s": arguments.rate,
        "connections": arguments.connections,
        "seconds": arguments.seconds,
        "requests_per_mille": {
            "use_cached": held, "1k": small, "1m": large, "10m": 1_000 - held - small - large,
        },
        "events": rows,
    });
    format!("{value}\n")
}

/// The table for people, and why things failed.
pub(super) fn table(rows: &[Row]) -> String {
    use Align::{Left, Right};
    let mut headings = vec![("EVENT", Left), ("REQUESTS", Right), ("FAILED", Right)];
    headings.extend([("WRONG", Right), ("MAX 2s", Right), ("P99 2s", Right), ("MAX", Right)]);
    headings.extend([("P99", Right), ("LATE", Right), ("LARGE", Right), ("MIRROR", Right)]);
    headings.extend([
        ("CRC", Right),
        ("STRONG", Right),
        ("HEDGES", Right),
        ("RESUMED", Right),
        ("AGAIN", Right),
    ]);
    headings.push(("RELEASED", Right));
    let mut lines = Vec::new();
    let mut notes = String::new();
    for (event, row) in rows {
        match row {
            Ok(figures) => lines.push(cells(*event, figures)),
            Err(why) => notes += &format!("{}: not run: {why}\n", event.name()),
        }
        for why in row.iter().flat_map(|figures| &figures.reasons) {
            notes += &format!("{}: {why}\n", event.name());
        }
    }
    format!("{}\n{LEGEND}{notes}", render(&headings, &lines))
}

const LEGEND: &str = "\
Latencies in ms from the planned time: of small answers that were planned in the 2 s from the event
on (for rolling until it was over), or open at that time; of all small answers; and of the slowest
large one. LATE: by how much the slowest start of a request missed its time; where it is large, the
machine was busy with something else. MIRROR, CRC, STRONG: what clients that were struck held was
called good from the event on, by what they said of it. HEDGES: for each hundred requests. AGAIN:
MiB that clients got beyond one whole answer each.
";

fn cells(event: Event, figures: &Figures) -> Vec<String> {
    let ms = |latencies: &Latencies, quantile| {
        let latency = latencies.at(quantile);
        latency.map_or("-".to_owned(), |it| format!("{:.1}", it.as_secs_f64() * 1e3))
    };
    let mut cells = vec![event.name().to_owned()];
    cells.extend([figures.requests, figures.failed, figures.wrong].map(|it| it.to_string()));
    cells.extend([ms(&figures.window, 1.0), ms(&figures.window, 0.99)]);
    cells.extend([ms(&figures.small, 1.0), ms(&figures.small, 0.99), ms(&figures.late, 1.0)]);
    cells.push(ms(&figures.large, 1.0));
    cells.extend(KINDS.into_iter().zip(figures.use_cached).map(|(_, share)| {
        // All but one in a thousand is not all.
        let percent = share.percent().map(|percent| (percent * 100.0).floor() / 100.0);
        percent.map_or("-".to_owned(), |percent| format!("{percent:.2}%"))
    }));
    cells.push(format!("{:.2}%", figures.hedges_percent()));
    cells.push(figures.counters.resumed_bodies.to_string());
    cells.push(format!("{:.1}", figures.sent_again as f64 / f64::from(1 << 20)));
    cells.push(figures.counters.released_clients.to_string());
    cells
}
