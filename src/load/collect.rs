//! What the workers count comes together here, and the time of the processes that are watched.

use super::config::LoadConfig;
use super::pace::Window;
use super::processes::CpuTime;
use super::tally::Tally;
use super::worker::FromWorker;
use super::{LoadError, Measured, Progress, WireBytes};
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, watch};

/// Checks that the processes are there and may be looked at.
pub(super) fn check_pids(pids: &[u32]) -> Result<(), LoadError> {
    for pid in pids {
        let seen = CpuTime::of(*pid);
        seen.map_err(|why| LoadError::new(&format!("the CPU time of process {pid}: {why}")))?;
    }
    Ok(())
}

/// Collects what the workers count.
pub(super) struct Collector<'a> {
    config: &'a LoadConfig,
    window: watch::Sender<Option<Window>>,
    times: Window,
    wall: SystemTime,
    /// By number, with how many workers' counts it has.
    intervals: Vec<(Tally, usize)>,
    /// What came after the end.
    late: Tally,
    wire_bytes: WireBytes,
    /// CPU times when the measured time began, and when it ended; this process comes last.
    cpu: [Vec<Option<CpuTime>>; 2],
    is_cut_short: bool,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        config: &'a LoadConfig,
        window: watch::Sender<Option<Window>>,
        times: Window,
    ) -> Self {
        let until_begin = times.begin.saturating_duration_since(Instant::now());
        Self {
            config,
            window,
            times,
            wall: SystemTime::now() + until_begin,
            intervals: Vec::new(),
            late: Tally::default(),
            wire_bytes: WireBytes::default(),
            cpu: [Vec::new(), Vec::new()],
            is_cut_short: false,
        }
    }

    /// Collects until all workers are done; `stop` ends the measured time.
    pub(super) async fn run(
        &mut self,
        messages: &mut mpsc::UnboundedReceiver<FromWorker>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), LoadError> {
        let mut done = 0;
        while done < self.config.workers {
            let [before, after] = &self.cpu;
            let look_at = match (before.is_empty(), after.is_empty()) {
                (true, _) => Some(self.times.begin.min(self.times.end)),
                (false, true) => Some(self.times.end),
                (false, false) => None,
            };
            tokio::select! {
                biased;
                () = sleep_until(look_at), if look_at.is_some() => self.look(),
                () = &mut stop, if !self.is_cut_short => self.cut_short(),
                message = messages.recv() => match message {
                    Some(FromWorker::Counted(number, tally)) => {
                        self.count(number, &tally, progress);
                    }
                    Some(FromWorker::Done(tally, wire_bytes)) => {
                        done += 1;
                        self.late.add(&tally);
                        self.wire_bytes += wire_bytes;
                    }
                    Some(FromWorker::Failed(error)) => return Err(error),
                    Some(FromWorker::Ready) => {}
                    None => return Err(LoadError::new("a worker ended without a word")),
                },
            }
        }
        Ok(())
    }

    /// Looks at the processes, at the beginning or at the end.
    fn look(&mut self) {
        let pids = self.config.pids.iter().copied().chain([std::process::id()]);
        let times = pids.map(|pid| CpuTime::of(pid).ok()).collect();
        let [before, after] = &mut self.cpu;
        *(if before.is_empty() { before } else { after }) = times;
    }

    /// Ends the measured time now.
    fn cut_short(&mut self) {
        self.is_cut_short = true;
        self.times.end = self.times.end.min(Instant::now());
        self.window.send_replace(Some(self.times));
    }

    fn count(&mut self, number: usize, tally: &Tally, progress: &mut dyn FnMut(Progress<'_>)) {
        while self.intervals.len() <= number {
            self.intervals.push((Tally::default(), 0));
        }
        let (sum, reported) = &mut self.intervals[number];
        sum.add(tally);
        *reported += 1;
        if *reported == self.config.workers {
            progress(Progress::Counted(sum));
        }
    }

    /// What it came to; `keys` is how many were asked for.
    pub(super) fn finish(self, keys: usize) -> Measured {
        let [before, after] = self.cpu;
        let mut cpu = before
            .into_iter()
            .zip(after)
            .map(|(before, after)| before.zip(after).map(|(before, after)| after.since(&before)));
        let pids = self.config.pids.iter().copied();
        let of_processes = pids.zip(cpu.by_ref()).collect();
        let own_cpu_s = cpu.next().flatten();
        let mut intervals: Vec<_> = self.intervals.into_iter().map(|(tally, _)| tally).collect();
        match intervals.last_mut() {
            Some(last) => last.add(&self.late),
            None => intervals.push(self.late),
        }
        let mut total = Tally::default();
        intervals.iter().for_each(|tally| total.add(tally));
        Measured {
            total,
            intervals,
            begin: self.times.begin,
            began: self.wall,
            duration: self.times.end.saturating_duration_since(self.times.begin),
            wire_bytes: self.wire_bytes,
            cpu: of_processes,
            own_cpu_s,
            keys,
            is_cut_short: self.is_cut_short,
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    let time = time.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
    tokio::time::sleep_until(time.into()).await;
}
