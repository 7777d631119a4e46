//! What a command tells the one who called it: one line on standard error, and an exit code.
//!
//! Nothing here panics when standard output or standard error is closed, as `println!` would:
//! whoever closed it does not want the rest, and that is no failure.

use clap::error::ErrorKind;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// The exit code of a command that was asked wrongly.
const USAGE: u8 = 2;

/// Why a command did not do what it was asked. What was wrong, where, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The command line asked for something that makes no sense. Nothing was done.
    Usage(String),
    /// Anything else.
    Failed(String),
}

impl Failure {
    /// Writes the line, or a line for each thing that is wrong, and returns the exit code.
    pub(super) fn report(&self) -> ExitCode {
        self.to_string().lines().for_each(|text| line(&format!("error: {text}")));
        match self {
            Self::Usage(_) => ExitCode::from(USAGE),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(text) | Self::Failed(text)) = self;
        f.write_str(text)
    }
}

/// Writes a line to standard error.
pub(super) fn line(text: &str) {
    // Where standard error is gone there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{}", text.replace('\n', " "));
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output could not be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Answers arguments that did not parse, or that asked for help or the version.
pub(super) fn arguments(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // As above: help that nobody reads any more is no failure.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
        }
        _ => Failure::Usage(one_line(&error.to_string())).report(),
    }
}

/// The message of an arguments error in one line, without the usage that would follow.
fn one_line(rendered: &str) -> String {
    let message = rendered.strip_prefix("error: ").unwrap_or(rendered);
    let paragraphs = message
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|text| !text.is_empty() && !text.starts_with("Usage:"))
        .map(|text| text.replace("For more information, try '--help'.", "see --help"));
    paragraphs.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Command};

    fn message(arguments: &[&str]) -> String {
        let command = Command::new("x").arg(Arg::new("servers").long("servers").required(true));
        one_line(&command.try_get_matches_from(arguments).unwrap_err().to_string())
    }

    #[test]
    fn what_is_wrong_with_the_arguments_is_one_line() {
        assert_eq!(
            message(&["x", "--server", "3"]),
            "unexpected argument '--server' found; tip: a similar argument exists: '--servers'; \
             see --help"
        );
        assert_eq!(
            message(&["x"]),
            "the following required arguments were not provided: --servers <servers>; see --help"
        );
    }
}
