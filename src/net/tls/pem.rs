//! Certificates and keys out of PEM files.

use super::error::TlsError;
#[cfg(feature = "server")]
use super::provider;
use crate::config::{MAX_PEM_FILE, read_bounded};
use rustls::RootCertStore;
#[cfg(feature = "server")]
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
#[cfg(feature = "server")]
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{self, PemObject};
use std::path::Path;

/// What every fix about a wrong or damaged file comes down to.
const MAKE_NEW: &str =
    "name the right file, or make a new set by 'understudy certs new --out certs'";

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    read_bounded(path, MAX_PEM_FILE).map_err(|error| {
        let fix = "correct the path, or let this user read the file";
        TlsError::new(path, format!("it cannot be read: {error}"), fix)
    })
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(TlsError::new(path, "it holds no certificate in PEM form", MAKE_NEW)),
        Err(error) => Err(TlsError::new(path, format!("it is damaged PEM: {error}"), MAKE_NEW)),
    }
}

/// Certificates to trust.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    roots_from(path, &read(path)?)
}

/// As [`roots`], of a text that came from `path`.
pub(super) fn roots_from(path: &Path, text: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, text)? {
        roots.add(certificate).map_err(|error| {
            let what = format!("it holds a certificate that cannot be used as a CA: {error}");
            TlsError::new(path, what, MAKE_NEW)
        })?;
    }
    Ok(roots)
}

/// A private key.
#[cfg(feature = "server")]
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            TlsError::new(path, "it holds no private key in PEM form", MAKE_NEW)
        }
        other => TlsError::new(path, format!("it is damaged PEM: {other}"), MAKE_NEW),
    })
}

/// A certificate with its intermediate ones, and the key that belongs to it.
#[cfg(feature = "server")]
pub(super) fn certified_key(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(cert, &read(cert)?)?;
    let private = private_key(key)?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let what = format!("this key does not belong to the certificate in {}", cert.display());
            TlsError::new(key, what, "name the two files that were made together")
        }
        rustls::Error::InvalidCertificate(error) => {
            TlsError::new(cert, format!("its certificate cannot be used: {error}"), MAKE_NEW)
        }
        other => TlsError::new(key, format!("its private key cannot be used: {other}"), MAKE_NEW),
    })
}
