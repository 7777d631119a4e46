//! What a process checks of its own certificates before it shows them to anybody: whoever starts it
//! is told at once, and not by connections that fail later on other machines.

use super::backplane::peer_may_be;
use super::error::TlsError;
use super::provider;
use crate::config::BackplaneFiles;
use crate::wire::Name;
use crate::wire::backplane::Role;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::path::Path;
use webpki::{EndEntityCert, KeyUsage};

const DAY_S: u64 = 24 * 60 * 60;

/// Checks what every peer will: that the CA vouches for the chain, today, as this member.
pub(super) fn check_member(
    files: &BackplaneFiles,
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    role: Role,
    name: &Name,
) -> Result<(), TlsError> {
    let leaf = chain.first().expect("pem::certified_key found at least one certificate");
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        verify(chain, roots, usage).map_err(|error| own_error(files, leaf, error))?;
    }
    if !peer_may_be(chain, role, name) {
        let what = format!(
            "its certificate is not for {} {name}, but for {}",
            role.as_str(),
            names_of(leaf)
        );
        let fix = format!(
            "name another, or make one by 'understudy certs new --out certs --{} {name}'",
            role.as_str()
        );
        return Err(TlsError::new(&files.cert, what, fix));
    }
    Ok(())
}

/// Verifies our own chain as a peer would.
fn verify(
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    usage: KeyUsage,
) -> Result<(), webpki::Error> {
    let (leaf, intermediates) = chain.split_first().ok_or(webpki::Error::BadDer)?;
    let algorithms = provider().signature_verification_algorithms.all;
    let (anchors, now) = (&roots.roots, UnixTime::now());
    EndEntityCert::try_from(leaf)?
        .verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None)
        .map(drop)
}

/// Refuses a certificate that is not valid today, whoever vouches for it.
pub(super) fn check_dates(file: &Path, chain: &[CertificateDer<'_>]) -> Result<(), TlsError> {
    // Dates are checked before the issuer is looked for, and nobody is trusted here: any other
    // error means that the dates are fine.
    match verify(chain, &RootCertStore::empty(), KeyUsage::server_auth()) {
        Err(error) => date_error(file, &error).map_or(Ok(()), Err),
        Ok(()) => Ok(()),
    }
}

fn date_error(file: &Path, error: &webpki::Error) -> Option<TlsError> {
    let days = |from: &UnixTime, to: &UnixTime| to.as_secs().saturating_sub(from.as_secs()) / DAY_S;
    match error {
        webpki::Error::CertExpired { time, not_after } => {
            let what = format!("its certificate expired {} days ago", days(not_after, time));
            let fix = "renew it, or make a new set by 'understudy certs new --out certs'";
            Some(TlsError::new(file, what, fix))
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            let what = format!("its certificate is valid in {} days only", days(time, not_before));
            Some(TlsError::new(file, what, "set this machine's clock, or wait"))
        }
        _ => None,
    }
}

fn own_error(files: &BackplaneFiles, leaf: &CertificateDer<'_>, error: webpki::Error) -> TlsError {
    if let Some(error) = date_error(&files.cert, &error) {
        return error;
    }
    let (what, fix) = match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => (
            format!("its certificate was not made by the CA in {}", files.ca.display()),
            "name files of one set",
        ),
        other => (
            format!("its certificate, for {}, cannot be used: {other}", names_of(leaf)),
            "name a backplane certificate, as 'understudy certs new --out certs' makes it",
        ),
    };
    TlsError::new(&files.cert, what, fix)
}

/// The names in a certificate, as text.
fn names_of(certificate: &CertificateDer<'_>) -> String {
    let leaf = EndEntityCert::try_from(certificate);
    let names: Vec<&str> = leaf.iter().flat_map(|leaf| leaf.valid_dns_names()).collect();
    if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
}
