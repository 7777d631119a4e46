//! Sets of certificates, from the command line to the handshake's configuration.

use super::*;
use crate::config::{BackplaneFiles, bundled};
use crate::net::tls::{Backplane, Roots, public_client, public_server};
use crate::wire::backplane::Role;
use clap::Parser;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
}

/// Makes a set as the command line would.
fn made(out: &Path, more: &[&str]) -> Result<MadeSet, String> {
    let line = ["certs", "new", "--out", out.to_str().unwrap()];
    let program = Program::try_parse_from(line.iter().chain(more)).map_err(|e| e.to_string())?;
    let Command::New(arguments) = program.arguments.command;
    new(&arguments, UnixTime::now())
}

fn load(out: &Path, stem: &str, role: Role, name: &str) -> Result<(), String> {
    let files = BackplaneFiles {
        ca: out.join("backplane-ca.pem"),
        cert: out.join(format!("{stem}.pem")),
        key: out.join(format!("{stem}.key")),
    };
    let name = Name::new(name).unwrap();
    Backplane::load(&files, role, &name).map(drop).map_err(|error| error.to_string())
}

fn names(out: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(out).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_set_has_the_files_that_are_bundled_and_they_work() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("a/b");
    let set = made(&out, &[]).unwrap();
    let mut expected: Vec<&str> = bundled::FILES.iter().map(|file| file.name).collect();
    expected.push("README.md");
    expected.sort_unstable();
    assert_eq!(names(&out), expected);
    public_server(&out.join("server.pem"), &out.join("server.key"), &[]).unwrap();
    public_client(Roots::File(&out.join("ca.pem")), &[]).unwrap();
    load(&out, "backplane-router", Role::Router, "any").unwrap();
    load(&out, "backplane-server", Role::Server, "any").unwrap();
    assert!(load(&out, "backplane-server", Role::Router, "any").is_err());
    assert!(load(&out, "server", Role::Server, "any").is_err(), "the worlds stay apart");
    let readme = std::fs::read_to_string(out.join("README.md")).unwrap();
    for file in bundled::FILES {
        assert!(readme.contains(&format!("| `{}` |", file.name)), "{}", file.name);
        let made = std::fs::read(out.join(file.name)).unwrap();
        assert!(!bundled::holds_bundled(&made), "{} is not new", file.name);
    }
    assert!(readme.contains(&set.valid_until), "{readme}");
    let command = "understudy certs new --out certs --days 365 --name localhost --name 127.0.0.1";
    assert!(readme.contains(command), "{readme}");
    assert!(as_text(&out, &set).contains("backplane-server.key"));
    let json = as_json(&out, &set);
    assert_eq!(json["files"].as_array().unwrap().len(), 9);
    assert_eq!(json["files"][2]["path"], out.join("server.key").display().to_string());
    assert_eq!(json["files"][2]["is_key"], true);
}

#[test]
fn named_members_get_certificates_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    made(out, &["--router", "north", "--server", "a", "--server", "b", "--server", "a"]).unwrap();
    let backplane: Vec<String> = names(out).into_iter().filter(|name| name.contains('-')).collect();
    let own = ["router-north.key", "router-north.pem", "server-a.key", "server-a.pem"];
    assert_eq!(backplane[0], "backplane-ca.pem");
    assert_eq!(backplane[1..5], own);
    assert_eq!(backplane[5..], ["server-b.key", "server-b.pem"]);
    load(out, "router-north", Role::Router, "north").unwrap();
    load(out, "server-b", Role::Server, "b").unwrap();
    let error = load(out, "server-b", Role::Server, "a").unwrap_err();
    assert!(error.contains("not for server a, but for b.server.understudy.internal"), "{error}");
    assert!(load(out, "router-north", Role::Server, "north").is_err());
}

#[test]
fn the_public_certificate_is_for_the_names_that_were_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let long = format!("{}.example.com", "x".repeat(63));
    let hosts = ["--name", &long, "--name", "*.example.org", "--name", "192.0.2.1"];
    made(directory.path(), &hosts).unwrap();
    let pem = std::fs::read(directory.path().join("server.pem")).unwrap();
    let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
    let leaf = webpki::EndEntityCert::try_from(&certificate).unwrap();
    let is_for = |host: &str| {
        let name = ServerName::try_from(host).unwrap();
        leaf.verify_is_valid_for_subject_name(&name).is_ok()
    };
    assert!(is_for(&long) && is_for("a.example.org") && is_for("192.0.2.1"));
    assert!(!is_for("localhost") && !is_for("example.org") && !is_for("127.0.0.1"));
}

#[test]
fn nothing_is_overwritten_unless_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    std::fs::write(out.join("server.key"), "precious").unwrap();
    let error = made(out, &[]).err().unwrap();
    assert!(error.contains("already has server.key: name another directory"), "{error}");
    assert_eq!(names(out), ["server.key"], "nothing was written");
    made(out, &["--force"]).unwrap();
    public_server(&out.join("server.pem"), &out.join("server.key"), &[]).unwrap();
    let error = made(&out.join("server.key"), &[]).err().unwrap();
    assert!(error.contains("cannot be made"), "{error}");
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let set = made(directory.path(), &[]).unwrap();
    for file in &set.files {
        let metadata = std::fs::metadata(directory.path().join(&file.name)).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(file.is_key, file.name.ends_with(".key"));
        assert_eq!(file.contents.contains("PRIVATE KEY"), file.is_key, "{}", file.name);
        assert!(!file.is_key || mode == 0o600, "{} has mode {mode:o}", file.name);
    }
}

#[test]
fn bad_values_are_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    for bad in [
        ["--name", "a b"],
        ["--name", ""],
        ["--name", "*"],
        ["--name", "localhost:4433"],
        ["--router", "North"],
        ["--server", "a.b"],
        ["--days", "0"],
        ["--days", "36501"],
        ["--days", "x"],
    ] {
        assert!(made(&out, &bad).is_err(), "{bad:?}");
        assert!(!out.exists());
    }
    assert!(made(&out, &["--days", "36500"]).unwrap().valid_until.starts_with("21"));
}
