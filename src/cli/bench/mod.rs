//! `understudy bench`: makes load, checks every answer, and says what it took.

mod failover;
mod hlog;
mod json;
mod live;
mod page;
mod plan;
mod summary;
#[cfg(test)]
mod tests;

use super::report::{self, Failure};
use crate::load::{self, LoadError, Measured};
use live::Live;
use plan::Plan;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Make load, check every answer, and say what it took.
///
/// Connections ask for items again and again, as many at a time as is said. Whatever comes back is
/// checked: it must be an answer to what was asked, and mean the version that the client has or the
/// bytes that it got.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  understudy bench                                   use-cached answers of `understudy up`
  understudy bench --rate 1000 --duration 30s        latencies at a steady pace
  understudy bench --mode full --keys keys.txt       items that come whole
  understudy bench --mode connect                    handshakes
  understudy bench --http3 https://localhost:8443/ --insecure --keys keys.txt
  understudy bench failover                          what clients notice when something fails

Requests that are planned in the measured time count, whenever they are answered; requests are the
sum of all replies and all that failed. With --rate a latency begins at the planned time.

Exit codes: 0 measured and nothing failed, 1 something failed, 2 asked wrongly.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    /// A router, by address or name; 4433 is the port that is asked where none is named.
    /// Connections are spread over several.
    #[arg(long = "router", value_name = "ADDR", default_value = "127.0.0.1:4433")]
    #[arg(conflicts_with = "http3")]
    routers: Vec<String>,
    /// Any HTTP/3 server instead of routers, such as https://localhost:8443/; what stands behind
    /// the port is put in front of each key.
    #[arg(long, value_name = "URL")]
    http3: Option<String>,
    /// The CA that signed the target's certificate (PEM). Needed beyond this machine; on it the
    /// bundled one is trusted.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Takes any certificate of an HTTP/3 server for the right one.
    #[arg(long, requires = "http3", conflicts_with = "ca")]
    insecure: bool,
    /// The name in the target's certificate, where it is not the one that it is called by.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The pool to ask; the router's first where none is named.
    #[arg(long, value_name = "NAME", conflicts_with = "http3")]
    pool: Option<String>,
    /// What is asked for.
    #[arg(long, value_enum, default_value_t)]
    mode: ModeArgument,
    /// So many keys of those that the target lists, of items up to 64 KiB, the same ones again with
    /// a query where they are too few; or the keys in a file, one a line.
    #[arg(long, value_name = "N|FILE", default_value = "16")]
    keys: String,
    /// What is said of copies.
    #[arg(long, value_enum, default_value_t)]
    validator: ValidatorArgument,
    /// Connections, spread over as many sockets, up to 128.
    #[arg(long, value_name = "N", default_value_t = 8)]
    connections: usize,
    /// Requests in flight on each connection.
    #[arg(long, value_name = "N", default_value_t = 16)]
    in_flight: usize,
    /// Requests a second in all, each at its time, whether or not others were answered; without it
    /// the next request follows an answer.
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// How long is measured, such as 10s, 500ms or 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = plan::duration)]
    duration: Duration,
    /// Load before anything is measured.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = plan::duration)]
    warmup: Duration,
    /// Threads that make load.
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Processes whose CPU time is measured, such as the router's and the servers'.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    cpu_of: Vec<u32>,
    /// Prints the result as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Writes the same line to this file.
    #[arg(long, value_name = "FILE")]
    json_file: Option<PathBuf>,
    /// Writes the latencies of each half second to this file, as an HdrHistogram log.
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Writes a page with charts to this file: latencies, percentiles, throughput, events.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// Another thing to measure.
#[derive(clap::Subcommand)]
enum Other {
    Failover(failover::Arguments),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ModeArgument {
    /// Items that the client holds and that have not changed
    #[default]
    UseCached,
    /// Items that come whole
    Full,
    /// 80% unchanged, 20% changed or new
    Mixed,
    /// Handshakes: connections that are made, greeted and closed
    Connect,
    /// Frames that the peer sends back, which no router does: for measuring floors
    Echo,
}

/// What is said of copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ValidatorArgument {
    /// Nothing: the server's mirror decides
    #[default]
    None,
    /// CRC and length
    Crc,
    /// CRC and digest
    Strong,
}

/// Runs the command. Call it from the main thread.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    if let Some(Other::Failover(arguments)) = &arguments.other {
        return failover::run(arguments);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Failure::Failed(format!("no event loop: {why}")));
    let outcome = runtime.and_then(|runtime| {
        let plan = Plan::new(arguments)?;
        runtime.block_on(bench(&plan))
    });
    match outcome {
        Ok(measured) if measured.total.failures() == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => failure.report(),
    }
}

/// Makes the load, and says what it took.
async fn bench(plan: &Plan) -> Result<Measured, Failure> {
    // A run may take hours: where its results go is tried before.
    for path in [&plan.json_file, &plan.hlog, &plan.report].into_iter().flatten() {
        write(path, b"")?;
    }
    let mut live = Live::new(&plan.load);
    // Where no signal can be waited for, the run ends by its time.
    let stop = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let run = load::run(plan.load.clone(), stop, &mut |progress| live.show(&progress)).await;
    live.clear();
    let measured = run.map_err(failure)?;
    let line = json::line(&plan.load, &measured);
    if let Some(path) = &plan.json_file {
        write(path, line.as_bytes())?;
    }
    if let Some(path) = &plan.hlog {
        let log = hlog::log(&measured);
        let failed = |why| Failure::Failed(format!("the HdrHistogram log: {why}"));
        write(path, &log.map_err(failed)?)?;
    }
    if let Some(path) = &plan.report {
        write(path, page::render(&plan.load, &measured).as_bytes())?;
    }
    if plan.json {
        report::print(&line)?;
    } else {
        report::print(&summary::render(&plan.load, &measured))?;
    }
    Ok(measured)
}

/// Writes a file of results.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|why| Failure::Failed(format!("{}: {why}", path.display())))
}

fn failure(error: LoadError) -> Failure {
    let text = error.to_string();
    match text.ends_with("nobody listens there") {
        true => Failure::Failed(format!("{text}; is it running? 'understudy up' starts one here")),
        false => Failure::Failed(text),
    }
}
