//! Handshakes in memory, between members of good and of bad standing.

use super::*;
use crate::config::BackplaneFiles;
use crate::wire::Name;
use crate::wire::backplane::Role;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, ServerName};
use std::path::PathBuf;
use tempfile::TempDir;

const ALPNS: &[&[u8]] = &[b"understudy/1"];

/// A directory, and a CA that puts certificates in it.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// What differs from a good certificate.
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    None,
    Expired,
    Premature,
    SelfSigned,
    ServerUseOnly,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a certificate for `names` in `STEM.pem` and `STEM.key`.
    fn issue(&self, stem: &str, names: &[&str], flaw: Flaw) -> BackplaneFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if flaw != Flaw::ServerUseOnly {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        match flaw {
            Flaw::Expired => params.not_after = rcgen::date_time_ymd(2001, 1, 1),
            Flaw::Premature => params.not_before = rcgen::date_time_ymd(3001, 1, 1),
            _ => {}
        }
        let key = KeyPair::generate().unwrap();
        let certificate = match flaw {
            Flaw::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        let files = BackplaneFiles {
            ca: self.path("ca.pem"),
            cert: self.path(&format!("{stem}.pem")),
            key: self.path(&format!("{stem}.key")),
        };
        std::fs::write(&files.cert, certificate.unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// What this member would use if it did not check its own files first.
    fn unchecked(&self, stem: &str, names: &[&str], flaw: Flaw) -> Backplane {
        let files = self.issue(stem, names, flaw);
        Backplane {
            roots: Arc::new(pem::roots(&files.ca).unwrap()),
            certified: Arc::new(pem::certified_key(&files.cert, &files.key).unwrap()),
        }
    }

    fn member(&self, full_name: &str) -> Backplane {
        self.unchecked("member", &[full_name], Flaw::None)
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Shakes hands in memory; yields the certificates that the client saw, and those that the server
/// saw, or what either of them objected to.
fn handshake(
    client: ClientConfig,
    dialled: &'static str,
    server: ServerConfig,
) -> Result<[Vec<CertificateDer<'static>>; 2], rustls::Error> {
    let dialled = ServerName::try_from(dialled).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), dialled)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        server.read_tls(&mut flight.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        client.read_tls(&mut flight.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let suite = client.negotiated_cipher_suite().map(|suite| suite.suite());
    assert_eq!(suite, Some(CipherSuite::TLS13_AES_128_GCM_SHA256), "the cheapest handshake");
    let seen = |certificates: Option<&[CertificateDer<'static>]>| {
        certificates.unwrap_or_default().to_vec()
    };
    Ok([seen(client.peer_certificates()), seen(server.peer_certificates())])
}

fn dial(
    client: &Backplane,
    server: &Backplane,
) -> Result<[Vec<CertificateDer<'static>>; 2], String> {
    let dialled = dial_name(Role::Server);
    handshake(client.client_config(), dialled, server.server_config())
        .map_err(|error| error.to_string())
}

const ROUTER: &str = "router-1.router.understudy.internal";
const SERVER: &str = "server-1.server.understudy.internal";

#[test]
fn members_know_each_other_by_role_and_then_by_name() {
    let authority = Authority::new();
    let [of_server, of_router] =
        dial(&authority.member(ROUTER), &authority.member(SERVER)).unwrap();
    assert!(peer_may_be(&of_server, Role::Server, &name("server-1")));
    assert!(!peer_may_be(&of_server, Role::Server, &name("server-2")));
    assert!(!peer_may_be(&of_server, Role::Router, &name("server-1")));
    assert!(peer_may_be(&of_router, Role::Router, &name("router-1")));
    assert!(!peer_may_be(&of_router, Role::Server, &name("router-1")));
    assert!(!peer_may_be(&[], Role::Server, &name("server-1")));
    assert!(!peer_may_be(&[vec![1, 2, 3].into()], Role::Server, &name("server-1")));
}

#[test]
fn a_wildcard_lets_its_holder_be_anyone_of_its_role() {
    let authority = Authority::new();
    let server = authority.member("*.server.understudy.internal");
    let [of_server, _] = dial(&server, &server).unwrap();
    assert!(peer_may_be(&of_server, Role::Server, &name("any")));
    assert!(!peer_may_be(&of_server, Role::Router, &name("any")));
}

#[test]
fn a_member_dialled_by_name_must_have_it() {
    let authority = Authority::new();
    let server = authority.member(SERVER);
    let router = authority.member(ROUTER);
    let dial = |dialled| handshake(router.client_config(), dialled, server.server_config());
    assert!(dial(SERVER).is_ok());
    for wrong in [
        "server-2.server.understudy.internal",
        "server-1.router.understudy.internal",
        "xserver.understudy.internal",
        "localhost",
        "127.0.0.1",
    ] {
        assert!(dial(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_member_of_the_wrong_role_is_not_dialled() {
    let authority = Authority::new();
    let router = authority.member(ROUTER);
    assert!(dial(&router, &router).is_err());
    let dialled = dial_name(Role::Router);
    assert!(handshake(router.client_config(), dialled, router.server_config()).is_ok());
}

#[test]
fn gossip_is_for_members_of_either_role_and_nobody_else() {
    let authority = Authority::new();
    let router = authority.member(ROUTER);
    let dial = |dialled: &Backplane| {
        handshake(router.client_config(), ANY_MEMBER, dialled.server_config()).is_ok()
    };
    assert!(dial(&router));
    assert!(dial(&authority.member(SERVER)));
    assert!(!dial(&authority.member("client-1.client.understudy.internal")));
    assert!(!dial(&authority.member(ANY_MEMBER)));
    let expired = authority.unchecked("expired", &[SERVER], Flaw::Expired);
    assert!(!dial(&Backplane {
        roots: Arc::clone(&router.roots),
        certified: Arc::clone(&expired.certified)
    }));
}

#[test]
fn who_has_no_role_stays_out_on_both_sides() {
    let authority = Authority::new();
    let server = authority.member(SERVER);
    for outsider in [
        "localhost",
        "server.understudy.internal",
        "*.understudy.internal",
        "a.b.server.understudy.internal",
        "server-1.server.understudy.internal.example.com",
    ] {
        let outsider = authority.member(outsider);
        assert!(dial(&outsider, &server).is_err());
        assert!(dial(&server, &outsider).is_err());
    }
}

#[test]
fn who_shows_no_certificate_stays_out() {
    let authority = Authority::new();
    let server = authority.member(SERVER);
    let ca = authority.path("ca.pem");
    let anonymous = public_client(Roots::File(&ca), &[crate::wire::backplane::ALPN]).unwrap();
    let refused = handshake(anonymous, SERVER, server.server_config());
    assert_eq!(refused.unwrap_err(), rustls::Error::NoCertificatesPresented);
}

#[test]
fn strangers_and_expired_members_are_refused_on_both_sides() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.member(SERVER);
    let bad = [
        stranger.member(SERVER),
        authority.unchecked("self", &[SERVER], Flaw::SelfSigned),
        authority.unchecked("expired", &[SERVER], Flaw::Expired),
        authority.unchecked("premature", &[SERVER], Flaw::Premature),
    ];
    for (place, bad) in bad.iter().enumerate() {
        // The bad one trusts the good one's CA, so that only the good one can object.
        let bad =
            Backplane { roots: Arc::clone(&good.roots), certified: Arc::clone(&bad.certified) };
        assert!(dial(&good, &bad).is_err(), "dialled {place}");
        assert!(dial(&bad, &good).is_err(), "dialled by {place}");
    }
    assert!(dial(&good, &good).is_ok());
}

#[test]
fn a_member_checks_its_own_files_first() {
    let authority = Authority::new();
    let load = |files: &BackplaneFiles| {
        Backplane::load(files, Role::Server, &name("server-1")).map(drop).map_err(|e| e.to_string())
    };
    let refused = |files: &BackplaneFiles, blamed: &Path, why: &str| {
        let error = load(files).unwrap_err();
        assert!(error.starts_with(&format!("{}: ", blamed.display())), "{error}");
        assert!(error.contains(why), "{error}");
    };
    let good = authority.issue("good", &[SERVER], Flaw::None);
    assert_eq!(load(&good), Ok(()));
    let expired = authority.issue("expired", &[SERVER], Flaw::Expired);
    refused(&expired, &expired.cert, "expired");
    let premature = authority.issue("premature", &[SERVER], Flaw::Premature);
    refused(&premature, &premature.cert, "valid in");
    let own = authority.issue("self", &[SERVER], Flaw::SelfSigned);
    refused(&own, &own.cert, "not made by the CA");
    let half = authority.issue("half", &[SERVER], Flaw::ServerUseOnly);
    refused(&half, &half.cert, "cannot be used");
    let router = authority.issue("router", &[ROUTER], Flaw::None);
    refused(&router, &router.cert, &format!("not for server server-1, but for {ROUTER}"));
    let stranger = BackplaneFiles { ca: Authority::new().path("ca.pem"), ..good.clone() };
    refused(&stranger, &stranger.ca, "cannot be read");
    let mixed = BackplaneFiles { key: router.key.clone(), ..good.clone() };
    refused(&mixed, &mixed.key, "does not belong to the certificate in");
    let swapped = BackplaneFiles { cert: good.key.clone(), key: good.cert.clone(), ..good.clone() };
    refused(&swapped, &swapped.cert, "no certificate in PEM form");
    let no_key = BackplaneFiles { key: good.cert.clone(), ..good.clone() };
    refused(&no_key, &no_key.key, "no private key in PEM form");
}

#[test]
fn damaged_files_are_named() {
    let authority = Authority::new();
    let good = authority.issue("good", &["localhost"], Flaw::None);
    let text = std::fs::read_to_string(&good.cert).unwrap();
    let damaged = authority.path("damaged.pem");
    for contents in [
        String::new(),
        "hello".to_owned(),
        text.replace('M', "*"),
        text.replace("-----END CERTIFICATE-----", ""),
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned(),
    ] {
        std::fs::write(&damaged, &contents).unwrap();
        let error = public_server(&damaged, &good.key, ALPNS).unwrap_err();
        assert_eq!(error.file, damaged, "{contents}");
        let error = public_client(Roots::File(&damaged), ALPNS).unwrap_err();
        assert_eq!(error.file, damaged, "{contents}");
    }
}

#[test]
fn clients_verify_routers() {
    let authority = Authority::new();
    let server = |flaw| {
        let files = authority.issue("public", &["localhost", "127.0.0.1"], flaw);
        public_server(&files.cert, &files.key, ALPNS)
    };
    let client = |authority: &Authority| {
        public_client(Roots::File(&authority.path("ca.pem")), ALPNS).unwrap()
    };
    let good = server(Flaw::None).unwrap();
    for dialled in ["localhost", "127.0.0.1"] {
        assert!(handshake(client(&authority), dialled, good.clone()).is_ok(), "{dialled}");
    }
    for dialled in ["example.com", "127.0.0.2"] {
        assert!(handshake(client(&authority), dialled, good.clone()).is_err(), "{dialled}");
    }
    assert!(handshake(client(&Authority::new()), "localhost", good).is_err());
    let own = server(Flaw::SelfSigned).unwrap();
    assert!(handshake(client(&authority), "localhost", own).is_err());
    assert!(server(Flaw::Expired).unwrap_err().what.contains("expired"));
    assert!(server(Flaw::Premature).unwrap_err().what.contains("valid in"));
}

#[test]
fn the_bundled_certificates_work_and_their_worlds_stay_apart() {
    let directory = tempfile::tempdir().unwrap();
    bundled::write_to(directory.path()).unwrap();
    let path = |file: bundled::BundledFile| directory.path().join(file.name);
    let public = |cert, key| public_server(&path(cert), &path(key), ALPNS).unwrap();
    let client = || public_client(Roots::Bundled, ALPNS).unwrap();
    let router = public(bundled::PUBLIC_CERT, bundled::PUBLIC_KEY);
    for dialled in ["localhost", "127.0.0.1", "::1"] {
        assert!(handshake(client(), dialled, router.clone()).is_ok(), "{dialled}");
    }
    let backplane = public(bundled::SERVER_CERT, bundled::SERVER_KEY);
    assert!(handshake(client(), dial_name(Role::Server), backplane).is_err());
    let member = |role, cert, key| {
        let files =
            BackplaneFiles { ca: path(bundled::BACKPLANE_CA), cert: path(cert), key: path(key) };
        Backplane::load(&files, role, &name("any"))
    };
    let router = member(Role::Router, bundled::ROUTER_CERT, bundled::ROUTER_KEY).unwrap();
    let server = member(Role::Server, bundled::SERVER_CERT, bundled::SERVER_KEY).unwrap();
    assert!(dial(&router, &server).is_ok());
    assert!(dial(&server, &router).is_err(), "a router is not a server");
    assert!(member(Role::Server, bundled::PUBLIC_CERT, bundled::PUBLIC_KEY).is_err());
}

#[test]
fn no_data_goes_ahead_of_the_handshake() {
    let authority = Authority::new();
    let member = authority.member(SERVER);
    let files = authority.issue("public", &["localhost"], Flaw::None);
    let public = public_server(&files.cert, &files.key, ALPNS).unwrap();
    let client = public_client(Roots::File(&files.ca), ALPNS).unwrap();
    assert_eq!((public.max_early_data_size, member.server_config().max_early_data_size), (0, 0));
    assert!(!client.enable_early_data && !member.client_config().enable_early_data);
    assert_eq!(public.alpn_protocols, ALPNS);
    // That quinn takes them is checked by making them its own.
    let _ = (quic_server(public), quic_client(client));
    let _ = (quic_server(member.server_config()), quic_client(member.client_config()));
}

#[test]
fn a_wrong_protocol_is_refused() {
    let authority = Authority::new();
    let files = authority.issue("public", &["localhost"], Flaw::None);
    let server = public_server(&files.cert, &files.key, ALPNS).unwrap();
    let client = public_client(Roots::File(&files.ca), &[b"other/1"]).unwrap();
    let refused = handshake(client, "localhost", server).unwrap_err();
    assert_eq!(refused, rustls::Error::NoApplicationProtocol);
}
