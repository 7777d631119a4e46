//! What a router is told.

use super::access_log::{self, AccessLogConfig};
use super::files::read_bounded;
use super::pools::{self, RouterPool};
use super::section::{Located, Section};
use super::shared::{self, BackplaneFiles, TlsFiles};
use super::values::PeerAddress;
use crate::wire::Name;
use crate::wire::lane::MAX_SLOTS;
use crate::wire::session::{Limits, Versions};
use crate::wire::token::{TOKEN_KEY_SIZE, TokenKeys};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of a router that was given none; enough while there is only one.
const DEFAULT_NAME: &str = "router-1";
/// Slots of a client's cache: about half a megabyte of mirror on two servers.
const DEFAULT_SLOTS: u64 = 65_536;
/// Unanswered requests of one client. More would wait for each other at its own link.
const DEFAULT_IN_FLIGHT: u64 = 256;
/// The most there can be: each may hold a frame of 24 KiB, so one client is kept below 100 MiB.
const MAX_IN_FLIGHT: u64 = 4_096;
/// Clients that a router keeps at one time, connected or expected back.
const DEFAULT_CLIENTS: u64 = 100_000;
/// The most there can be: connection state alone would be some 100 GiB.
const MAX_CLIENTS: u64 = 10_000_000;
/// How long a request may take; a person waits no longer.
const DEFAULT_REQUEST_TIMEOUT_MS: u64 = 10_000;
/// Below this a busy machine's own scheduling would fail requests.
const MIN_REQUEST_TIMEOUT_MS: u64 = 10;
/// Beyond this nobody waits; it bounds how long a lost request is remembered.
const MAX_REQUEST_TIMEOUT_MS: u64 = 600_000;
/// Token keys that may be live: the one that seals, and one that is being rotated out.
const MAX_TOKEN_KEYS: usize = 2;
/// A file of token keys has no reason to be larger.
const MAX_TOKEN_KEY_FILE: u64 = 4 * 1024;

const _: () = assert!(DEFAULT_SLOTS <= MAX_SLOTS && DEFAULT_IN_FLIGHT <= MAX_IN_FLIGHT);
const _: () = assert!(DEFAULT_CLIENTS <= MAX_CLIENTS);
const _: () = assert!(MIN_REQUEST_TIMEOUT_MS < DEFAULT_REQUEST_TIMEOUT_MS);
const _: () = assert!(DEFAULT_REQUEST_TIMEOUT_MS < MAX_REQUEST_TIMEOUT_MS);

/// All that a router is told, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Who it is; its backplane certificate must be for this name.
    pub name: Name,
    /// Where clients come in (UDP).
    pub listen: SocketAddr,
    /// Whether clients may come in by TCP as well, on the same port.
    pub tcp: bool,
    /// HTTP clients are told who they are by a cookie.
    pub cookies: bool,
    /// Where its admin pages are (TCP).
    pub admin: Option<SocketAddr>,
    /// How many workers; 0 stands for one per core, see [`super::worker_count`].
    pub workers: usize,
    /// What clients see.
    pub tls: TlsFiles,
    /// What servers see.
    pub backplane: BackplaneFiles,
    /// The protocol versions it speaks, to clients too.
    pub versions: Versions,
    /// Where other members may dial it (UDP); without one it only dials.
    pub backplane_listen: Option<SocketAddr>,
    /// What they are told to dial, if it is another address.
    pub advertise: Option<SocketAddr>,
    /// Where other members are, each once; at least one, unless they may dial it.
    pub seeds: Vec<PeerAddress>,
    /// Its pools, each with a name of its own; at least one.
    pub pools: Vec<RouterPool>,
    /// The keys that tokens are sealed with; to be made up at start where there are none.
    pub token_keys: Option<TokenKeyBytes>,
    /// The file that they are in, to be read again while the router runs.
    pub token_keys_file: Option<PathBuf>,
    /// What clients may do.
    pub limits: RouterLimits,
    /// How long a request may take from end to end.
    pub request_timeout: Duration,
    /// Where it tells of the HTTP requests that it answered, if anywhere.
    pub access_log: Option<AccessLogConfig>,
}

