//! The files that the parts of a cluster are started from: configuration, and the bundled
//! development certificates, which are good for loopback and nothing else.

use super::{Layout, Part, Settings};
use crate::cli::report::Failure;
use crate::config::bundled::{self, BundledFile};
use crate::config::{Freshness, write_whole};
use crate::wire::token::TOKEN_KEY_SIZE;
use serde::Serialize;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// All servers run on this machine, so in one zone: an alternate is chosen by load alone.
const ZONE: &str = "local";
const POOL: &str = "default";
/// Held by the `up` that uses a directory that stays.
const LOCK: &str = "up.lock";
/// What all routers seal their clients' tokens with.
const TOKEN_KEYS: &str = "token-keys";

/// The directory that the files are in.
pub(super) struct Place {
    /// Absolute, and text, so that the configuration can name the files in it.
    path: String,
    _keeps: Keeps,
}

/// What ends with the cluster.
enum Keeps {
    Directory { _removed: TempDir },
    Lock { _released: File },
}

impl Place {
    /// Makes the directory that was asked for, to be left behind; or else a temporary one of our
    /// own, removed when this is dropped. Nobody else may read it.
    pub(super) fn new(state: Option<&Path>) -> Result<Self, Failure> {
        let (path, keeps) = match state {
            Some(path) => (path.to_owned(), lock(path)?),
            None => temporary()?,
        };
        let text = path.canonicalize().and_then(|path| {
            let not_text = |_| io::Error::new(io::ErrorKind::InvalidFilename, "it is not UTF-8");
            path.into_os_string().into_string().map_err(not_text)
        });
        let path = text.map_err(|error| failed(&path, &error))?;
        Ok(Self { path, _keeps: keeps })
    }

    /// The configuration file of a part.
    pub(super) fn config(&self, part: &str) -> PathBuf {
        self.file(&format!("{part}.toml")).into()
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

fn temporary() -> Result<(PathBuf, Keeps), Failure> {
    let private = Permissions::from_mode(0o700);
    let directory = tempfile::Builder::new().prefix("understudy-").permissions(private).tempdir();
    let directory = directory.map_err(|error| {
        let place = std::env::temp_dir();
        Failure::Failed(format!(
            "no temporary directory could be made in {}: {error}; use --state DIR",
            place.display()
        ))
    })?;
    Ok((directory.path().to_owned(), Keeps::Directory { _removed: directory }))
}

/// Two clusters in one directory would overwrite each other's files.
fn lock(path: &Path) -> Result<Keeps, Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| failed(path, &error))?;
    let name = path.join(LOCK);
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&name);
    let file = file.map_err(|error| failed(&name, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Keeps::Lock { _released: file }),
        Err(TryLockError::WouldBlock) => Err(Failure::Failed(format!(
            "--state {}: another 'understudy up' runs there: stop it, or name another directory",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(&name, &error)),
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

/// `router.toml`, `router-2.toml`...
#[derive(Serialize)]
struct RouterFile<'a> {
    name: &'a str,
    listen: SocketAddr,
    admin: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<u8>,
    token_keys: String,
    tls: Leaf,
    backplane: Backplane,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_log: Option<AccessLog<'a>>,
    pool: [RouterPool; 1],
}

/// Its format is left to the configuration.
#[derive(Serialize)]
struct AccessLog<'a> {
    path: &'a str,
}

/// `server-N.toml`.
#[derive(Serialize)]
struct ServerFile<'a> {
    name: &'a str,
    listen: SocketAddr,
    admin: SocketAddr,
    zone: &'static str,
    seeds: Vec<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u64>,
    backplane: Backplane,
    pool: [ServerPool<'a>; 1],
}

/// A certificate and its key.
#[derive(Serialize)]
struct Leaf {
    cert: String,
    key: String,
}

#[derive(Serialize)]
struct Backplane {
    ca: String,
    #[serde(flatten)]
    leaf: Leaf,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    seeds: Vec<SocketAddr>,
}

#[derive(Serialize)]
struct RouterPool {
    name: &'static str,
    policy: &'static str,
}

#[derive(Serialize)]
struct ServerPool<'a> {
    name: &'static str,
    source: Source<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Source<'a> {
    Directory {
        dir: &'a str,
        freshness: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
    },
    Http {
        http: String,
    },
    Sample {
        sample: bool,
    },
}

/// Writes all of them.
pub(super) fn write(place: &Place, settings: &Settings, layout: &Layout) -> Result<(), Failure> {
    let path = Path::new(&place.path);
    bundled::write_to(path).map_err(|error| failed(path, &error))?;
    let key: [u8; TOKEN_KEY_SIZE] = rand::random();
    let line: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let keys = place.file(TOKEN_KEYS);
    write_whole(Path::new(&keys), format!("{line}\n").as_bytes(), true)
        .map_err(|error| failed(Path::new(&keys), &error))?;
    for router in &layout.routers {
        let file = router_file(place, settings, layout, router);
        write_toml(&place.config(&router.name), &file)?;
    }
    for server in &layout.servers {
        let file = server_file(place, settings, layout, server);
        write_toml(&place.config(&server.name), &file)?;
    }
    Ok(())
}

