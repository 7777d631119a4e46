//! Whom commands ask, and for what: arguments that they have in common.

use super::report::Failure;
use crate::config::read_bounded;
use crate::net::client::Error;
use crate::wire::Key;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

/// Where a router listens when nobody says.
const DEFAULT_PORT: u16 = 4433;
/// Most bytes of a file with keys.
const MAX_KEYS_FILE: u64 = 256 << 20;

/// The keys in a file, one a line; `-` is standard input.
pub(super) fn keys_of(path: &Path, stdin: &mut impl Read) -> Result<Vec<Key>, Failure> {
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
pub(super) fn key(text: &str) -> Result<Key, String> {
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

/// The addresses of a router, and the name that its certificate should have.
pub(super) fn router(text: &str) -> Result<(Vec<SocketAddr>, String), Failure> {
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

/// The name that a certificate has for an address.
pub(super) fn name_of(ip: IpAddr) -> String {
    if ip.is_loopback() { "localhost".to_owned() } else { ip.to_string() }
}

/// The name that all routers' certificates should have.
pub(super) fn one_name(mut names: Vec<String>) -> Result<String, Failure> {
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
