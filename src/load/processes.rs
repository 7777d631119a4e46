//! How much CPU time other processes take.

use std::io;

/// Clock ticks a second of `/proc/PID/stat`: fixed on Linux (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
const NANOSECONDS_PER_SECOND: f64 = 1e9;
/// How far the two ways to measure may be apart just because ticks are coarse.
const MOST_APART_S: f64 = 0.05;

/// User and system time of a process since it began, of all its threads, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuTime {
    /// To the clock tick.
    ticks_s: f64,
    /// To the nanosecond, where the system keeps scheduler statistics; without the threads that
    /// have ended.
    scheduled_s: Option<f64>,
}

impl CpuTime {
    /// Reads it.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "its /proc is malformed");
        let ticks_s = ticks(&stat).ok_or_else(malformed)? as f64 / TICKS_PER_SECOND;
        Ok(Self { ticks_s, scheduled_s: of_threads(pid).ok().flatten() })
    }

    /// How much has gone by since an earlier time, in seconds.
    pub(super) fn since(&self, before: &Self) -> f64 {
        let ticks = self.ticks_s - before.ticks_s;
        let scheduled = self.scheduled_s.zip(before.scheduled_s).map(|(now, then)| now - then);
        // Where threads have ended in between, the ticks know more.
        scheduled.filter(|seconds| *seconds + MOST_APART_S >= 0.9 * ticks).unwrap_or(ticks)
    }
}

/// The sum over the threads that live.
fn of_threads(pid: u32) -> io::Result<Option<f64>> {
    let mut sum = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end in between.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
            return Ok(None);
        };
        let Some(nanoseconds) = scheduled(&text) else {
            return Ok(None);
        };
        sum += nanoseconds as f64 / NANOSECONDS_PER_SECOND;
    }
    // Where the system keeps no statistics, they are 0.
    Ok(Some(sum).filter(|sum| *sum > 0.0))
}

/// User and system ticks of a `/proc/PID/stat` (proc(5), fields 14 and 15). The command, field 2,
/// may hold anything, also blanks and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Nanoseconds on a CPU of a `schedstat`.
fn scheduled(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_command() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 120 30 0 0 20 0 1 0 5 0 0 0";
        assert_eq!(ticks(stat), Some(150));
        assert_eq!((ticks(""), ticks("7 (a) S 1")), (None, None));
        assert_eq!((scheduled("123456 7 8\n"), scheduled("")), (Some(123_456), None));
    }

    #[test]
    fn a_process_that_works_takes_time_and_one_that_is_not_there_is_an_error() {
        let before = CpuTime::of(std::process::id()).unwrap();
        let start = std::time::Instant::now();
        while CpuTime::of(std::process::id()).unwrap().since(&before) < 0.02 {
            assert!(start.elapsed().as_secs() < 60, "work takes no time");
        }
        assert!(CpuTime::of(0).is_err());
    }

    #[test]
    fn the_finer_measure_is_taken_unless_threads_have_ended() {
        let time = |ticks_s, scheduled_s| CpuTime { ticks_s, scheduled_s };
        let before = time(1.0, Some(1.001));
        assert!((time(2.0, Some(2.002)).since(&before) - 1.001).abs() < 1e-9);
        assert!((time(2.0, Some(1.2)).since(&before) - 1.0).abs() < 1e-9, "a thread took its own");
        assert!((time(2.0, None).since(&before) - 1.0).abs() < 1e-9);
    }
}
