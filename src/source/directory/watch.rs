//! Being told of changes in a directory.
//!
//! A folder is watched from when the first of its files is leased, so a tree costs as many watches
//! as folders are in use, not as it has. The order is what makes a lease true: first all folders on
//! the way to the file are watched, from the root on, then the lease is registered, then the file
//! is looked at. Whatever is changed after the look is told afterwards, and takes the lease back.
//! A folder is watched by the handle under which it was opened, so no race leads to another one.

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(target_os = "linux")]
mod registry;

#[cfg(target_os = "linux")]
pub(super) use inotify::Watch;

/// Other systems do not say in which order changes are told.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use crate::mirror::Lease;
    use cap_std::fs::Dir;
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    /// There is none.
    #[derive(Debug)]
    pub(in super::super) enum Watch {}

    impl Watch {
        pub(in super::super) fn start(_: &Arc<Dir>, _: Duration) -> io::Result<Self> {
            Err(io::Error::new(io::ErrorKind::Unsupported, "directories are watched on Linux only"))
        }

        pub(in super::super) fn verify(&self) -> Duration {
            match *self {}
        }

        pub(in super::super) fn lease(&self, _: &str) -> Option<Lease> {
            match *self {}
        }

        pub(in super::super) fn withdraw(&self, _: &str) {
            match *self {}
        }
    }
}
#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::Watch;
