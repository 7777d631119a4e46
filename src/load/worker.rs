//! One thread that makes load, with an event loop, sockets and connections of its own.

use super::LoadError;
use super::config::{LoadConfig, Mode, Target};
use super::dialer::{ClientSettings, Dialer};
use super::pace::{Pace, Window};
use super::shared::{Shared, WireBytes};
use super::tally::{FailureKind, Tally};
use super::timer::Timer;
use super::{connect, echo, http3, native};
use crate::wire::Key;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

/// How often counts are handed over.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);
/// How long answers are waited for after the end.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the last packets may take to leave.
const FAREWELL: Duration = Duration::from_millis(200);

/// What one worker is to do.
pub(super) struct Job {
    pub(super) config: Arc<LoadConfig>,
    pub(super) settings: ClientSettings,
    pub(super) keys: Arc<[Key]>,
    /// Its number.
    pub(super) worker: usize,
    /// Sockets that it may open.
    pub(super) sockets: usize,
    /// The times of the run, as soon as they are known.
    pub(super) window: watch::Receiver<Option<Window>>,
    pub(super) sender: mpsc::UnboundedSender<FromWorker>,
}

/// What workers say.
pub(super) enum FromWorker {
    /// All its connections are ready for the run.
    Ready,
    /// It makes no sense to go on.
    Failed(LoadError),
    /// What was counted in the interval of this number.
    Counted(usize, Tally),
    /// All is over: what was still to be counted, and the bytes of the measured time.
    Done(Tally, WireBytes),
}

/// Where a connection belongs.
#[derive(Clone)]
pub(super) struct Place {
    /// Its number in the run.
    pub(super) of_run: usize,
    /// Its number in its worker.
    pub(super) of_worker: usize,
    /// Rung when it may have something to do.
    pub(super) bell: Rc<Notify>,
}

/// Does the job, on this thread.
pub(super) fn run(job: Job) {
    let sender = job.sender.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(work(job)),
        Err(why) => Err(LoadError::new(&format!("no event loop: {why}"))),
    };
    if let Err(error) = outcome {
        // Who started the run may have given it up.
        let _ = sender.send(FromWorker::Failed(error));
    }
}

async fn work(job: Job) -> Result<(), LoadError> {
    let Job { config, settings, keys, worker, sockets, mut window, sender } = job;
    let mine: Vec<_> = (worker..config.connections).step_by(config.workers).collect();
    let sockets = mine.len().min(sockets);
    let dialer = Dialer::open(settings, config.target.address(0, 0), sockets)?;
    let timer = Timer::new().map_err(|why| LoadError::new(&format!("no timer: {why}")))?;
    let shared = Rc::new(Shared::new(config, keys, dialer));
    let mut paces = Vec::new();
    let mut connections = JoinSet::new();
    for (of_worker, of_run) in mine.iter().copied().enumerate() {
        let bell = shared.new_bell();
        let pace = Rc::new(Pace::new(shared.config.rate, of_run, shared.config.connections));
        paces.push((Rc::clone(&pace), Rc::clone(&bell)));
        spawn(&mut connections, &shared, Place { of_run, of_worker, bell }, pace);
    }
    while shared.ready() < mine.len() {
        tokio::select! {
            ended = next_error(&mut connections) => return Err(ended),
            () = shared.readiness.notified() => {}
        }
    }
    let _ = sender.send(FromWorker::Ready);
    tokio::select! {
        ended = next_error(&mut connections) => return Err(ended),
        known = window.wait_for(Option::is_some) => {
            let known = *known.map_err(|_| LoadError::given_up())?;
            shared.set_window(known.expect("it was waited for"));
        }
    }
    let pacing = tokio::task::spawn_local(pace_all(Rc::clone(&shared), paces.clone(), timer));
    let wire_bytes = tokio::select! {
        ended = next_error(&mut connections) => return Err(ended),
        wire_bytes = measure(&shared, &mut window, &sender) => wire_bytes?,
    };
    pacing.abort();
    let mut tally = drain(&shared, &mut connections).await;
    let times = shared.window().expect("it was set above");
    tally.failed(FailureKind::NotSent, paces.iter().map(|(pace, _)| pace.not_made(&times)).sum());
    shared.dialer.finish(FAREWELL).await;
    let _ = sender.send(FromWorker::Done(tally, wire_bytes));
    Ok(())
}

