//! The development certificates that come with Understudy.
//!
//! Everybody has their keys, so they prove nothing: they let a first router run on one machine
//! without a word of configuration, and are refused wherever another machine could be at the other
//! end. `understudy certs new` makes proper ones of the same names.

use super::files::write_whole;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// One of the bundled files.
#[derive(Clone, Copy, Debug)]
pub struct BundledFile {
    /// Its name in `certs/`, the same as `understudy certs new` gives.
    pub name: &'static str,
    /// What is in it, in PEM form.
    pub pem: &'static str,
    /// Whether it holds a private key. (No secret in this case, but stored as one.)
    pub is_key: bool,
}

macro_rules! bundled {
    ($name:literal, $is_key:literal) => {
        BundledFile {
            name: $name,
            pem: include_str!(concat!("../../certs/", $name)),
            is_key: $is_key,
        }
    };
}

/// The CA that clients verify bundled public certificates by.
pub const PUBLIC_CA: BundledFile = bundled!("ca.pem", false);
/// The public certificate, for localhost, 127.0.0.1 and ::1.
pub const PUBLIC_CERT: BundledFile = bundled!("server.pem", false);
/// The public certificate's key.
pub const PUBLIC_KEY: BundledFile = bundled!("server.key", true);
/// The CA of the backplane.
pub const BACKPLANE_CA: BundledFile = bundled!("backplane-ca.pem", false);
/// The certificate that lets its holder be any router.
pub const ROUTER_CERT: BundledFile = bundled!("backplane-router.pem", false);
/// Its key.
pub const ROUTER_KEY: BundledFile = bundled!("backplane-router.key", true);
/// The certificate that lets its holder be any server.
pub const SERVER_CERT: BundledFile = bundled!("backplane-server.pem", false);
/// Its key.
pub const SERVER_KEY: BundledFile = bundled!("backplane-server.key", true);

/// All of them.
pub const FILES: [BundledFile; 8] = [
    PUBLIC_CA,
    PUBLIC_CERT,
    PUBLIC_KEY,
    BACKPLANE_CA,
    ROUTER_CERT,
    ROUTER_KEY,
    SERVER_CERT,
    SERVER_KEY,
];

/// Writes all of them into a directory that exists, so that configurations can name them.
pub fn write_to(directory: &Path) -> io::Result<()> {
    FILES.iter().try_for_each(|file| {
        write_whole(&directory.join(file.name), file.pem.as_bytes(), file.is_key)
    })
}

/// Whether this is one of the bundled certificates.
pub fn is_bundled(certificate: &CertificateDer<'_>) -> bool {
    bundled_sections().iter().any(|bundled| bundled.as_slice() == certificate.as_ref())
}

/// Whether any certificate or key in this PEM text is a bundled one.
#[cfg(feature = "server")]
pub(crate) fn holds_bundled(pem: &[u8]) -> bool {
    sections(pem).any(|section| bundled_sections().contains(&section))
}

fn sections(pem: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    // Where the text stops being PEM there is nothing more to recognise; that it is not PEM is
    // reported by what wants to use it.
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem).map_while(Result::ok).map(|(_, der)| der)
}

fn bundled_sections() -> &'static [Vec<u8>] {
    static SECTIONS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SECTIONS.get_or_init(|| FILES.iter().flat_map(|file| sections(file.pem.as_bytes())).collect())
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_file_holds_one_section_and_is_recognised() {
        assert_eq!(bundled_sections().len(), FILES.len());
        for file in FILES {
            assert!(holds_bundled(file.pem.as_bytes()), "{}", file.name);
            assert_eq!(file.pem.contains("PRIVATE KEY"), file.is_key, "{}", file.name);
        }
        for file in [PUBLIC_CERT, ROUTER_CERT, SERVER_CERT] {
            let certificate = CertificateDer::from_pem_slice(file.pem.as_bytes()).unwrap();
            assert!(is_bundled(&certificate), "{}", file.name);
        }
        assert!(!is_bundled(&CertificateDer::from(vec![0x30, 0])));
    }

    #[test]
    fn a_bundled_section_is_recognised_in_other_clothes() {
        let rewrapped = PUBLIC_CERT.pem.replace('\n', "\r\n");
        assert!(holds_bundled(format!("a comment\r\n{rewrapped}").as_bytes()));
        assert!(!holds_bundled(b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"));
        assert!(!holds_bundled(b"not PEM at all"));
        assert!(!holds_bundled(b""));
    }

    #[cfg(unix)]
    #[test]
    fn written_keys_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        write_to(directory.path()).unwrap();
        for file in FILES {
            let path = directory.path().join(file.name);
            assert_eq!(std::fs::read(&path).unwrap(), file.pem.as_bytes());
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert!(!file.is_key || mode & 0o077 == 0, "{} has mode {mode:o}", file.name);
        }
    }
}
