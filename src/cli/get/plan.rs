//! Arguments, checked: what to get, from whom, and where to.

use super::Arguments;
use super::output::SinkConfig;
use crate::cli::report::Failure;
use crate::config::read_bounded;
use crate::net::client::{CacheConfig, ClientConfig, Error, Roots, ValidatorPolicy};
use crate::wire::{Key, Name};
use std::io::Read;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

/// Where a router listens when nobody says.
const DEFAULT_PORT: u16 = 4433;
/// Most bytes of a file with keys.
const MAX_KEYS_FILE: u64 = 256 << 20;

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: ClientConfig,
    /// At least one.
    pub(super) keys: Vec<Key>,
    pub(super) policy: ValidatorPolicy,
    pub(super) sink: SinkConfig,
    pub(super) json: bool,
    pub(super) repeat: u64,
}

impl Plan {
    /// Checks the arguments, reads the keys, and looks up the routers.
    pub(super) fn new(arguments: Arguments, stdin: &mut impl Read) -> Result<Self, Failure> {
        let keys = keys(&arguments, stdin)?;
        let sink = sink(&arguments, keys.len())?;
        let mut routers = Vec::new();
        let mut names = Vec::new();
        for text in &arguments.routers {
            let (addresses, name) = router(text)?;
            routers.extend(addresses);
            names.push(name);
        }
        let mut config = ClientConfig::new(routers);
        config.server_name = match arguments.server_name {
            Some(name) => name,
            None => one_name(names)?,
        };
        config.roots = roots(arguments.ca.as_deref(), &config.routers)?;
        let pool = arguments.pool.map(|pool| {
            Name::new(&pool).map_err(|why| Failure::Usage(format!("--pool {pool:?}: {why}")))
        });
        config.pool = pool.transpose()?;
        if let Some(directory) = arguments.cache {
            config.cache = CacheConfig::directory(directory);
        }
        let (json, repeat, policy) = (arguments.json, arguments.repeat, arguments.validator.into());
        Ok(Self { config, keys, policy, sink, json, repeat })
    }
}

fn keys(arguments: &Arguments, stdin: &mut impl Read) -> Result<Vec<Key>, Failure> {
    let given = arguments.given.iter().map(|text| key(text).map_err(Failure::Usage));
    let mut keys = given.collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &arguments.keys {
        keys.extend(keys_of(path, stdin)?);
    }
    match keys.is_empty() {
        true => Err(Failure::Usage("no key was given: name one, such as '/'".to_owned())),
        false => Ok(keys),
    }
}

fn keys_of(path: &Path, stdin: &mut impl Read) -> Result<Vec<Key>, Failure> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("{name}: {why}"));
    let mut bytes = Vec::new();
    if is_stdin {
        stdin.take(MAX_KEYS_FILE).read_to_end(&mut bytes).map_err(|why| failed(&why))?;
    } else {
        bytes = read_bounded(path, MAX_KEYS_FILE).map_err(|why| failed(&why))?;
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed(&"it is not UTF-8"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    let parse = |(number, line)| {
        key(line).map_err(|why| Failure::Usage(format!("{name}:{}: {why}", number + 1)))
    };
    lines.map(parse).collect()
}

/// Checks a key, and says what was probably meant where it is none.
fn key(text: &str) -> Result<Key, String> {
    text.parse().map_err(|why| {
        let path = text.split_once("://").map(|(_, rest)| rest.split_once('/'));
        let meant = match path {
            Some(Some((_host, path))) => format!("/{path}"),
            Some(None) => "/".to_owned(),
            None => format!("/{text}"),
        };
        let hint = match meant.parse::<Key>() {
            Ok(key) if !text.starts_with('/') && !text.is_empty() => format!("; try '{key}'"),
            _ => String::new(),
        };
        format!("{}{hint}", Error::InvalidKey { key: text.to_owned(), why })
    })
}

fn sink(arguments: &Arguments, keys: usize) -> Result<SinkConfig, Failure> {
    Ok(match (&arguments.output, &arguments.output_dir) {
        (Some(_), _) if keys > 1 => {
            let text = format!("--output is for one key, and there are {keys}: use --output-dir");
            return Err(Failure::Usage(text));
        }
        (Some(file), _) => SinkConfig::File(file.clone()),
        (None, Some(directory)) => SinkConfig::Directory(directory.clone()),
        (None, None) if arguments.json => SinkConfig::Nowhere,
        (None, None) if keys > 1 => {
            let text = format!(
                "standard output is for one key, and there are {keys}: use --output-dir DIR, or \
                 --json to see only what came"
            );
            return Err(Failure::Usage(text));
        }
        (None, None) => SinkConfig::Stdout,
    })
}

/// The addresses of a router, and the name that its certificate should have.
fn router(text: &str) -> Result<(Vec<SocketAddr>, String), Failure> {
    if let Some(address) = text.parse().ok().or_else(|| with_default_port(text)) {
        return Ok((vec![address], name_of(address.ip())));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (text, Some(DEFAULT_PORT)),
    };
    let wrong = |why: &str| Failure::Usage(format!("--router {text:?}: {why}"));
    let port = port.filter(|_| !host.is_empty()).ok_or_else(|| {
        wrong("it should be an address and a port, such as 127.0.0.1:4433 or edge.example:4433")
    })?;
    let found = (host, port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    match found {
        Ok(addresses) if !addresses.is_empty() => Ok((addresses, host.to_owned())),
        Ok(_) => Err(wrong("it has no address")),
        Err(why) => Err(wrong(&why.to_string())),
    }
}

fn with_default_port(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, DEFAULT_PORT))
}

fn name_of(ip: IpAddr) -> String {
    if ip.is_loopback() { "localhost".to_owned() } else { ip.to_string() }
}

fn one_name(mut names: Vec<String>) -> Result<String, Failure> {
    names.dedup();
    match &names[..] {
        [name] => Ok(name.clone()),
        _ => {
            let text = format!(
                "the routers are called by different names ({}): say by --server-name which one \
                 their certificates have",
                names.join(", ")
            );
            Err(Failure::Usage(text))
        }
    }
}

fn roots(ca: Option<&Path>, routers: &[SocketAddr]) -> Result<Roots, Failure> {
    let beyond = routers.iter().find(|router| !router.ip().is_loopback());
    match (ca, beyond) {
        (Some(path), _) => Ok(Roots::File(path.to_owned())),
        (None, None) => Ok(Roots::Bundled),
        (None, Some(router)) => {
            let text = format!(
                "{router} is beyond this machine: say by --ca FILE which CA signed its certificate \
                 (the bundled one proves nothing there)"
            );
            Err(Failure::Usage(text))
        }
    }
}
