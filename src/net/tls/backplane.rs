//! The backplane: mutual TLS, with roles and names in the certificates.
//!
//! One CA vouches for all members, and for nobody else. A member's certificate has DNS names of the
//! form `NAME.ROLE.understudy.internal`; a wildcard in place of the name lets its holder take any
//! name of that role. A handshake checks the chain and the role, of both sides. Which name the peer
//! goes by is known only from its first frame: whoever reads that asks [`peer_may_be`], and hangs
//! up on a no.

use super::error::TlsError;
use super::{own, pem, provider};
use crate::config::BackplaneFiles;
use crate::wire::Name;
use crate::wire::backplane::{ALPN, Role};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use webpki::EndEntityCert;

/// All names of members end like this. `.internal` is reserved for such use (ICANN, July 2024), so
/// no public CA vouches for it.
const DOMAIN: &str = "understudy.internal";

/// The server name to dial a member by whose role does not matter, or is not known.
pub(crate) const ANY_MEMBER: &str = "member.understudy.internal";

/// The server name to dial a member of this role by, whatever its own name is.
pub(crate) fn dial_name(role: Role) -> &'static str {
    match role {
        Role::Router => "router.understudy.internal",
        Role::Server => "server.understudy.internal",
    }
}

/// Whether a peer's certificates, of a handshake that has succeeded, let it be this member.
pub(crate) fn peer_may_be(certificates: &[CertificateDer<'_>], role: Role, name: &Name) -> bool {
    let Some(leaf) = certificates.first() else {
        return false;
    };
    let full_name = format!("{name}.{}.{DOMAIN}", role.as_str());
    let (Ok(leaf), Ok(full_name)) =
        (EndEntityCert::try_from(leaf), ServerName::try_from(full_name))
    else {
        return false;
    };
    leaf.verify_is_valid_for_subject_name(&full_name).is_ok()
}

/// Whether a certificate is for some member of this role.
fn has_role(certificate: &CertificateDer<'_>, role: Role) -> bool {
    let Ok(leaf) = EndEntityCert::try_from(certificate) else {
        return false;
    };
    let domain = format!(".{}.{DOMAIN}", role.as_str());
    leaf.valid_dns_names().any(|full_name| {
        let label = full_name.strip_suffix(&domain);
        label.is_some_and(|label| label == "*" || Name::new(label).is_ok())
    })
}

/// What a member shows to others, and verifies them by.
#[derive(Debug)]
pub(crate) struct Backplane {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) certified: Arc<CertifiedKey>,
}

impl Backplane {
    /// Reads the files, and checks what every peer would check: that the CA vouches for the
    /// certificate, today, as this member.
    pub(crate) fn load(files: &BackplaneFiles, role: Role, name: &Name) -> Result<Self, TlsError> {
        let roots = pem::roots(&files.ca)?;
        let certified = pem::certified_key(&files.cert, &files.key)?;
        own::check_member(files, &certified.cert, &roots, role, name)?;
        Ok(Self { roots: Arc::new(roots), certified: Arc::new(certified) })
    }

    /// For connections that come in: from members of either role.
    pub(crate) fn server_config(&self) -> rustls::ServerConfig {
        let roots = Arc::clone(&self.roots);
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .expect("pem::roots found at least one CA, and there are no revocation lists");
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("aws-lc-rs has TLS 1.3")
            .with_client_cert_verifier(Arc::new(MemberVerifier { chain }))
            .with_cert_resolver(self.resolver());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        // Connections are few and last: verifying each anew costs nothing worth saving.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }

    /// For connections that go out. The server name to connect by is [`dial_name`] of the role that
    /// is wanted, [`ANY_MEMBER`], or the full name of the member, where that is known.
    pub(crate) fn client_config(&self) -> rustls::ClientConfig {
        let algorithms = provider().signature_verification_algorithms;
        let verifier = DialledVerifier { roots: Arc::clone(&self.roots), algorithms };
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("aws-lc-rs has TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(self.resolver());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_early_data = false;
        config.resumption = Resumption::disabled();
        config
    }

    fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified)))
    }
}

/// Verifies a member that was dialled: chain, role, and name where it was dialled by name.
#[derive(Debug)]
struct DialledVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for DialledVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        let roots = &self.roots;
        verify_server_cert_signed_by_trust_anchor(&leaf, roots, intermediates, now, algorithms)?;
        let ServerName::DnsName(dialled) = server_name else {
            return Err(CertificateError::NotValidForName.into());
        };
        let dialled = dialled.as_ref();
        let is_member = [Role::Router, Role::Server].iter().any(|role| has_role(end_entity, *role));
        if dialled == ANY_MEMBER && is_member {
            return Ok(ServerCertVerified::assertion());
        }
        let wanted = [Role::Router, Role::Server].into_iter().find(|role| {
            let before = dialled.strip_suffix(dial_name(*role));
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        let wanted = wanted.ok_or(CertificateError::NotValidForName)?;
        if !has_role(end_entity, wanted) {
            return Err(CertificateError::NotValidForName.into());
        }
        if dialled != dial_name(wanted) {
            verify_server_name(&leaf, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Verifies a member that dials in: chain, and some role.
#[derive(Debug)]
struct MemberVerifier {
    chain: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for MemberVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        if [Role::Router, Role::Server].into_iter().any(|role| has_role(end_entity, role)) {
            Ok(verified)
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
