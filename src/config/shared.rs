//! What routers and servers are told alike.

use super::bundled;
use super::files::{MAX_PEM_FILE, read_bounded};
use super::section::{Located, Section};
use super::values::PeerAddress;
use crate::wire::session::{OLDEST_VERSION, VERSION, Versions};
use crate::wire::{DecodeError, Name};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Workers of one process, at the most: byte 0 of a connection id names the worker.
pub const MAX_WORKERS: usize = 256;
/// Items with more bytes are streamed and not mirrored, unless the configuration says otherwise.
pub(super) const DEFAULT_MAX_ITEM: u64 = 64 << 20;
/// The most that can be asked for: a mirrored item is held whole, in one allocation.
const MAX_MAX_ITEM: u64 = 1 << 30;

const _: () = assert!(DEFAULT_MAX_ITEM <= MAX_MAX_ITEM);

/// The command that makes a whole set of certificates.
const MAKE_CERTIFICATES: &str = "understudy certs new --out certs";

/// A certificate with its key, both as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and the intermediate ones that lead to its CA.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a member of the backplane needs: all PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackplaneFiles {
    /// The CA that vouches for all members.
    pub ca: PathBuf,
    /// The member's own certificate, for its role and name.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How many workers to start where a configuration says `configured`; 0 stands for one per core.
pub fn worker_count(configured: usize) -> usize {
    let wanted = match configured {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    wanted.min(MAX_WORKERS)
}

/// Where a key that is not known here belongs: in `place`, if it is one of `keys`.
pub(super) fn foreign(key: &str, keys: &[&str], place: &'static str) -> Option<&'static str> {
    keys.contains(&key).then_some(place)
}

/// A name, or `default` where there is none.
pub(super) fn name(
    section: &Section<'_>,
    key: &'static str,
    default: impl FnOnce() -> Option<Name>,
) -> Option<Name> {
    let found = section.parsed(key, "use a-z, 0-9 and '-', such as \"north-1\"", |text| {
        Name::new(text).map_err(|error| match error {
            DecodeError::Invalid { why, .. } => why.to_owned(),
            other => other.to_string(),
        })
    });
    if section.has(key) { found.map(|found| found.value) } else { default() }
}

/// An IP address with a port.
pub(super) fn address(
    section: &Section<'_>,
    key: &'static str,
    example: &str,
) -> Option<Located<SocketAddr>> {
    section.parsed(key, &format!("write it like {example:?}"), |text| {
        text.parse().map_err(|_| "this is not an IP address and a port".to_owned())
    })
}

pub(super) fn admin(root: &Section<'_>) -> Option<SocketAddr> {
    let admin = address(root, "admin", "127.0.0.1:4480");
    let allowed = root.boolean("admin_allow_remote").is_some_and(|allowed| allowed.value);
    let Located { value, line } = admin?;
    if !is_loopback(&value) && !allowed {
        let what = format!("admin is {value}, which other machines can reach without a password");
        let fix = "use 127.0.0.1, or add admin_allow_remote = true";
        root.document.problem(line, what, fix);
    }
    Some(value)
}

pub(super) fn workers(root: &Section<'_>) -> usize {
    let workers = root.number("workers", 0..=MAX_WORKERS as u64, 0);
    usize::try_from(workers.value).unwrap_or(MAX_WORKERS)
}

pub(super) fn max_item(section: &Section<'_>, default: u64) -> Located<u64> {
    section.bytes("max_item", 1..=MAX_MAX_ITEM, default)
}

/// A file that exists.
pub(super) fn file(section: &Section<'_>, key: &'static str) -> Option<Located<PathBuf>> {
    existing(section, key, "a file", std::fs::Metadata::is_file)
}

/// A directory that exists.
pub(super) fn directory(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    Some(existing(section, key, "a directory", std::fs::Metadata::is_dir)?.value)
}

fn existing(
    section: &Section<'_>,
    key: &'static str,
    wanted: &str,
    is_wanted: impl FnOnce(&std::fs::Metadata) -> bool,
) -> Option<Located<PathBuf>> {
    let text = section.text(key)?;
    let value = section.document.resolve(&text);
    let name = section.name_of(key);
    let problem = |what: String, fix: &str| section.document.problem(text.line, what, fix);
    match std::fs::metadata(&value) {
        Ok(metadata) if is_wanted(&metadata) => return Some(Located { value, line: text.line }),
        Ok(_) => problem(format!("{name} is {}, not {wanted}", value.display()), "name another"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = format!("{name} is {}, which does not exist", value.display());
            problem(what, "correct the path, which is relative to this file, or put it there");
        }
        Err(error) => {
            let what = format!("{name} is {}, which cannot be opened: {error}", value.display());
            problem(what, "make it accessible to this user");
        }
    }
    None
}

pub(super) fn tls_files(root: &Section<'_>) -> Option<TlsFiles> {
    root.missing("tls", &format!("[tls] with cert and key, as '{MAKE_CERTIFICATES}' makes them"));
    let section = root.section("tls")?;
    let cert = file(&section, "cert");
    let key = file(&section, "key");
    section.missing("cert", "cert = \"server.pem\"");
    section.missing("key", "key = \"server.key\"");
    section.finish(|_| None);
    Some(TlsFiles { cert: cert?.value, key: key?.value })
}

pub(super) fn backplane_section<'a>(root: &Section<'a>) -> Option<Section<'a>> {
    let example = format!("[backplane] with ca, cert and key, as '{MAKE_CERTIFICATES}' makes them");
    root.missing("backplane", &example);
    root.section("backplane")
}