/// What clients may do, where their pool does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterLimits {
    /// Slots of one client's cache.
    pub slots: u64,
    /// Unanswered requests of one client.
    pub in_flight: u64,
    /// Items with more bytes than this are streamed and not mirrored.
    pub max_item: u64,
    /// Clients that there may be at one time; each worker takes its share of them.
    pub clients: u64,
}

impl RouterLimits {
    /// What one client is told.
    pub(super) fn of_clients(&self) -> Limits {
        let Self { slots, in_flight, max_item, clients: _ } = *self;
        Limits { slots, in_flight, max_item }
    }
}

/// The keys that tokens are sealed with: the first one seals, all open. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKeyBytes(Vec<[u8; TOKEN_KEY_SIZE]>);

impl TokenKeyBytes {
    /// Makes them ready for use.
    pub fn token_keys(&self) -> TokenKeys {
        TokenKeys::new(&self.0)
    }

    /// Reads them from a file.
    ///
    /// # Errors
    /// In words, which show no key.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = read_bounded(path, MAX_TOKEN_KEY_FILE).map_err(|error| error.to_string())?;
        Self::parse(std::str::from_utf8(&bytes).map_err(|_| "it is not text")?)
    }

    /// Reads one or two lines of 64 hex digits; empty lines and lines with '#' are skipped.
    fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<[u8; TOKEN_KEY_SIZE]> = Vec::new();
        for (place, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = hex_key(line).ok_or(format!("line {} is not 64 hex digits", place + 1))?;
            if keys.contains(&key) {
                return Err(format!("line {} repeats the key before it", place + 1));
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err("it has no key".to_owned()),
            1..=MAX_TOKEN_KEYS => Ok(Self(keys)),
            more => Err(format!("it has {more} keys, and at most {MAX_TOKEN_KEYS} can be live")),
        }
    }
}

impl fmt::Debug for TokenKeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeyBytes({} keys)", self.0.len())
    }
}

