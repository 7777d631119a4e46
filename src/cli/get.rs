//! `understudy get`: asks a router for items, as the client library does.

mod answers;
mod output;
mod plan;
#[cfg(test)]
mod tests;

use super::connection::{Connection, unreachable};
use super::report::{self, Failure};
use crate::net::client::{Client, MANY, ValidatorPolicy};
use crate::wire::Key;
use answers::{Answers, Outcome};
use output::SinkConfig;
use plan::Plan;
use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Gets that are open at one time.
const IN_FLIGHT: usize = 64;

/// Get items from a router.
///
/// One item's bytes go to standard output, and nothing else does. With --cache, items and the
/// client's identity are kept from one run to the next, and an item that has not changed costs a
/// few bytes.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  understudy get /                                  the welcome page of `understudy up`
  understudy get --cache ~/.cache/understudy /      the second time: use-cached
  understudy get --json --repeat 2 /items/1m.bin    what it took, twice
  understudy get --keys list.txt --output-dir out   many items, each in its file
  understudy get --all --cache ~/.cache/understudy  refresh all that is in the cache

Exit codes: 0 all were answered, 1 some were not found or failed, 2 asked wrongly.")]
pub(super) struct Arguments {
    /// What to get: a path such as `/` or `/items/1k.bin`.
    #[arg(value_name = "KEY")]
    given: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    /// What is said of copies in the cache.
    #[arg(long, value_enum, default_value_t)]
    validator: Validator,
    /// Also gets the keys in this file, one a line; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Also gets everything that is in the cache, in one round trip; what came is summed up if
    /// nothing else is written.
    #[arg(long, requires = "cache", conflicts_with = "output")]
    all: bool,
    /// Writes the item to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "output_dir")]
    output: Option<PathBuf>,
    /// Writes each item to the file below this directory that its key names.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Prints a line of JSON for each answer; bytes only go where --output or --output-dir say.
    #[arg(long)]
    json: bool,
    /// Gets everything so many times, one round after the other; the last one's bytes count.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    repeat: u64,
}

/// What is said of copies in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Validator {
    /// Nothing: the server's mirror decides
    None,
    /// CRC and length
    Crc,
    /// CRC and digest
    Strong,
    /// Nothing where the server has confirmed the copy in this run, else CRC and digest
    #[default]
    Auto,
}

impl From<Validator> for ValidatorPolicy {
    fn from(validator: Validator) -> Self {
        match validator {
            Validator::None => Self::None,
            Validator::Crc => Self::Crc,
            Validator::Strong => Self::Strong,
            Validator::Auto => Self::Auto,
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Failure::Failed(format!("no event loop: {why}")));
    let outcome = runtime.and_then(|runtime| {
        let plan = Plan::new(arguments, &mut io::stdin().lock())?;
        runtime.block_on(fetch(plan, &mut io::stdout().lock()))
    });
    match outcome {
        Ok(Outcome { failed: 0 }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => failure.report(),
    }
}

/// Gets everything, and writes it where it belongs.
async fn fetch(plan: Plan, stdout: &mut impl Write) -> Result<Outcome, Failure> {
    let Plan { config, mut keys, all, policy, sink, json, repeat } = plan;
    let sums_up = all && !json && sink == SinkConfig::Nowhere;
    let sink = sink.open()?;
    let client = Client::connect(config).await.map_err(unreachable)?;
    if all {
        let given: HashSet<_> = keys.iter().cloned().collect();
        let cached = client.cached_keys().await.into_iter();
        keys.extend(cached.filter(|key| !given.contains(key)));
    }
    let total = keys.len() as u64 * repeat;
    let mut answers = Answers::new(stdout, sink, (json, sums_up), total);
    let mut result = Ok(true);
    for round in 1..=repeat {
        let wants_bytes = round == repeat;
        result = match policy {
            ValidatorPolicy::Auto if all => {
                fetch_together(&client, &keys, &mut answers, wants_bytes).await
            }
            _ => fetch_once(&client, &keys, policy, &mut answers, wants_bytes).await,
        };
        if !matches!(result, Ok(true)) {
            break;
        }
    }
    // Whatever went wrong with the output, the cache is good.
    client.close().await;
    result.and_then(|_| answers.finish())
}

/// The same, where the client may ask about what it holds together.
async fn fetch_together(
    client: &Client,
    keys: &[Key],
    answers: &mut Answers<'_, impl Write>,
    wants_bytes: bool,
) -> Result<bool, Failure> {
    for some in keys.chunks(MANY) {
        let pending = client.start_many(some.to_vec()).await;
        for (key, pending) in some.iter().zip(pending) {
            if !answers.take(key, pending.wait().await, wants_bytes)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Gets every key once. Returns whether standard output takes more.
async fn fetch_once(
    client: &Client,
    keys: &[Key],
    policy: ValidatorPolicy,
    answers: &mut Answers<'_, impl Write>,
    wants_bytes: bool,
) -> Result<bool, Failure> {
    let mut open = VecDeque::with_capacity(IN_FLIGHT);
    let mut rest = keys;
    loop {
        while let Some((key, after)) = rest.split_first().filter(|_| open.len() < IN_FLIGHT) {
            open.push_back((key, client.start(key.clone(), policy).await));
            rest = after;
        }
        let Some((key, pending)) = open.pop_front() else {
            return Ok(true);
        };
        if !answers.take(key, pending.wait().await, wants_bytes)? {
            return Ok(false);
        }
    }
}

/// Writes what is not an answer.
fn complain(text: &str) {
    report::line(&format!("error: {text}"));
}