fn router_file<'a>(
    place: &Place,
    settings: &'a Settings,
    layout: &Layout,
    router: &'a Part,
) -> RouterFile<'a> {
    RouterFile {
        name: &router.name,
        listen: router.address,
        admin: router.admin,
        workers: settings.workers,
        token_keys: place.file(TOKEN_KEYS),
        tls: Leaf {
            cert: place.file(bundled::PUBLIC_CERT.name),
            key: place.file(bundled::PUBLIC_KEY.name),
        },
        backplane: Backplane {
            seeds: layout.servers.iter().map(|server| server.address).collect(),
            ..backplane(place, bundled::ROUTER_CERT, bundled::ROUTER_KEY)
        },
        access_log: settings.access_log.as_deref().map(|path| AccessLog { path }),
        pool: [RouterPool { name: POOL, policy: "next" }],
    }
}

fn server_file<'a>(
    place: &Place,
    settings: &'a Settings,
    layout: &Layout,
    server: &'a Part,
) -> ServerFile<'a> {
    let others = layout.servers.iter().filter(|other| *other != server);
    let source = match (&settings.dir, &settings.origin) {
        (Some(dir), _) => directory(dir, settings.freshness),
        (None, Some(origin)) => Source::Http { http: origin.to_string() },
        (None, None) => Source::Sample { sample: true },
    };
    ServerFile {
        name: &server.name,
        listen: server.address,
        admin: server.admin,
        zone: ZONE,
        seeds: others.map(|other| other.address).collect(),
        workers: settings.workers,
        threshold: settings.threshold,
        capacity: settings.capacity,
        backplane: backplane(place, bundled::SERVER_CERT, bundled::SERVER_KEY),
        pool: [ServerPool { name: POOL, source }],
    }
}

/// How often what is watched is verified is left to the configuration.
fn directory(dir: &str, freshness: Freshness) -> Source<'_> {
    let (freshness, ttl) = match freshness {
        Freshness::Always => ("always", None),
        Freshness::Watch { .. } => ("watch", None),
        Freshness::Ttl { ttl } => ("ttl", Some(ttl)),
    };
    let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    Source::Directory { dir, freshness, ttl_ms }
}

fn backplane(place: &Place, cert: BundledFile, key: BundledFile) -> Backplane {
    Backplane {
        ca: place.file(bundled::BACKPLANE_CA.name),
        leaf: Leaf { cert: place.file(cert.name), key: place.file(key.name) },
        seeds: Vec::new(),
    }
}

