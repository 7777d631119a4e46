//! Arguments, checked.

use super::{Arguments, ModeArgument, ValidatorArgument};
use crate::cli::report::Failure;
use crate::cli::target;
use crate::load::config::{
    Claim, KeyChoice, LoadConfig, MAX_CONNECTIONS, MAX_DURATION, MAX_IN_FLIGHT, MAX_KEYS,
    MAX_WORKERS, Mode, Target, Trust,
};
use crate::wire::Name;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where HTTP/3 is spoken when a URL names no port.
const HTTPS_PORT: u16 = 443;
/// Requests a second that can be planned, at the most.
const MAX_RATE: f64 = 1e8;

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) load: LoadConfig,
    pub(super) json: bool,
    pub(super) json_file: Option<PathBuf>,
    pub(super) hlog: Option<PathBuf>,
    pub(super) report: Option<PathBuf>,
}

impl Plan {
    /// Checks the arguments, reads the keys, and looks up the target.
    pub(super) fn new(arguments: Arguments) -> Result<Self, Failure> {
        check_numbers(&arguments)?;
        let mode = mode(arguments.mode);
        let (target, name) = match &arguments.http3 {
            Some(url) => http3(url)?,
            None => routers(&arguments)?,
        };
        if mode == Mode::Echo && arguments.http3.is_some() {
            return Err(Failure::Usage("--mode echo speaks no HTTP/3".to_owned()));
        }
        let load = LoadConfig {
            trust: trust(&arguments, &target)?,
            target,
            server_name: arguments.server_name.unwrap_or(name),
            mode,
            keys: keys(&arguments.keys)?,
            claim: match arguments.validator {
                ValidatorArgument::None => Claim::None,
                ValidatorArgument::Crc => Claim::Crc,
                ValidatorArgument::Strong => Claim::Strong,
            },
            connections: arguments.connections,
            in_flight: arguments.in_flight,
            rate: arguments.rate,
            warmup: arguments.warmup,
            duration: arguments.duration,
            workers: arguments.workers.min(arguments.connections),
            pids: arguments.cpu_of,
        };
        if rustls_pki_types::ServerName::try_from(load.server_name.as_str()).is_err() {
            let name = &load.server_name;
            let text = format!("--server-name {name:?}: it is neither a DNS name nor an address");
            return Err(Failure::Usage(text));
        }
        let Arguments { json, json_file, hlog, report, .. } = arguments;
        Ok(Self { load, json, json_file, hlog, report })
    }
}

/// Reads `10s`, `500ms` or `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err("write a number and a unit: ms, s, m or h, such as 10s".to_owned()),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{digits:?} is no number"))?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|why| why.to_string())?;
    match duration <= MAX_DURATION {
        true => Ok(duration),
        false => Err(format!("at most {} hours are possible", MAX_DURATION.as_secs() / 3_600)),
    }
}

fn check_numbers(arguments: &Arguments) -> Result<(), Failure> {
    let within = |name: &str, number: usize, most: usize| match (1..=most).contains(&number) {
        true => Ok(()),
        false => Err(Failure::Usage(format!("{name} {number}: it must be 1 to {most}"))),
    };
    within("--connections", arguments.connections, MAX_CONNECTIONS)?;
    within("--in-flight", arguments.in_flight, MAX_IN_FLIGHT)?;
    within("--workers", arguments.workers, MAX_WORKERS)?;
    if arguments.duration.is_zero() {
        return Err(Failure::Usage("--duration 0: nothing would be measured".to_owned()));
    }
    match arguments.rate {
        Some(rate) if !(rate > 0.0 && rate <= MAX_RATE) => {
            Err(Failure::Usage(format!("--rate {rate}: it must be above 0 and at most {MAX_RATE}")))
        }
        _ => Ok(()),
    }
}

fn mode(mode: ModeArgument) -> Mode {
    match mode {
        ModeArgument::UseCached => Mode::UseCached,
        ModeArgument::Full => Mode::Full,
        ModeArgument::Mixed => Mode::Mixed,
        ModeArgument::Connect => Mode::Connect,
        ModeArgument::Echo => Mode::Echo,
    }
}

fn routers(arguments: &Arguments) -> Result<(Target, String), Failure> {
    let mut addresses = Vec::new();
    let mut names = Vec::new();
    for text in &arguments.routers {
        let (found, name) = target::router(text)?;
        addresses.extend(found);
        names.push(name);
    }
    let name = match &arguments.server_name {
        Some(name) => name.clone(),
        None => target::one_name(names)?,
    };
    let pool = arguments.pool.as_ref().map(|pool| {
        Name::new(pool).map_err(|why| Failure::Usage(format!("--pool {pool:?}: {why}")))
    });
    Ok((Target::Routers { addresses, pool: pool.transpose()? }, name))
}

/// `https://HOST:PORT/PREFIX`.
fn http3(url: &str) -> Result<(Target, String), Failure> {
    let wrong = |why: &str| Failure::Usage(format!("--http3 {url:?}: {why}"));
    let example = "it should be a URL such as https://localhost:8443/";
    let rest = url.strip_prefix("https://").ok_or_else(|| wrong(example))?;
    let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let uri: http::uri::Authority = authority.parse().map_err(|_| wrong(example))?;
    let host = uri.host().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(HTTPS_PORT);
    if host.is_empty() || prefix.contains(['?', '#']) {
        return Err(wrong(example));
    }
    let mut found = (host, port).to_socket_addrs().map_err(|why| wrong(&why.to_string()))?;
    let address = found.next().ok_or_else(|| wrong("it has no address"))?;
    let prefix = prefix.trim_end_matches('/').to_owned();
    let target = Target::Http3 { address, authority: authority.to_owned(), prefix };
    let name = host.parse().map_or_else(|_| host.to_owned(), target::name_of);
    Ok((target, name))
}

fn keys(text: &str) -> Result<KeyChoice, Failure> {
    let too_many = || Failure::Usage(format!("--keys: 1 to {MAX_KEYS} are possible"));
    if let Ok(count) = text.parse::<usize>() {
        let is_possible = (1..=MAX_KEYS).contains(&count);
        return is_possible.then_some(KeyChoice::Listed(count)).ok_or_else(too_many);
    }
    let keys = target::keys_of(Path::new(text), &mut std::io::stdin().lock())?;
    match (1..=MAX_KEYS).contains(&keys.len()) {
        true => Ok(KeyChoice::Named(keys)),
        false => Err(too_many()),
    }
}

/// Without a word, the bundled CA, and only for this machine.
fn trust(arguments: &Arguments, target: &Target) -> Result<Trust, Failure> {
    let addresses: Vec<SocketAddr> = match target {
        Target::Routers { addresses, .. } => addresses.clone(),
        Target::Http3 { address, .. } => vec![*address],
    };
    let beyond = addresses.iter().find(|address| !address.ip().is_loopback());
    match (&arguments.ca, beyond) {
        _ if arguments.insecure => Ok(Trust::Anybody),
        (Some(path), _) => Ok(Trust::File(path.clone())),
        (None, None) => Ok(Trust::Bundled),
        (None, Some(address)) => Err(Failure::Usage(format!(
            "{address} is beyond this machine: say by --ca FILE which CA signed its certificate"
        ))),
    }
}
