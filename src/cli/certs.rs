//! `understudy certs new`: makes the certificates of a set of routers and servers.

mod set;
#[cfg(test)]
mod tests;

use super::report::{self, Failure};
use crate::config::write_whole;
use crate::wire::Name;
use rustls_pki_types::UnixTime;
use serde_json::json;
use set::{Host, MadeSet, Plan};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How long certificates are valid when nothing else is asked for, in days.
const DEFAULT_DAYS: u32 = 365;
/// The longest they can be: a century.
const MAX_DAYS: i64 = 36_500;

/// What to do with certificates.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a new set: two CAs, the public certificate, and the backplane's certificates
    ///
    /// The keys of the CAs are not kept: nobody can add to a set later, and to change one is to
    /// make a new one.
    New(NewArguments),
}

#[derive(clap::Args)]
struct NewArguments {
    /// The directory to put them in; made if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A host name or IP address that clients reach routers by; repeat it for several
    #[arg(
        long = "name",
        value_name = "HOST",
        default_values = ["localhost", "127.0.0.1", "::1"]
    )]
    hosts: Vec<Host>,
    /// Make a backplane certificate for this router alone; repeat it for several. Without it one
    /// certificate serves routers of every name
    #[arg(long = "router", value_name = "NAME", value_parser = parse_name)]
    routers: Vec<Name>,
    /// Make a backplane certificate for this server alone; repeat it for several. Without it one
    /// certificate serves servers of every name
    #[arg(long = "server", value_name = "NAME", value_parser = parse_name)]
    servers: Vec<Name>,
    /// How many days they are valid
    #[arg(
        long,
        value_name = "N",
        default_value_t = DEFAULT_DAYS,
        value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS)
    )]
    days: u32,
    /// Print one JSON object: directory, valid_until, files [{path, what, goes_to, is_key}]
    #[arg(long)]
    json: bool,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

fn parse_name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}

/// Makes what was asked for.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let Command::New(arguments) = arguments.command;
    let made = new(&arguments, UnixTime::now()).map_err(Failure::Failed);
    let text = made.map(|set| match arguments.json {
        true => format!("{}\n", as_json(&arguments.out, &set)),
        false => as_text(&arguments.out, &set),
    });
    match text.and_then(|text| report::print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Makes a set and writes it. Nothing is written if any file is in the way.
fn new(arguments: &NewArguments, now: UnixTime) -> Result<MadeSet, String> {
    let out = &arguments.out;
    let plan = Plan {
        hosts: without_repeats(&arguments.hosts),
        routers: without_repeats(&arguments.routers),
        servers: without_repeats(&arguments.servers),
        days: arguments.days,
    };
    let made = set::make(&plan, now).map_err(|error| format!("no certificates: {error}"))?;
    std::fs::create_dir_all(out)
        .map_err(|error| format!("the directory {} cannot be made: {error}", out.display()))?;
    let in_the_way: Vec<&str> = made
        .files
        .iter()
        .map(|file| file.name.as_str())
        .filter(|name| out.join(name).symlink_metadata().is_ok())
        .collect();
    if !in_the_way.is_empty() && !arguments.force {
        let (directory, names) = (out.display(), in_the_way.join(", "));
        return Err(format!(
            "{directory} already has {names}: name another directory by --out, or add --force to \
             overwrite them"
        ));
    }
    for file in &made.files {
        let path = out.join(&file.name);
        write_whole(&path, file.contents.as_bytes(), file.is_key)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    Ok(made)
}

fn without_repeats<T: Clone + PartialEq>(list: &[T]) -> Vec<T> {
    let mut once: Vec<T> = Vec::new();
    for element in list {
        if !once.contains(element) {
            once.push(element.clone());
        }
    }
    once
}

fn as_text(out: &Path, set: &MadeSet) -> String {
    let mut text = format!("Made in {}, valid until {}:\n", out.display(), set.valid_until);
    let width = set.files.iter().map(|file| file.name.len()).max().unwrap_or(0);
    for file in &set.files {
        text.push_str(&format!("  {:width$}  {} -> {}\n", file.name, file.what, file.goes_to));
    }
    text.push_str("Keep the .key files secret. The keys of the two CAs were not kept.\n");
    text
}

fn as_json(out: &Path, set: &MadeSet) -> serde_json::Value {
    let file = |file: &set::MadeFile| {
        json!({
            "path": out.join(&file.name).display().to_string(),
            "what": file.what,
            "goes_to": file.goes_to,
            "is_key": file.is_key,
        })
    };
    json!({
        "directory": out.display().to_string(),
        "valid_until": set.valid_until,
        "files": set.files.iter().map(file).collect::<Vec<_>>(),
    })
}
