//! What tells two states of a file apart without reading it.

use crate::source::SourceError;
use bytes::{BufMut, Bytes, BytesMut};
use cap_std::fs::{File, Metadata, MetadataExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One state of one regular file. Its change time is the part that no program can set: it moves
/// with every write, truncation, rename and change of the other times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    modified: Moment,
    changed: Moment,
}

/// Seconds since 1970 and the nanoseconds beyond them, as the file system keeps them.
type Moment = (i64, i64);

impl FileState {
    /// The state of a regular file; anything else is refused.
    pub(super) fn new(metadata: &Metadata) -> Result<Self, SourceError> {
        if metadata.is_dir() {
            let why = "it is a folder: end the key in '/' to ask for the folder's index.html";
            return Err(SourceError::Refused(why.into()));
        }
        if !metadata.is_file() {
            return Err(SourceError::Refused("it is not a regular file".into()));
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// The state that an open file is in now.
    pub(super) fn of(file: &File) -> Result<Self, SourceError> {
        Self::new(&file.metadata().map_err(super::failed)?)
    }

    /// How many bytes the file has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The state as a version's stamp.
    pub(super) fn stamp(&self) -> Bytes {
        let mut stamp = BytesMut::with_capacity(7 * 8);
        for number in [self.device, self.inode, self.size] {
            stamp.put_u64(number);
        }
        for (seconds, nanoseconds) in [self.modified, self.changed] {
            stamp.put_i64(seconds);
            stamp.put_i64(nanoseconds);
        }
        stamp.freeze()
    }

    /// How long to wait until a further change will show: until the change time is `margin` old,
    /// but no longer than `margin` (it may come from another clock). `None` if it is old enough
    /// now.
    ///
    /// File systems keep the change time in ticks. Two changes in one tick leave equal states, so a
    /// state identifies what was read only if the tick was over when reading began.
    pub(super) fn unsettled(&self, now: SystemTime, margin: Duration) -> Option<Duration> {
        let (seconds, nanoseconds) = self.changed;
        let changed = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let now = match now.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        let margin = margin.as_nanos() as i128;
        let wait = (changed + margin - now).min(margin.max(1));
        (wait > 0).then(|| Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed_at(seconds: i64, nanoseconds: i64) -> FileState {
        let changed = (seconds, nanoseconds);
        FileState { device: 1, inode: 2, size: 3, modified: (4, 5), changed }
    }

    #[test]
    fn a_state_settles_when_its_change_time_is_old_enough() {
        let margin = Duration::from_millis(2_500);
        let now = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        let state = changed_at(100, 500_000_000);
        assert_eq!(state.unsettled(now(103_000), margin), None);
        assert_eq!(state.unsettled(now(102_999), margin), Some(Duration::from_millis(1)));
        assert_eq!(state.unsettled(now(100_500), margin), Some(margin));
        // A clock that was set back, or a file system with a clock of its own.
        assert_eq!(state.unsettled(now(90_500), margin), Some(margin));
        assert!(state.unsettled(now(90_500), Duration::ZERO).is_some());
        assert_eq!(state.unsettled(now(100_500), Duration::ZERO), None);
        assert_eq!(changed_at(-5, 0).unsettled(now(0), margin), None);
        assert!(changed_at(i64::MAX, 0).unsettled(now(0), margin).is_some());
    }

    #[test]
    fn every_part_of_a_state_is_in_its_stamp() {
        let state = changed_at(6, 7);
        for other in [
            FileState { device: 0, ..state },
            FileState { inode: 0, ..state },
            FileState { size: 0, ..state },
            FileState { modified: (0, 5), ..state },
            FileState { modified: (4, 0), ..state },
            FileState { changed: (0, 7), ..state },
            FileState { changed: (6, 0), ..state },
        ] {
            assert_ne!(other.stamp(), state.stamp(), "{other:?}");
        }
        assert_eq!(changed_at(6, 7).stamp(), state.stamp());
    }
}
