//! `understudy bench failover`: what clients notice while something fails.
//!
//! For each event a cluster of processes of its own is started on loopback addresses, serves files
//! that were made up, and is asked for them at a steady pace; then the event strikes. See
//! [`crate::load::failover`] for the load, and [`figures`] for what is told of it.

mod cluster;
mod counters;
mod figures;
mod namespace;
mod show;

use crate::cli::part::told_to_stop;
use crate::cli::report::{self, Failure};
use crate::load::LoadError;
use crate::load::failover::{self, Items, Load};
use cluster::Cluster;
use figures::{Figures, Story};
use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// When the event strikes, from the start of the load.
const STRIKE: Duration = Duration::from_secs(3);
/// So many of the clients that it will strike are to have a body of 10 MiB under way by then, which
/// they ask for within as long before: each has its turn in it, at the usual rate.
const BODIES: usize = 2;
const UNDER_WAY: Duration = Duration::from_millis(35);
/// For so long after it answers are looked at in particular; longer where the event takes longer.
const WINDOW: Duration = Duration::from_secs(2);
/// How long a frozen server stands still, and a cut lasts.
const PAUSE: Duration = Duration::from_secs(4);
/// Shortest run: the event, the pause, and time for the server to return.
const MIN_SECONDS: i64 = 9;
/// Requests a second, at the most: what is measured here is not how many are possible.
const MAX_RATE: f64 = 20_000.0;
/// Says that this process is inside a network of its own.
const INSIDE: &str = "--inside";

/// Start clusters, let something fail in each while clients ask, and say what they noticed.
///
/// A cluster is 3 servers and a router, or two for the event `router`, as processes on this
/// machine. Clients ask for items at a steady pace, whether or not others were answered; at second
/// 3 the event strikes the server that is primary of the most clients. Each answer is held against
/// the bytes that it must have.
#[derive(clap::Args)]
#[command(after_help = "\
Latencies begin at the planned time of a request. Of all requests 90% are for items of 4 KiB that
the client holds, a third of them for each validator, 9% for 1 KiB, 0.8% for 1 MiB and 0.2% for
10 MiB that it does not hold; and two clients that will be struck ask for 10 MiB just before, so
that bodies are under way. A request has failed when it brings an error, or nothing in 10 s.

Exit codes: 0 nothing failed, 1 something failed, 2 asked wrongly.")]
pub(super) struct Arguments {
    /// What is to happen, each in a cluster of its own.
    #[arg(long, value_enum, value_delimiter = ',',
        default_values = ["none", "kill", "freeze", "cut", "drain", "router", "rolling"])]
    events: Vec<Event>,
    /// Requests a second, of all clients together.
    #[arg(long, value_name = "R", default_value_t = 1000.0)]
    rate: f64,
    /// Clients, each with a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 32,
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// How long each cluster is asked.
    #[arg(long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u16).range(MIN_SECONDS..=3600))]
    seconds: u16,
    /// Prints the result as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Set when this program runs itself again, inside a network of its own.
    #[arg(long, hide = true)]
    inside: bool,
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Event {
    /// Nothing
    None,
    /// SIGKILL
    Kill,
    /// SIGSTOP, and SIGCONT 4 s later
    Freeze,
    /// Packets to and from the server are dropped for 4 s; takes `unshare` and `ip`
    Cut,
    /// `understudy drain`
    Drain,
    /// SIGKILL of the first of two routers
    Router,
    /// SIGTERM and a new start of each server, one after the other
    Rolling,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Cut => "cut",
            Self::Drain => "drain",
            Self::Router => "router",
            Self::Rolling => "rolling",
        }
    }
}

/// What came of an event, or why nothing did.
type Row = (Event, Result<Figures, String>);

/// Runs the command. Call it from the main thread: on Linux, the processes that it starts end with
/// the thread that started them.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match try_run(arguments) {
        Ok(rows) if rows.iter().all(|(_, row)| row.as_ref().is_ok_and(Figures::is_good)) => {
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => failure.report(),
    }
}

