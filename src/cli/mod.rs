//! The command line: arguments, wiring, exit codes.

use clap::Parser;
use std::process::ExitCode;

pub(crate) mod certs;
pub(crate) mod check;
pub(crate) mod sim;

/// Arguments of the program.
#[derive(Parser)]
#[command(name = "understudy", version)]
enum Program {
    /// Makes certificates
    Certs(certs::Arguments),
    /// Checks configuration files
    Check(check::Arguments),
    /// Tries the machines on a simulated network with faults
    Sim(sim::Arguments),
}

/// Runs the program on its command line.
pub fn main() -> ExitCode {
    match Program::parse() {
        Program::Certs(arguments) => certs::run(arguments),
        Program::Check(arguments) => check::run(arguments),
        Program::Sim(arguments) => sim::run(arguments),
    }
}
