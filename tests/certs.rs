//! The development certificates in `certs/`: what they are for, that they work, and for how long.
#![cfg(feature = "cli")]

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::path::{Path, PathBuf};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(name)
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Checks that a leaf was made by a CA, for a usage, and stays valid for a year more.
fn chains(leaf: &str, ca: &str, usage: KeyUsage) -> Result<(), webpki::Error> {
    let (leaf, ca) = (certificate(leaf), certificate(ca));
    let anchor = webpki::anchor_from_trusted_cert(&ca)?;
    let algorithms =
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let in_a_year =
        UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + YEAR);
    for time in [UnixTime::now(), in_a_year] {
        let leaf = EndEntityCert::try_from(&leaf)?;
        leaf.verify_for_usage(
            algorithms,
            std::slice::from_ref(&anchor),
            &[],
            time,
            usage,
            None,
            None,
        )?;
    }
    Ok(())
}

fn is_for(leaf: &str, name: &str) -> bool {
    let leaf = certificate(leaf);
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap()).is_ok()
}

#[test]
fn the_public_certificate_is_for_this_machine() {
    chains("server.pem", "ca.pem", KeyUsage::server_auth()).unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(is_for("server.pem", name), "{name}");
    }
    assert!(!is_for("server.pem", "example.com"));
}

#[test]
fn the_backplane_certificates_are_for_their_roles() {
    for (role, other) in [("router", "server"), ("server", "router")] {
        let leaf = format!("backplane-{role}.pem");
        chains(&leaf, "backplane-ca.pem", KeyUsage::server_auth()).unwrap();
        chains(&leaf, "backplane-ca.pem", KeyUsage::client_auth()).unwrap();
        assert!(is_for(&leaf, &format!("any.{role}.understudy.internal")));
        assert!(!is_for(&leaf, &format!("any.{other}.understudy.internal")));
    }
}

#[test]
fn what_clients_see_opens_no_door_to_the_backplane() {
    let refused = |leaf, ca| chains(leaf, ca, KeyUsage::server_auth()).unwrap_err();
    assert_eq!(refused("server.pem", "backplane-ca.pem"), webpki::Error::UnknownIssuer);
    assert_eq!(refused("backplane-server.pem", "ca.pem"), webpki::Error::UnknownIssuer);
}

#[test]
fn every_leaf_has_its_key_and_no_ca_has() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = |leaf: &str, key: &Path| {
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        rustls::sign::CertifiedKey::from_der(vec![certificate(leaf)], key, &provider)
    };
    let leaves = ["server", "backplane-router", "backplane-server"];
    for leaf in leaves {
        certified(&format!("{leaf}.pem"), &path(&format!("{leaf}.key"))).unwrap();
    }
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(path("")).unwrap() {
        let file = entry.unwrap().path();
        if std::fs::read_to_string(&file).unwrap().contains("PRIVATE KEY") {
            keys.push(file.clone());
            for ca in ["ca.pem", "backplane-ca.pem"] {
                let matches = certified(ca, &file).is_ok();
                assert!(!matches, "{} is the key of {ca}", file.display());
            }
        }
    }
    assert_eq!(keys.len(), leaves.len(), "{keys:?}");
}

#[test]
fn the_readme_names_every_file() {
    let readme = std::fs::read_to_string(path("README.md")).unwrap();
    for entry in std::fs::read_dir(path("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || readme.contains(&format!("| `{name}` |")), "{name}");
    }
}