fn try_run(arguments: &Arguments) -> Result<Vec<Row>, Failure> {
    if !(arguments.rate >= 1.0 && arguments.rate <= MAX_RATE) {
        let text = format!("--rate {}: it must be 1 to {MAX_RATE}", arguments.rate);
        return Err(Failure::Usage(text));
    }
    let mut why_no_cut = None;
    if arguments.inside {
        namespace::prepare()?;
    } else if arguments.events.contains(&Event::Cut) {
        match namespace::is_possible() {
            Ok(()) => return Err(namespace::enter(INSIDE)),
            Err(why) => why_no_cut = Some(why),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Failure::Failed(format!("no event loop: {why}")))?;
    let rows = runtime.block_on(async {
        tokio::select! {
            rows = all(arguments, why_no_cut) => Ok(rows),
            _ = told_to_stop() => Err(Failure::Failed("it was stopped".to_owned())),
        }
    })?;
    report::print(&if arguments.json {
        show::json_line(arguments, &rows)
    } else {
        show::table(&rows)
    })?;
    Ok(rows)
}

async fn all(arguments: &Arguments, why_no_cut: Option<String>) -> Vec<Row> {
    let mut rows = Vec::new();
    for event in arguments.events.iter().copied() {
        let row = match &why_no_cut {
            Some(why) if event == Event::Cut => Err(format!("it is not possible here: {why}")),
            _ => one(arguments, event).await.map_err(|failure| failure.to_string()),
        };
        if let Err(why) = &row {
            report::line(&format!("{}: {why}", event.name()));
        }
        rows.push((event, row));
    }
    rows
}

/// One event in a cluster of its own.
async fn one(arguments: &Arguments, event: Event) -> Result<Figures, Failure> {
    let directory = tempfile::tempdir();
    let directory = directory.map_err(|why| Failure::Failed(format!("no directory: {why}")))?;
    let items = Items::write(directory.path());
    let items = items.map_err(|why| Failure::Failed(format!("no files: {why}")))?;
    let routers = if event == Event::Router { "2" } else { "1" };
    let mut cluster = Cluster::start(directory.path(), routers).await?;
    let load = Load {
        routers: cluster.routers(),
        connections: arguments.connections.into(),
        rate: arguments.rate,
        items,
    };
    let failed = |why: LoadError| Failure::Failed(why.to_string());
    let load = failover::Running::start(load).await.map_err(failed)?;
    let start = Instant::from_std(load.start);
    let before = cluster.count().await;
    sleep_until(start + STRIKE - UNDER_WAY).await;
    let (victim, of_victim) = most_popular(&load)?;
    let struck: Vec<_> = match event {
        Event::None | Event::Rolling => (0..load.clients.len()).collect(),
        Event::Router => (0..load.clients.len()).step_by(cluster.routers().len()).collect(),
        _ => of_victim,
    };
    struck.iter().take(BODIES).for_each(|client| load.ask_for_longest(*client));
    sleep_until(start + STRIKE).await;
    let begin = start.elapsed();
    strike(&mut cluster, event, &victim).await?;
    let end = match event {
        Event::Rolling => start.elapsed().max(begin + WINDOW),
        _ => begin + WINDOW,
    };
    sleep_until(start + Duration::from_secs(arguments.seconds.into())).await;
    let samples = load.finish().await.map_err(failed)?;
    let counters = cluster.count().await.since(&before);
    let struck = struck.into_iter().collect();
    Ok(Figures::new(samples, &Story { window: begin..end, struck, counters }))
}

/// The server that is primary of the most clients, and which clients these are.
fn most_popular(load: &failover::Running) -> Result<(String, Vec<usize>), Failure> {
    let mut by_server = HashMap::<_, Vec<_>>::new();
    for (place, client) in load.clients.iter().enumerate() {
        if let Some(assignment) = client.assignment() {
            by_server.entry(assignment.primary().to_string()).or_default().push(place);
        }
    }
    let most = by_server.into_iter().max_by_key(|(_, clients)| clients.len());
    most.ok_or_else(|| Failure::Failed("no client has a server".to_owned()))
}

async fn strike(cluster: &mut Cluster, event: Event, victim: &str) -> Result<(), Failure> {
    match event {
        Event::None => {}
        Event::Kill => cluster.kill(victim).await,
        Event::Freeze => cluster.freeze(victim, PAUSE).await,
        Event::Cut => cluster.cut(victim, PAUSE).await?,
        Event::Drain => cluster.drain(victim).await?,
        Event::Router => cluster.kill(&cluster.first_router()).await,
        Event::Rolling => cluster.roll().await?,
    }
    Ok(())
}
