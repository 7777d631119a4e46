//! `understudy up`: routers and servers on this machine, as child processes.
//!
//! [`run`] turns the arguments into [`Settings`], reserves addresses ([`ports`]), writes the
//! configuration files ([`files`]) and then watches over the children ([`supervise`], [`child`])
//! until it is told to stop, saying what happens ([`events`]).

mod access_log;
mod child;
mod events;
mod files;
mod freshness;
mod holder;
mod layout;
mod ports;
mod signals;
mod supervise;

use super::parent;
use super::report::Failure;
use crate::config::{Freshness, OriginUrl};
pub(super) use child::{Launch, Running, ready};
use events::Output;
use files::Place;
pub(super) use layout::Part;
use layout::{Layout, launches};
use ports::Reservations;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use supervise::{RESTART_DELAY, Restart, Stop};

/// A server's threshold where its configuration says nothing.
const DEFAULT_THRESHOLD: u64 = 10_000;

/// Start routers and servers on this machine, and keep them running.
///
/// Everything is in place: addresses, certificates, and a small sample to get. Children that die
/// are started again. Ctrl-C stops everything; what `up` wrote is then removed.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// How many servers, 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=64))]
    servers: u8,
    /// How many routers, 1 to 8. They share their token keys: clients of one go on at another.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=8))]
    routers: u8,
    /// Serves the files of this directory instead of the built-in sample.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Serves what this HTTP server answers instead of the built-in sample: http://host:port, or
    /// with a path below which all requests go.
    #[arg(long, value_name = "URL", conflicts_with = "dir")]
    origin: Option<OriginUrl>,
    /// Where the first router listens for clients (UDP); port 0 picks a free one, as the others do.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4433", value_parser = loopback)]
    listen: SocketAddr,
    /// Where the first router shows its status (HTTP); port 0 picks a free one, as the others do.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4480", value_parser = loopback)]
    admin: SocketAddr,
    /// With so many clients as primary, a server hands the next new one on [default: 10000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    threshold: Option<u64>,
    /// With so many clients as primary, a server is busy [default: twice the threshold].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    capacity: Option<u64>,
    /// How the servers know that a file is still what it was: `always` looks for every request,
    /// `watch` is told of changes, `ttl=MS` looks after so many milliseconds.
    #[arg(long, value_name = "HOW", default_value = "always", value_parser = freshness::parse)]
    freshness: Freshness,
    /// Workers of each process [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    /// Writes a line of JSON for each HTTP request that the router answers to this file.
    #[arg(long, value_name = "FILE", value_parser = access_log::parse)]
    access_log: Option<String>,
    /// Leaves a child that died dead.
    #[arg(long)]
    no_restart: bool,
    /// Prints events as lines of JSON: started, ready, child_exited, restarted, stopped.
    #[arg(long)]
    json: bool,
    /// Writes the configuration files here, and leaves them, instead of in a temporary directory.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Stops when standard input ends: for scripts and tests that must leave nothing behind.
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    /// Gives each server a loopback address of its own, so that one of them can be cut off.
    #[arg(long, hide = true)]
    apart: bool,
}

/// What the servers serve, as their configuration files will say.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    servers: u8,
    /// An absolute path. If neither this nor an origin is there, it is the built-in sample.
    dir: Option<String>,
    origin: Option<OriginUrl>,
    freshness: Freshness,
    threshold: Option<u64>,
    capacity: Option<u64>,
    workers: Option<u8>,
    access_log: Option<String>,
}

/// What a process of the cluster is: also the command that runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Router,
    Server,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Server => "server",
        }
    }
}