fn hex_key(line: &str) -> Option<[u8; TOKEN_KEY_SIZE]> {
    let mut key = [0; TOKEN_KEY_SIZE];
    if line.len() != 2 * TOKEN_KEY_SIZE || !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&line[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(key)
}

/// Reads a router's configuration; what is wrong is reported to the document.
pub(super) fn read(root: &Section<'_>) -> Option<RouterConfig> {
    let name = shared::name(root, "name", || Name::new(DEFAULT_NAME).ok());
    let listen = shared::address(root, "listen", "0.0.0.0:4433");
    if listen.is_none() {
        root.missing("listen", "listen = \"0.0.0.0:4433\"");
    }
    let tcp = root.boolean("tcp").is_none_or(|tcp| tcp.value);
    let cookies = root.boolean("cookies").is_none_or(|cookies| cookies.value);
    let admin = shared::admin(root);
    let workers = shared::workers(root);
    let tls = shared::tls_files(root);
    let backplane_section = shared::backplane_section(root);
    let backplane = backplane_section.as_ref().and_then(shared::backplane_files);
    let versions = shared::versions(backplane_section.as_ref());
    let backplane_listen = backplane_section
        .as_ref()
        .and_then(|section| shared::address(section, "listen", "0.0.0.0:4444"));
    let advertise = backplane_section.as_ref().and_then(shared::advertise);
    let seeds = shared::seeds(root, backplane_section.as_ref());
    if seeds.is_none() && backplane_listen.is_none() {
        let what = "seeds is missing".to_owned();
        let fix = "list backplane addresses of servers: seeds = [\"127.0.0.1:4443\"]";
        root.document.problem(None, what, fix);
    }
    let (token_keys, token_keys_file) = read_token_keys(root).unzip();
    let limits = read_limits(root);
    let timeout = request_timeout(root);
    let pools = pools::read(root, &limits);
    let access_log = access_log::read(root);
    if let Some(section) = backplane_section {
        section.finish(|_| None);
    }
    root.finish(|key| {
        shared::foreign(key, super::load::SERVER_KEYS, "a server's configuration")
            .or(shared::foreign(key, &["slots", "in_flight", "max_item", "clients"], "[limits]"))
    });

    if let (Some(listen), Some(backplane)) = (&listen, &backplane_listen) {
        check_ports_differ(root, listen, backplane);
    }
    if let (Some(listen), Some(tls)) = (&listen, &tls) {
        shared::refuse_bundled_public(root, listen, tls);
    }
    let seeds = seeds.unwrap_or_default();
    if let Some(files) = &backplane {
        shared::refuse_bundled_backplane(root, backplane_listen.as_ref(), &seeds, files);
    }
    Some(RouterConfig {
        name: name?,
        listen: listen?.value,
        tcp,
        cookies,
        admin,
        workers,
        tls: tls?,
        backplane: backplane?,
        versions,
        backplane_listen: backplane_listen.map(|listen| listen.value),
        advertise,
        seeds: seeds.into_iter().map(|seed| seed.value).collect(),
        pools: pools?,
        token_keys,
        token_keys_file,
        limits,
        request_timeout: Duration::from_millis(timeout.value),
        access_log,
    })
}

/// How long a request may take, in milliseconds.
pub(super) fn request_timeout(section: &Section<'_>) -> Located<u64> {
    let range = MIN_REQUEST_TIMEOUT_MS..=MAX_REQUEST_TIMEOUT_MS;
    section.number("request_timeout_ms", range, DEFAULT_REQUEST_TIMEOUT_MS)
}

fn read_limits(root: &Section<'_>) -> RouterLimits {
    let default = Limits {
        slots: DEFAULT_SLOTS,
        in_flight: DEFAULT_IN_FLIGHT,
        max_item: shared::DEFAULT_MAX_ITEM,
    };
    let section = root.section("limits");
    let limits = section.as_ref().map_or(default, |section| read_client_limits(section, &default));
    let clients = section.as_ref().map_or(DEFAULT_CLIENTS, |section| {
        section.number("clients", 1..=MAX_CLIENTS, DEFAULT_CLIENTS).value
    });
    if let Some(section) = section {
        section.finish(|_| None);
    }
    let Limits { slots, in_flight, max_item } = limits;
    RouterLimits { slots, in_flight, max_item, clients }
}

/// What one client may do.
pub(super) fn read_client_limits(section: &Section<'_>, default: &Limits) -> Limits {
    Limits {
        slots: section.number("slots", 1..=MAX_SLOTS, default.slots).value,
        in_flight: section.number("in_flight", 1..=MAX_IN_FLIGHT, default.in_flight).value,
        max_item: shared::max_item(section, default.max_item).value,
    }
}

fn read_token_keys(root: &Section<'_>) -> Option<(TokenKeyBytes, PathBuf)> {
    let path = shared::file(root, "token_keys")?;
    let fix = "put one or two lines of 64 random hex digits in it, as 'openssl rand -hex 32' gives";
    let keys = TokenKeyBytes::read(&path.value).map_err(|why| {
        let what = format!("token_keys is {}: {why}", path.value.display());
        root.document.problem(path.line, what, fix);
    });
    Some((keys.ok()?, path.value))
}

fn check_ports_differ(
    root: &Section<'_>,
    listen: &Located<SocketAddr>,
    backplane: &Located<SocketAddr>,
) {
    let (public, inner) = (listen.value, backplane.value);
    let overlap =
        public.ip() == inner.ip() || public.ip().is_unspecified() || inner.ip().is_unspecified();
    if public.port() == inner.port() && public.port() != 0 && overlap {
        let what = format!("backplane.listen is {inner}, on the same port as listen, {public}");
        root.document.problem(backplane.line, what, "give the backplane a port of its own");
    }
}