pub(super) fn backplane_files(section: &Section<'_>) -> Option<BackplaneFiles> {
    let ca = file(section, "ca");
    let cert = file(section, "cert");
    let key = file(section, "key");
    section.missing("ca", "ca = \"backplane-ca.pem\"");
    section.missing("cert", "cert, the path of this member's backplane certificate");
    section.missing("key", "key, the path of the key of that certificate");
    Some(BackplaneFiles { ca: ca?.value, cert: cert?.value, key: key?.value })
}

/// The protocol versions to speak: all, or no newer ones than `newest_version` of `[backplane]`.
pub(super) fn versions(backplane: Option<&Section<'_>>) -> Versions {
    backplane.map_or(Versions::ALL, |section| {
        let range = OLDEST_VERSION..=VERSION;
        Versions::up_to(section.number("newest_version", range, VERSION).value)
    })
}

/// Where other members listen: `seeds` of the file, or of its `[backplane]`. None where there is no
/// such list, or it is empty.
pub(super) fn seeds(
    root: &Section<'_>,
    backplane: Option<&Section<'_>>,
) -> Option<Vec<Located<PeerAddress>>> {
    let document = root.document;
    let mut texts = root.texts("seeds");
    if let Some(section) = backplane {
        let inner = section.texts("seeds");
        if root.has("seeds") && section.has("seeds") {
            let what = "seeds is given twice, here and above".to_owned();
            document.problem(section.line_of("seeds"), what, "leave one of the lists");
        }
        texts.extend(inner);
    }
    let mut seeds: Vec<Located<PeerAddress>> = Vec::new();
    let mut wrong = false;
    for Located { value: text, line } in texts {
        match text.parse::<PeerAddress>() {
            Ok(value) if seeds.iter().any(|seed| seed.value == value) => {
                document.problem(line, format!("seeds has {text} twice"), "leave one of them");
            }
            Ok(value) => seeds.push(Located { value, line }),
            Err(why) => {
                wrong = true;
                let fix = "write it like \"10.0.0.11:4443\", \"server-1.internal:4443\" or, for \
                           all addresses of a name, \"dns:servers.internal:4443\"";
                document.problem(line, format!("seeds has {text:?}: {why}"), fix);
            }
        }
    }
    (wrong || !seeds.is_empty()).then_some(seeds)
}

/// The address that other members are told to dial, where it is not the one that is listened on.
pub(super) fn advertise(section: &Section<'_>) -> Option<SocketAddr> {
    let Located { value, line } = address(section, "advertise", "10.0.0.11:4443")?;
    if value.ip().is_unspecified() || value.port() == 0 {
        let what = format!("{} is {value}, which nobody can dial", section.name_of("advertise"));
        section.document.problem(line, what, "write the address that other members reach it by");
    }
    Some(value)
}

/// Whether only this machine can reach it.
fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The first of some PEM files that holds a bundled certificate or key.
fn first_bundled<'a>(files: &[&'a Path]) -> Option<&'a Path> {
    let is_bundled = |file: &&Path| {
        // One that cannot be read is reported where it is used.
        read_bounded(file, MAX_PEM_FILE).is_ok_and(|pem| bundled::holds_bundled(&pem))
    };
    files.iter().copied().find(is_bundled)
}

/// Clients on other machines must not be shown a certificate whose key everybody has.
pub(super) fn refuse_bundled_public(
    root: &Section<'_>,
    listen: &Located<SocketAddr>,
    tls: &TlsFiles,
) {
    if is_loopback(&listen.value) {
        return;
    }
    let Some(file) = first_bundled(&[&tls.cert, &tls.key]) else {
        return;
    };
    let host = match listen.value.ip() {
        any if any.is_unspecified() => "\"$(hostname)\"".to_owned(),
        one => one.to_string(),
    };
    let what = format!("listen is {}, beyond this machine, {}", listen.value, known_to_all(file));
    let fix =
        format!("make your own by '{MAKE_CERTIFICATES} --name {host}' and name them in [tls]");
    root.document.problem(listen.line, what, fix);
}

/// Nor must a backplane on which anybody can be a router or a server leave this machine.
pub(super) fn refuse_bundled_backplane(
    root: &Section<'_>,
    listen: Option<&Located<SocketAddr>>,
    seeds: &[Located<PeerAddress>],
    files: &BackplaneFiles,
) {
    let listens = listen.filter(|listen| !is_loopback(&listen.value));
    let dials = seeds.iter().find(|seed| !seed.value.is_loopback());
    let (what, line) = match (listens, dials) {
        (Some(listen), _) => (format!("the backplane listens on {}", listen.value), listen.line),
        (None, Some(seed)) => (format!("the backplane dials {}", seed.value), seed.line),
        (None, None) => return,
    };
    if let Some(file) = first_bundled(&[&files.ca, &files.cert, &files.key]) {
        let what = format!("{what}, beyond this machine, {}", known_to_all(file));
        let fix = format!(
            "make your own by '{MAKE_CERTIFICATES}', once for all routers and servers, and name \
             them in [backplane]"
        );
        root.document.problem(line, what, fix);
    }
}

fn known_to_all(file: &Path) -> String {
    format!("but {} is a bundled development file, whose key everybody has", file.display())
}