/// Runs the command. `log` is what the children log. Call it from the main thread: on Linux, the
/// children die with the thread that started them.
pub(super) fn run(arguments: Arguments, log: &str) -> ExitCode {
    match up(arguments, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn up(arguments: Arguments, log: &str) -> Result<(), Failure> {
    let settings = Settings::new(&arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::Failed(format!("no event loop could be made: {error}")))?;
    runtime.block_on(async {
        // Before anything is written, so that a signal at any time finds what has to be removed.
        let stop = stops(arguments.until_stdin_ends)?;
        let Prepared { layout, launches, .. } = &prepare(&arguments, &settings, log)?;
        let mut output = Output::new(arguments.json, layout, &settings);
        let restart = Restart::After(RESTART_DELAY);
        let restart = if arguments.no_restart { Restart::Never } else { restart };
        let show = |event: &_| output.show(event);
        supervise::supervise(launches.clone(), restart, stop, show).await
    })
}

/// A cluster that can be started: its files are written, and its addresses are kept, as long as
/// this lives.
pub(in crate::cli) struct Prepared {
    layout: Layout,
    /// Routers first.
    pub(in crate::cli) launches: Vec<Launch>,
    _reservations: Reservations,
    _place: Place,
}

impl Prepared {
    /// What [`run`] starts, for one who starts it by himself. The children log `log`.
    pub(in crate::cli) fn new(arguments: &Arguments, log: &str) -> Result<Self, Failure> {
        prepare(arguments, &Settings::new(arguments)?, log)
    }
}

fn prepare(arguments: &Arguments, settings: &Settings, log: &str) -> Result<Prepared, Failure> {
    let mut reservations = Reservations::default();
    let layout = Layout::reserve(arguments, &mut reservations)?;
    let place = Place::new(arguments.state.as_deref())?;
    files::write(&place, settings, &layout)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::Failed(format!("this program cannot be found: {error}")))?;
    let launches = launches(&layout, &place, &program, log);
    Ok(Prepared { layout, launches, _reservations: reservations, _place: place })
}

/// Signals, and the end of standard input if it counts.
fn stops(until_stdin_ends: bool) -> Result<Stop, Failure> {
    let (stop, handle) = Stop::new();
    signals::forward(handle.clone())
        .map_err(|error| Failure::Failed(format!("signals cannot be received: {error}")))?;
    if until_stdin_ends {
        parent::when_stdin_ends(move || handle.stop()).map_err(Failure::Failed)?;
    }
    Ok(stop)
}

impl Settings {
    fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let (threshold, capacity) = limits(arguments.threshold, arguments.capacity)?;
        if arguments.dir.is_none() && arguments.freshness != Freshness::Always {
            let why = "--freshness is for --dir: the sample says itself how long it stays, and an \
                       origin in its cache-control";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(Self {
            servers: arguments.servers,
            dir: arguments.dir.as_deref().map(directory).transpose()?,
            origin: arguments.origin.clone(),
            freshness: arguments.freshness,
            threshold,
            capacity,
            workers: arguments.workers,
            access_log: access_log::of(arguments)?,
        })
    }
}

/// A capacity below the default threshold lowers it. Otherwise what is not given is left to the
/// configuration.
fn limits(
    threshold: Option<u64>,
    capacity: Option<u64>,
) -> Result<(Option<u64>, Option<u64>), Failure> {
    match (threshold, capacity) {
        (Some(threshold), Some(capacity)) if capacity < threshold => Err(Failure::Usage(format!(
            "--capacity {capacity} is below --threshold {threshold}: a server hands clients on \
             before it is full, so make it at least {threshold}"
        ))),
        (None, Some(capacity)) => Ok((Some(capacity.min(DEFAULT_THRESHOLD)), Some(capacity))),
        given => Ok(given),
    }
}

/// The absolute path of a directory that can be read.
fn directory(path: &Path) -> Result<String, Failure> {
    let fail = |why: String| Failure::Failed(format!("--dir {}: {why}", path.display()));
    let absolute = path.canonicalize().map_err(|error| {
        fail(format!("{error}: name a directory that exists, or leave --dir out for the sample"))
    })?;
    if !absolute.is_dir() {
        return Err(fail("this is not a directory: name the directory that holds it".to_owned()));
    }
    absolute.read_dir().map_err(|error| fail(format!("it cannot be read: {error}")))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|_| fail("its path is not UTF-8 and cannot be written to a file".to_owned()))
}

