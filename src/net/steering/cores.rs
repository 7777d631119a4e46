//! One core for each worker.

/// Keeps the calling thread on one core of those that it may use, if there is a core for each of
/// `workers`. Says which core.
///
/// Call it first thing in a worker's thread, which then has the mask that the process was started
/// with (`taskset`, a container's cores). With fewer workers than cores nothing is pinned: the
/// first workers of all processes on a machine would meet on its first core.
#[cfg(target_os = "linux")]
pub(crate) fn pin_to_core(worker: usize, workers: usize) -> Option<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None).ok()?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    if cores.len() < 2 || workers < cores.len() {
        return None;
    }
    let core = cores[worker % cores.len()];
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).ok()?;
    Some(core)
}

/// Elsewhere the system places threads.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_to_core(_worker: usize, _workers: usize) -> Option<usize> {
    None
}
