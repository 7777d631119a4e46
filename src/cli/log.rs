//! The log of a process: what, and where to.

use super::report::Failure;
use std::io;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The variable that says what is logged where `--log` does not.
const VARIABLE: &str = "UNDERSTUDY_LOG";

/// Starts to log to standard error what the argument says, or else the environment, or else what
/// the command logs by itself. Returns what that is, to be passed on to child processes.
pub(super) fn start(argument: Option<String>, default: &str) -> Result<String, Failure> {
    let variable = || std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let (from, text) = match (argument, variable()) {
        (Some(text), _) => ("--log", text),
        (None, Some(text)) => (VARIABLE, text),
        (None, None) => ("--log", default.to_owned()),
    };
    let filter = parse(&text).ok_or_else(|| {
        Failure::Usage(format!(
            "{from}: '{text}' is no log level: use off, error, warn, info, debug or trace, or \
             directives such as 'info,quinn=warn'"
        ))
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .log_internal_errors(false)
        .finish();
    // Fails only where a program that embeds this one logs already, which is then as it wants it.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(text)
}

/// A bare word is a level and nothing else: the filter by itself would take a misspelt level for
/// the name of a module, and log nothing.
fn parse(text: &str) -> Option<EnvFilter> {
    let each = |directive: &str| {
        let word = directive.trim();
        word.contains('=') || (!word.is_empty() && word.parse::<LevelFilter>().is_ok())
    };
    let plausible = text.split(',').all(each);
    plausible.then(|| EnvFilter::builder().parse(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_taken_and_misspelt_ones_are_not() {
        for good in ["off", "warn", "INFO", "trace", "info,quinn=warn", "understudy::net=debug"] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in ["", "loud", "wran", "info,quinn=loud", "info,"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