/// Reads an address of this machine that nobody else can reach: the certificates that `up` brings
/// are known to everyone.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.replace("localhost:", "127.0.0.1:");
    let wrong = "expected an address and a port, such as 127.0.0.1:4433";
    let address: SocketAddr = numeric.parse().map_err(|_| wrong.to_owned())?;
    if !address.ip().is_loopback() {
        return Err("'up' is for one machine and uses certificates that everyone knows, so it \
                    listens on loopback addresses only; for others make certificates with \
                    'understudy certs new' and run 'understudy router' and 'understudy server'"
            .to_owned());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        up: Arguments,
    }

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        let arguments = std::iter::once(&"up").chain(arguments);
        Only::try_parse_from(arguments).map(|only| only.up).map_err(|error| error.to_string())
    }

    fn settings(arguments: &[&str]) -> Result<Settings, Failure> {
        Settings::new(&parse(arguments).unwrap())
    }

    #[test]
    fn arguments_have_defaults_and_bounds() {
        let arguments = parse(&[]).unwrap();
        assert_eq!(arguments.servers, 3);
        assert_eq!(arguments.listen.to_string(), "127.0.0.1:4433");
        assert_eq!(arguments.admin.to_string(), "127.0.0.1:4480");
        assert_eq!(parse(&["--listen", "localhost:0"]).unwrap().listen.port(), 0);
        for (bad, says) in [
            (["--servers", "0"], "1..=64"),
            (["--servers", "65"], "1..=64"),
            (["--routers", "0"], "1..=8"),
            (["--routers", "9"], "1..=8"),
            (["--threshold", "0"], "not in 1.."),
            (["--listen", "4433"], "such as 127.0.0.1:4433"),
            (["--listen", "0.0.0.0:4433"], "loopback"),
            (["--admin", "192.0.2.1:80"], "loopback"),
            (["--freshness", "ttl"], "such as ttl=1000"),
            (["--freshness", "ttl=0"], "expected ttl=1 to ttl=86400000"),
            (["--freshness", "ttl=1s"], "expected ttl=1 to ttl=86400000"),
            (["--freshness", "never"], "expected 'always', 'watch' or"),
            (["--origin", "localhost:8080"], "does not start with http://"),
            (["--origin", "https://a"], "https to an origin is not available yet"),
        ] {
            let error = parse(&bad).err().unwrap();
            assert!(error.contains(says), "{bad:?}: {error}");
        }
    }

    #[test]
    fn an_access_log_is_for_one_router() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap().join("access.log");
        let path = path.to_str().unwrap();
        let log = |arguments: &[&str]| Ok(settings(arguments)?.access_log);
        assert_eq!(log(&["--access-log", path]), Ok(Some(path.to_owned())));
        assert_eq!(log(&["--routers", "2"]), Ok(None));
        let both = log(&["--access-log", path, "--routers", "2"]);
        assert!(matches!(both, Err(Failure::Usage(_))), "{both:?}");
        for bad in [directory.path().to_str().unwrap(), &format!("{path}/missing/log"), ""] {
            assert!(parse(&["--access-log", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_capacity_is_never_below_the_threshold() {
        let limits = |arguments: &[&str]| {
            let settings = settings(arguments)?;
            Ok((settings.threshold, settings.capacity))
        };
        assert_eq!(limits(&[]), Ok((None, None)));
        assert_eq!(limits(&["--threshold", "2"]), Ok((Some(2), None)));
        assert_eq!(limits(&["--capacity", "5"]), Ok((Some(5), Some(5))));
        assert_eq!(limits(&["--capacity", "50000"]), Ok((Some(10_000), Some(50_000))));
        assert_eq!(limits(&["--threshold", "2", "--capacity", "2"]), Ok((Some(2), Some(2))));
        let wrong = limits(&["--threshold", "3", "--capacity", "2"]);
        assert!(matches!(wrong, Err(Failure::Usage(_))), "{wrong:?}");
    }

    #[test]
    fn a_directory_must_be_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let absolute = directory.path().canonicalize().unwrap();
        assert_eq!(settings(&["--dir", path]).unwrap().dir.as_deref(), absolute.to_str());
        let missing = format!("{path}/missing");
        let file = format!("{path}/file");
        std::fs::write(&file, "").unwrap();
        for (bad, says) in [(&missing, "No such file"), (&file, "not a directory")] {
            let error = settings(&["--dir", bad]).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Failure::Failed(_)), "{text}");
            assert!(text.starts_with(&format!("--dir {bad}: ")) && text.contains(says), "{text}");
        }
    }

    #[test]
    fn an_origin_stands_for_a_directory() {
        let settings = settings(&["--origin", "http://localhost:8080/"]).unwrap();
        assert_eq!(settings.origin.unwrap().to_string(), "http://localhost:8080");
        let error = parse(&["--origin", "http://a", "--dir", "."]).err().unwrap();
        assert!(error.contains("cannot be used with"), "{error}");
    }

    #[test]
    fn ports_are_picked_where_none_is_given_and_children_are_told_where_to_find_all() {
        let arguments =
            ["--listen", "127.0.0.1:0", "--admin", "[::1]:0", "--servers", "2", "--routers", "2"];
        let arguments = parse(&arguments).unwrap();
        let layout = Layout::reserve(&arguments, &mut Reservations::default()).unwrap();
        let parts: Vec<_> = layout.parts().collect();
        let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["router", "router-2", "server-1", "server-2"]);
        assert!(parts.iter().all(|part| part.address.port() != 0 && part.admin.port() != 0));
        assert!(layout.routers[0].admin.is_ipv6());

        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(Some(directory.path())).unwrap();
        let launches = launches(&layout, &place, Path::new("/x/understudy"), "info");
        let config = place.config("server-2").into_os_string().into_string().unwrap();
        let pid = std::process::id().to_string();
        let expected = ["server", "--log", "info", "--config", &config, "--parent", &pid];
        assert_eq!(launches[3].arguments, expected);
        assert_eq!(launches[1].arguments[0], "router");
        assert_eq!(launches[2].part, layout.servers[0]);
    }
}