fn spawn(
    connections: &mut JoinSet<Result<(), LoadError>>,
    shared: &Rc<Shared>,
    place: Place,
    pace: Rc<Pace>,
) {
    let shared = Rc::clone(shared);
    match (shared.config.mode, &shared.config.target) {
        (Mode::Echo, _) => connections.spawn_local(echo::run(shared, place, pace)),
        (Mode::Connect, _) => connections.spawn_local(connect::run(shared, place, pace)),
        (_, Target::Routers { .. }) => connections.spawn_local(native::run(shared, place, pace)),
        (_, Target::Http3 { .. }) => connections.spawn_local(http3::run(shared, place, pace)),
    };
}

/// Why one of the connections gave up. Does not end while none does.
async fn next_error(connections: &mut JoinSet<Result<(), LoadError>>) -> LoadError {
    loop {
        match connections.join_next().await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => return error,
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => std::future::pending().await,
        }
    }
}

/// Hands over counts until the end, and returns the bytes of the measured time.
async fn measure(
    shared: &Shared,
    window: &mut watch::Receiver<Option<Window>>,
    sender: &mpsc::UnboundedSender<FromWorker>,
) -> Result<WireBytes, LoadError> {
    sleep_until(shared, window, |times| times.start).await?;
    shared.ring_all();
    sleep_until(shared, window, |times| times.begin).await?;
    let before = shared.wire_bytes();
    let mut is_over = false;
    for interval in 0.. {
        if is_over {
            break;
        }
        let next = INTERVAL * (interval as u32 + 1);
        is_over = sleep_until(shared, window, |times| times.begin + next).await?;
        if sender.send(FromWorker::Counted(interval, shared.take_tally())).is_err() {
            return Err(LoadError::given_up());
        }
    }
    let after = shared.wire_bytes();
    Ok(WireBytes { received: after.received - before.received, sent: after.sent - before.sent })
}

/// Sleeps until then, or until the end of the run, which may come nearer meanwhile. Returns whether
/// that was reached.
async fn sleep_until(
    shared: &Shared,
    window: &mut watch::Receiver<Option<Window>>,
    time: impl Fn(&Window) -> Instant,
) -> Result<bool, LoadError> {
    loop {
        let times = shared.window().expect("the run has begun");
        tokio::select! {
            () = tokio::time::sleep_until(time(&times).min(times.end).into()) => {
                return Ok(time(&times) >= times.end);
            }
            changed = window.changed() => {
                changed.map_err(|_| LoadError::given_up())?;
                let changed = *window.borrow_and_update();
                shared.set_window(changed.expect("it is never taken back"));
            }
        }
    }
}

/// Waits for the answers that are still to come, at most for a while.
async fn drain(shared: &Shared, connections: &mut JoinSet<Result<(), LoadError>>) -> Tally {
    shared.ring_all();
    let ended = async { while connections.join_next().await.is_some() {} };
    // What is unanswered then counts as such.
    let _ = tokio::time::timeout(DRAIN, ended).await;
    let mut tally = shared.take_tally();
    tally.failed(FailureKind::Timeout, shared.unanswered());
    connections.shutdown().await;
    tally
}

/// Rings the bell of each connection whenever a request of its is due.
async fn pace_all(shared: Rc<Shared>, paces: Vec<(Rc<Pace>, Rc<Notify>)>, mut timer: Timer) {
    for number in 0.. {
        for (pace, bell) in &paces {
            let due = shared.window().and_then(|times| pace.due(&times, number));
            let Some(due) = due else {
                return;
            };
            if due > Instant::now() {
                // Should the timer fail, what is due is late, and counted as such.
                let _ = timer.sleep_until(due).await;
            }
            bell.notify_one();
        }
    }
}
