//! The load generator: many connections that ask, answers that are checked, and figures.
//!
//! It speaks the lane protocol directly, without the client library, because it shares a machine
//! with what it measures and must cost far less. Each worker is a thread with an event loop and
//! sockets of its own, and shares nothing with the others while a run lasts.
//!
//! A run has stages: the target is looked at (`prepare`); every connection is made and fetches
//! what it is to hold; load begins; after the warm-up, everything that is *planned* in the measured
//! time counts, whenever it is answered, so that a stall at the end is not lost either.

// A shell has clocks, threads and sockets; the rules of the pure core end here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod bodies;
mod collect;
pub(crate) mod config;
mod connect;
mod dialer;
mod echo;
mod error;
pub(crate) mod failover;
mod frames;
mod http3;
mod keys;
mod lane;
mod native;
mod pace;
mod prepare;
mod processes;
mod session;
mod shared;
mod slots;
pub(crate) mod tally;
#[cfg(test)]
mod tests;
mod timer;
mod worker;

pub(crate) use error::LoadError;
pub(crate) use shared::WireBytes;
pub(crate) use worker::INTERVAL;

use collect::Collector;
use config::LoadConfig;
use dialer::ClientSettings;
use pace::Window;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tally::Tally;
use tokio::sync::{mpsc, watch};
use worker::{FromWorker, Job};

/// From the moment when all connections are ready to the first request, so that all workers begin
/// at the same time.
const START_DELAY: Duration = Duration::from_millis(10);
/// How long all workers together may make no progress before anything is measured.
const SETUP_PATIENCE: Duration = Duration::from_secs(120);

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Measured {
    /// All that was counted.
    pub(crate) total: Tally,
    /// The same by time: one for each [`INTERVAL`], by when it was answered. The last one also has
    /// what came after the end.
    pub(crate) intervals: Vec<Tally>,
    /// When the measured time began.
    pub(crate) begin: Instant,
    /// The same on the wall.
    pub(crate) began: SystemTime,
    /// How long was measured.
    pub(crate) duration: Duration,
    /// UDP payload of the measured time.
    pub(crate) wire_bytes: WireBytes,
    /// CPU time of each process that was named, in seconds; `None` if it is gone.
    pub(crate) cpu: Vec<(u32, Option<f64>)>,
    /// CPU time of this process.
    pub(crate) own_cpu_s: Option<f64>,
    /// How many keys were asked for.
    pub(crate) keys: usize,
    /// Whether it was ended before its time.
    pub(crate) is_cut_short: bool,
}

impl Measured {
    /// Replies a second.
    pub(crate) fn rate_per_s(&self) -> f64 {
        match self.duration.as_secs_f64() {
            0.0 => 0.0,
            seconds => self.total.replies() as f64 / seconds,
        }
    }
}

/// What happens while a run lasts.
pub(crate) enum Progress<'a> {
    /// So many workers of all have their connections ready.
    Ready(usize),
    /// What was counted in the last interval, by all workers.
    Counted(&'a Tally),
}

/// Runs to the end, or until `stop` ends.
pub(crate) async fn run(
    config: LoadConfig,
    stop: impl Future<Output = ()>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Measured, LoadError> {
    let settings = ClientSettings::new(&config)?;
    let config = Arc::new(config);
    collect::check_pids(&config.pids)?;
    let keys = prepare::prepare(&config, &settings).await?;
    let (window, receiver) = watch::channel(None);
    let (sender, mut messages) = mpsc::unbounded_channel();
    let sockets = (dialer::permitted_sockets() / config.workers).max(1);
    for worker in 0..config.workers {
        let (config, settings, keys) = (Arc::clone(&config), settings.clone(), Arc::clone(&keys));
        let (window, sender) = (receiver.clone(), sender.clone());
        let job = Job { config, settings, keys, worker, sockets, window, sender };
        let thread = std::thread::Builder::new().name(format!("load-{worker}"));
        thread
            .spawn(move || worker::run(job))
            .map_err(|why| LoadError::new(&format!("no thread: {why}")))?;
    }
    drop(sender);
    let mut stop = std::pin::pin!(stop);
    tokio::select! {
        ready = all_ready(&mut messages, config.workers, progress) => ready?,
        () = &mut stop => return Err(LoadError::new("it was stopped before anything was measured")),
    }
    let start = Instant::now() + START_DELAY;
    let times = Window {
        start,
        begin: start + config.warmup,
        end: start + config.warmup + config.duration,
    };
    window.send_replace(Some(times));
    let mut collector = Collector::new(&config, window, times);
    collector.run(&mut messages, stop, progress).await?;
    Ok(collector.finish(keys.len()))
}

async fn all_ready(
    messages: &mut mpsc::UnboundedReceiver<FromWorker>,
    workers: usize,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), LoadError> {
    let mut ready = 0;
    while ready < workers {
        let message = tokio::time::timeout(SETUP_PATIENCE, messages.recv()).await;
        match message.map_err(|_| LoadError::new("the connections were not ready in time"))? {
            Some(FromWorker::Ready) => {
                ready += 1;
                progress(Progress::Ready(ready));
            }
            Some(FromWorker::Failed(error)) => return Err(error),
            Some(_) => {}
            None => return Err(LoadError::given_up()),
        }
    }
    Ok(())
}
