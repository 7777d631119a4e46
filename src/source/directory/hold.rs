//! For how long what a directory answers holds.

use super::watch::Watch;
use crate::config::Freshness as Mode;
use crate::mirror::Freshness;
use cap_std::fs::{Dir, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How a directory knows that what it answered still holds.
#[derive(Debug)]
pub(super) enum Hold {
    /// It does not.
    Always,
    /// It is told of changes.
    Watch(Watch),
    /// It does not ask.
    Ttl(Duration),
}

impl Hold {
    /// Sets up what `mode` needs for the open directory `root`, which was found at `path`.
    pub(super) fn new(root: &Arc<Dir>, path: &Path, mode: Mode) -> Self {
        match mode {
            Mode::Always => Self::Always,
            Mode::Ttl { ttl } => Self::Ttl(ttl),
            Mode::Watch { verify } => match Watch::start(root, verify) {
                Ok(watch) => Self::Watch(watch),
                Err(error) => {
                    tracing::warn!(
                        "{} cannot be watched: {error}: each request looks at its file, as with \
                         freshness = \"always\"",
                        path.display()
                    );
                    Self::Always
                }
            },
        }
    }

    /// For how long what is seen at `path` from now on will hold.
    pub(super) fn freshness(&self, root: &Dir, path: &str) -> Freshness {
        match self {
            Self::Always => Freshness::default(),
            Self::Ttl(ttl) => Freshness::lasting(*ttl),
            Self::Watch(watch) => {
                let Some(lease) = watch.lease(path) else {
                    return Freshness::default();
                };
                if changes_are_told(root, path) {
                    return Freshness::leased(watch.verify(), lease);
                }
                watch.withdraw(path);
                Freshness::default()
            }
        }
    }
}

/// Whether every way to change the file at `path`, whose folders are watched, leads through them:
/// not so if it is a symbolic link, or has another name elsewhere.
fn changes_are_told(root: &Dir, path: &str) -> bool {
    let metadata = root.symlink_metadata(path);
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1)
}
