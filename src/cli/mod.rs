//! The command line: arguments, wiring, exit codes.
//!
//! Every command ends with 0 when it did what it was asked, with 2 when it was asked wrongly, and
//! with 1 when anything else failed; a failure is one line on standard error. (`call` has one more:
//! 3, when nobody knows.)

// A shell has clocks, threads and sockets; the rules of the pure core end here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod bench;
mod call;
mod certs;
mod check;
mod connection;
mod drain;
mod get;
mod http;
mod log;
mod parent;
mod part;
mod report;
mod router;
mod server;
mod sim;
mod status;
mod table;
mod target;
mod up;

use clap::Parser;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
The first thing to try:
  understudy up                                a router and 3 servers, on this machine
  understudy get --router 127.0.0.1:4433 /     in another terminal: the welcome page

Exit codes: 0 done, 1 failed, 2 asked wrongly.";

/// Understudy: a QUIC edge router whose backup servers already know what every client has cached.
///
/// A client talks to a router; the router gives it a primary server, and that one an alternate.
/// Both know what the client has cached. A fresh item that the client already holds is answered
/// with a few bytes; when the primary dies, the alternate answers the very next request.
#[derive(Parser)]
#[command(name = "understudy", version, after_help = AFTER_HELP)]
#[command(arg_required_else_help = true)]
struct Cli {
    /// What is logged to standard error: off, error, warn, info, debug, trace, or directives such
    /// as `info,quinn=warn`. UNDERSTUDY_LOG says the same.
    #[arg(long, value_name = "LEVEL", global = true)]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Up(up::Arguments),
    Get(get::Arguments),
    Call(call::Arguments),
    /// Run a router, the part that clients connect to, until it is told to stop
    Router(part::Arguments),
    /// Run a server, the part next to the data, until it is told to stop
    Server(part::Arguments),
    Status(status::Arguments),
    Drain(drain::Drain),
    Undrain(drain::Undrain),
    /// Check configuration files before anything is started with them
    Check(check::Arguments),
    /// Make certificates
    Certs(certs::Arguments),
    /// Try the machines on a simulated network with faults
    Sim(sim::Arguments),
    Bench(bench::Arguments),
}

impl Command {
    /// What is logged when nobody says: a part that runs alone says where it listens, the others
    /// speak for themselves.
    fn default_log(&self) -> &'static str {
        match self {
            Self::Router(_) | Self::Server(_) => "info",
            _ => "warn",
        }
    }
}

/// Reads the arguments of this process and does what they say. Call it from the main thread, and
/// return from `main` what it returns.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report::arguments(&error),
    };
    let log = match log::start(cli.log, cli.command.default_log()) {
        Ok(log) => log,
        Err(failure) => return failure.report(),
    };
    match cli.command {
        Command::Up(arguments) => up::run(arguments, &log),
        Command::Get(arguments) => get::run(arguments),
        Command::Call(arguments) => call::run(arguments),
        Command::Router(arguments) => router::run(&arguments),
        Command::Server(arguments) => server::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Drain(arguments) => drain::drain(&arguments),
        Command::Undrain(arguments) => drain::undrain(&arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Certs(arguments) => certs::run(arguments),
        Command::Sim(arguments) => sim::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
