//! From a file to a configuration, or to all that is wrong with it.

use super::document::Document;
use super::files::read_bounded;
use super::problem::{ConfigErrors, Problem};
use super::router::{self, RouterConfig};
use super::server::{self, ServerConfig};
use crate::wire::Name;
use crate::wire::backplane::Role;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// A configuration has no reason to be larger.
const MAX_CONFIG_FILE: u64 = 256 * 1024;
/// The pool of a file that names none.
pub(super) const DEFAULT_POOL: &str = "default";
/// Keys that only a router has.
pub(super) const ROUTER_KEYS: &[&str] =
    &["tls", "token_keys", "limits", "request_timeout_ms", "tcp", "cookies", "access_log"];
/// Keys that only a server has.
pub(super) const SERVER_KEYS: &[&str] =
    &["zone", "threshold", "capacity", "memory", "client_idle_timeout", "drain_timeout"];

/// A checked configuration of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// Of a router.
    Router(RouterConfig),
    /// Of a server.
    Server(ServerConfig),
}

impl Config {
    /// Which kind it is.
    pub fn role(&self) -> Role {
        match self {
            Self::Router(_) => Role::Router,
            Self::Server(_) => Role::Server,
        }
    }

    /// The name of the router or server.
    pub fn name(&self) -> &Name {
        match self {
            Self::Router(router) => &router.name,
            Self::Server(server) => &server.name,
        }
    }
}

/// A configuration, and the lines of its file that name other files.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) config: Config,
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only `check` shows them"))]
    pub(crate) path_lines: BTreeMap<PathBuf, usize>,
}

/// Reads a router's or a server's configuration; which one it is, its keys tell.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    Ok(load_located(path)?.config)
}

/// Reads a router's configuration.
pub fn load_router(path: &Path) -> Result<RouterConfig, ConfigErrors> {
    match load_as(path, Some(Role::Router))?.config {
        Config::Router(router) => Ok(router),
        Config::Server(_) => unreachable!("the role was given"),
    }
}

/// Reads a server's configuration.
pub fn load_server(path: &Path) -> Result<ServerConfig, ConfigErrors> {
    match load_as(path, Some(Role::Server))?.config {
        Config::Server(server) => Ok(server),
        Config::Router(_) => unreachable!("the role was given"),
    }
}

/// As [`load()`], with the lines of what the file names.
pub(crate) fn load_located(path: &Path) -> Result<Located, ConfigErrors> {
    load_as(path, None)
}

fn load_as(path: &Path, role: Option<Role>) -> Result<Located, ConfigErrors> {
    let bytes = read_bounded(path, MAX_CONFIG_FILE).map_err(|error| {
        let what = format!("it cannot be read: {error}");
        ConfigErrors::whole(path, what, "name a configuration file that this user can read")
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(text, directory, role)
            .map_err(|problems| ConfigErrors { file: path.to_owned(), problems }),
        Err(error) => {
            let valid = &bytes[..error.valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            let what = "there are bytes that are not UTF-8".to_owned();
            let fix = "save the file as UTF-8".to_owned();
            let problems = vec![Problem { line: Some(line), what, fix }];
            Err(ConfigErrors { file: path.to_owned(), problems })
        }
    }
}

/// Reads a text whose relative paths are relative to `directory`.
pub(super) fn parse(
    text: &str,
    directory: &Path,
    role: Option<Role>,
) -> Result<Located, Vec<Problem>> {
    let document = Document::new(text, directory);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map(|span| document.line_of(span.start));
        let message = error.message().trim_end_matches(", expected nothing");
        let what = format!("this is not valid TOML: {message}");
        document.problem(line, what, "correct it; texts stand in quotes");
    }
    // What the parser made of a broken text would only give rise to further, misleading problems.
    let config = if errors.is_empty() { read(&document, table.get_ref(), role) } else { None };
    let (problems, path_lines) = document.finish();
    match config {
        Some(config) if problems.is_empty() => Ok(Located { config, path_lines }),
        _ => {
            assert!(!problems.is_empty(), "a configuration is withheld only with a reason given");
            Err(problems)
        }
    }
}

fn read(document: &Document<'_>, table: &DeTable<'_>, role: Option<Role>) -> Option<Config> {
    let Some(role) = role.or_else(|| role_of(table)) else {
        let what = "this could be a router's configuration or a server's".to_owned();
        let fix = "add [tls] for a router, or [[pool]] with a source for a server";
        document.problem(None, what, fix);
        return None;
    };
    let root = document.root(table);
    match role {
        Role::Router => router::read(&root).map(Config::Router),
        Role::Server => server::read(&root).map(Config::Server),
    }
}

/// Whose configuration this is; none if that cannot be told.
fn role_of(table: &DeTable<'_>) -> Option<Role> {
    let pool_has = |key: &str| {
        let pools = table.get("pool").and_then(|pool| pool.get_ref().as_array());
        let first = pools.and_then(|pools| pools.iter().next());
        first.and_then(|pool| pool.get_ref().as_table()).is_some_and(|pool| pool.contains_key(key))
    };
    // What one cannot be without decides; where that says nothing, other keys are counted.
    match (table.contains_key("tls"), pool_has("source")) {
        (true, false) => return Some(Role::Router),
        (false, true) => return Some(Role::Server),
        _ => {}
    }
    let count = |keys: &[&str]| keys.iter().filter(|key| table.contains_key(**key)).count();
    let router = count(ROUTER_KEYS)
        + ["policy", "hosts", "paths"].iter().filter(|key| pool_has(key)).count();
    let server = count(SERVER_KEYS) + usize::from(pool_has("source"));
    match router.cmp(&server) {
        Ordering::Greater => Some(Role::Router),
        Ordering::Less => Some(Role::Server),
        Ordering::Equal => None,
    }
}
