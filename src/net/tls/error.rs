//! What is wrong with a certificate or key.

use std::path::{Path, PathBuf};

/// What is wrong with a file that TLS needs, and what to do. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}: {fix}", file.display())]
pub(crate) struct TlsError {
    /// The file.
    pub(crate) file: PathBuf,
    /// What is wrong with it.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) fix: String,
}

impl TlsError {
    pub(super) fn new(file: &Path, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { file: file.to_owned(), what: what.into(), fix: fix.into() }
    }
}