fn write_toml(path: &Path, file: &impl Serialize) -> Result<(), Failure> {
    let text = toml::to_string(file).map_err(io::Error::other);
    text.and_then(|text| write_whole(path, text.as_bytes(), true))
        .map_err(|error| failed(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::up::Role;
    use crate::config;
    use std::time::Duration;

    fn part(name: &str, port: u16) -> Part {
        let address = ([127, 0, 0, 1], port).into();
        let role = if name.starts_with("router") { Role::Router } else { Role::Server };
        Part { role, name: name.to_owned(), address, admin: address }
    }

    fn layout() -> Layout {
        let servers = vec![part("server-1", 11), part("server-2", 12), part("server-3", 13)];
        Layout { routers: vec![part("router", 10), part("router-2", 20)], servers }
    }

    fn settings(dir: Option<&str>) -> Settings {
        Settings {
            servers: 3,
            dir: dir.map(str::to_owned),
            origin: None,
            freshness: Freshness::Always,
            workers: dir.map(|_| 3),
            threshold: dir.map(|_| 2),
            capacity: None,
            access_log: None,
        }
    }

    fn read(place: &Place, part: &str) -> String {
        std::fs::read_to_string(place.config(part)).unwrap()
    }

    #[test]
    fn a_router_knows_all_servers() {
        let place = Place::new(None).unwrap();
        write(&place, &settings(None), &layout()).unwrap();
        let expected = r#"name = "router"
listen = "127.0.0.1:10"
admin = "127.0.0.1:10"
token_keys = "DIR/token-keys"

[tls]
cert = "DIR/server.pem"
key = "DIR/server.key"

[backplane]
ca = "DIR/backplane-ca.pem"
cert = "DIR/backplane-router.pem"
key = "DIR/backplane-router.key"
seeds = ["127.0.0.1:11", "127.0.0.1:12", "127.0.0.1:13"]

[[pool]]
name = "default"
policy = "next"
"#;
        assert_eq!(read(&place, "router").replace(&place.path, "DIR"), expected);
    }

    #[test]
    fn a_server_knows_the_others_and_its_source_even_with_quotes_in_its_name() {
        let place = Place::new(None).unwrap();
        write(&place, &settings(Some("/srv/\"www\"\\é")), &layout()).unwrap();
        let expected = r#"name = "server-2"
listen = "127.0.0.1:12"
admin = "127.0.0.1:12"
zone = "local"
seeds = ["127.0.0.1:11", "127.0.0.1:13"]
workers = 3
threshold = 2

[backplane]
ca = "DIR/backplane-ca.pem"
cert = "DIR/backplane-server.pem"
key = "DIR/backplane-server.key"

[[pool]]
name = "default"

[pool.source]
dir = '/srv/"www"\é'
freshness = "always"
"#;
        assert_eq!(read(&place, "server-2").replace(&place.path, "DIR"), expected);
        write(&place, &settings(None), &layout()).unwrap();
        assert!(read(&place, "server-2").ends_with("[pool.source]\nsample = true\n"));
    }

    #[test]
    fn a_freshness_reaches_the_servers() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().canonicalize().unwrap();
        let (verify, ttl) = (Duration::from_millis(10_000), Duration::from_millis(250));
        for freshness in [Freshness::Always, Freshness::Watch { verify }, Freshness::Ttl { ttl }] {
            let place = Place::new(None).unwrap();
            let settings = Settings { freshness, ..settings(dir.to_str()) };
            write(&place, &settings, &layout()).unwrap();
            let server = config::load_server(&place.config("server-1")).unwrap();
            let expected = config::SourceConfig::Directory { dir: dir.clone(), freshness };
            assert_eq!(server.pool.source, expected);
        }
    }

    #[test]
    fn an_origin_reaches_the_servers() {
        let place = Place::new(None).unwrap();
        let origin: config::OriginUrl = "http://localhost:8080/shop".parse().unwrap();
        let settings = Settings { origin: Some(origin.clone()), ..settings(None) };
        write(&place, &settings, &layout()).unwrap();
        let server = config::load_server(&place.config("server-1")).unwrap();
        let config::SourceConfig::Http { url, .. } = server.pool.source else { panic!() };
        assert_eq!(url, origin);
    }

    #[test]
    fn an_access_log_reaches_the_router() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a \"log\"");
        let log = path.to_str().map(str::to_owned);
        let place = Place::new(None).unwrap();
        write(&place, &Settings { access_log: log, ..settings(None) }, &layout()).unwrap();
        let router = config::load_router(&place.config("router")).unwrap();
        let format = config::AccessLogFormat::Json;
        assert_eq!(router.access_log, Some(config::AccessLogConfig { path, format }));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().canonicalize().unwrap();
        for dir in [None, dir.to_str()] {
            let place = Place::new(None).unwrap();
            let layout = layout();
            write(&place, &settings(dir), &layout).unwrap();
            let routers = layout.routers.iter().map(|part| {
                let router = config::load_router(&place.config(&part.name)).unwrap();
                assert_eq!((router.listen, router.name.as_str()), (part.address, &*part.name));
                assert_eq!(router.seeds.len(), 3);
                router.token_keys.unwrap()
            });
            let keys: Vec<_> = routers.collect();
            assert_eq!(keys[0], keys[1], "they share them");
            for part in &layout.servers {
                let server = config::load_server(&place.config(&part.name)).unwrap();
                assert_eq!(server.name.as_str(), part.name);
                assert_eq!((server.listen, server.admin), (part.address, Some(part.admin)));
                assert_eq!(server.seeds.len(), 2);
                assert_eq!(server.threshold == 2, dir.is_some());
                assert_eq!(server.workers, if dir.is_some() { 3 } else { 0 });
            }
        }
    }

    #[test]
    fn a_temporary_place_is_private_and_removed() {
        let place = Place::new(None).unwrap();
        write(&place, &settings(None), &layout()).unwrap();
        let mode = |path: &str| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place.path), 0o700);
        assert_eq!(mode(&place.file("server.key")), 0o600);
        assert_eq!(mode(&place.file(TOKEN_KEYS)), 0o600);
        let path = place.path.clone();
        drop(place);
        assert!(!Path::new(&path).exists());
    }

    #[test]
    fn a_place_that_was_named_is_left_and_used_by_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let place = Place::new(Some(&path)).unwrap();
        write(&place, &settings(None), &layout()).unwrap();
        let second = Place::new(Some(&path)).err().unwrap().to_string();
        assert!(second.contains("another 'understudy up' runs there"), "{second}");
        drop(place);
        assert!(path.join("router.toml").exists());
        assert!(Place::new(Some(&path)).is_ok());
        let under_a_file = Place::new(Some(&path.join("router.toml/x"))).err().unwrap();
        assert!(under_a_file.to_string().contains("router.toml/x: "), "{under_a_file}");
    }
}
