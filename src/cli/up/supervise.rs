//! Watches over the children: starts them, reports those that die and starts them again, and stops
//! them all when asked.
//!
//! Each child has a task of its own that goes with it through all its lives. The tasks tell what
//! happens in notices, which [`supervise`] turns into events. All tasks run on the thread that
//! calls it, and so does every start of a child: see [`crate::cli::parent`].

use super::Role;
use super::child::{Launch, Running, ready};
use super::events::{Event, Process};
use crate::cli::report::{self, Failure};
use std::future::pending;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// How long after its death a child is started again.
pub(super) const RESTART_DELAY: Duration = Duration::from_secs(3);
/// A life shorter than this is a quick death.
const QUICK: Duration = Duration::from_secs(10);
/// So many quick deaths in a row are bad luck. From the next one on the delay doubles each time.
const FORGIVEN: u32 = 3;
/// And so often, at the most.
const MAX_DOUBLINGS: u32 = 4;
/// When a child takes longer than this to be ready, somebody may be wondering.
const SLOW_START: Duration = Duration::from_secs(10);
/// Notices on their way.
const MAX_NOTICES: usize = 64;

/// Whether a child that died is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    Never,
    /// After this time, and longer where it dies again and again.
    After(Duration),
}

/// Sees requests to stop. There may be several: the first asks, the second is in a hurry.
#[derive(Clone)]
pub(super) struct Stop {
    requests: watch::Receiver<u32>,
    handle: StopHandle,
}

/// Makes requests to stop, from any thread.
#[derive(Clone)]
pub(super) struct StopHandle(Arc<watch::Sender<u32>>);

impl Stop {
    pub(super) fn new() -> (Self, StopHandle) {
        let (sender, requests) = watch::channel(0);
        let handle = StopHandle(Arc::new(sender));
        (Self { requests, handle: handle.clone() }, handle)
    }

    /// Completes when there were so many requests.
    async fn asked(&self, times: u32) {
        if self.requests.clone().wait_for(|requests| *requests >= times).await.is_err() {
            // Nobody can ask any more. It does not happen, as we hold a handle ourselves.
            pending::<()>().await;
        }
    }

    fn was_asked(&self) -> bool {
        *self.requests.borrow() > 0
    }
}

impl StopHandle {
    /// Makes one.
    pub(super) fn stop(&self) {
        self.0.send_modify(|requests| *requests = requests.saturating_add(1));
    }
}

/// What a child's task tells. The number is the child's.
enum Notice {
    Started {
        index: usize,
        pid: u32,
        first: bool,
    },
    Ready {
        index: usize,
        first: bool,
    },
    Died {
        index: usize,
        pid: u32,
        status: ExitStatus,
        restart_after: Option<Duration>,
    },
    /// It cannot be had at all: everything is to be stopped.
    Hopeless {
        why: String,
    },
}

/// Runs the children until `stop` asks to stop them, and stops them. Fails when a child does not
/// become ready in its first life, and when all have died and none is to be started again.
pub(super) async fn supervise(
    launches: Vec<Launch>,
    restart: Restart,
    stop: Stop,
    mut show: impl FnMut(&Event),
) -> Result<(), Failure> {
    let (notices, mut inbox) = mpsc::channel(MAX_NOTICES);
    let mut cluster = Cluster::new(&launches);
    for (index, launch) in launches.into_iter().enumerate() {
        let task = Keeper { index, launch, restart, notices: notices.clone(), stop: stop.clone() };
        tokio::spawn(task.keep());
    }
    drop(notices);
    let mut failure = None;
    // The inbox ends with the last of the tasks.
    while let Some(notice) = inbox.recv().await {
        if let Notice::Hopeless { why } = notice {
            failure.get_or_insert(Failure::Failed(why));
            stop.handle.stop();
        } else if !stop.was_asked() {
            cluster.take(notice).iter().for_each(&mut show);
        }
    }
    if failure.is_none() && !stop.was_asked() {
        failure = Some(Failure::Failed("all children have ended".to_owned()));
    }
    show(&Event::Stopped);
    failure.map_or(Ok(()), Err)
}

/// The children, as far as events go.
struct Cluster {
    /// The process ids are 0 until the children are started.
    processes: Vec<Process>,
    /// Those that were never ready.
    awaited: Vec<usize>,
}

impl Cluster {
    fn new(launches: &[Launch]) -> Self {
        let processes = launches.iter().map(|launch| Process::new(&launch.part, 0)).collect();
        Self { processes, awaited: (0..launches.len()).collect() }
    }

    /// Where clients come in.
    fn routers(&self) -> Vec<SocketAddr> {
        let routers = self.processes.iter().filter(|process| process.role == Role::Router);
        routers.map(|router| router.address).collect()
    }

    fn take(&mut self, notice: Notice) -> Option<Event> {
        match notice {
            Notice::Started { index, pid, first } => {
                self.processes[index].pid = pid;
                first.then(|| Event::Started(self.processes[index].clone()))
            }
            Notice::Ready { index, first: false } => {
                Some(Event::Restarted(self.processes[index].clone()))
            }
            Notice::Ready { index, first: true } => {
                self.awaited.retain(|awaited| *awaited != index);
                self.awaited.is_empty().then(|| Event::Ready {
                    router: self.processes[0].address,
                    admin: self.processes[0].admin,
                    routers: self.routers(),
                    processes: self.processes.clone(),
                })
            }
            Notice::Died { index, pid, status, restart_after } => {
                Some(Event::child_exited(&self.processes[index].name, pid, status, restart_after))
            }
            Notice::Hopeless { .. } => None,
        }
    }
}

/// The task that goes with one child.
struct Keeper {
    index: usize,
    launch: Launch,
    restart: Restart,
    notices: mpsc::Sender<Notice>,
    stop: Stop,
}

/// How a life of a child ended.
enum End {
    /// It was asked to.
    Stopped,
    /// By itself.
    Died { pid: u32, status: ExitStatus, was_ready: bool, last_line: Option<String> },
    /// It did not even begin.
    Unborn { why: String },
}

impl Keeper {
    async fn keep(self) {
        let mut delays = Delays::default();
        let mut first = true;
        loop {
            let born = Instant::now();
            let end = self.live(first).await;
            let delay = match self.restart {
                Restart::Never => None,
                Restart::After(delay) => Some(delays.after(born.elapsed(), delay)),
            };
            if !self.goes_on_after(end, first, delay).await {
                return;
            }
            tokio::select! {
                () = self.stop.asked(1) => return,
                () = sleep(delay.unwrap_or_default()) => first = false,
            }
        }
    }

    /// One life of the child, from its start to its end.
    async fn live(&self, first: bool) -> End {
        let part = &self.launch.part;
        let mut child = match Running::start(&self.launch) {
            Ok(child) => child,
            Err(error) => return End::Unborn { why: error.to_string() },
        };
        let (index, pid) = (self.index, child.pid());
        self.tell(Notice::Started { index, pid, first }).await;
        let mut was_ready = false;
        let mut slow_start = Box::pin(sleep(SLOW_START));
        loop {
            tokio::select! {
                biased;
                () = self.stop.asked(1) => {
                    child.stop(self.stop.asked(2)).await;
                    return End::Stopped;
                }
                status = child.ended() => return match status {
                    Ok(status) => {
                        let last_line = child.last_line().await;
                        End::Died { pid, status, was_ready, last_line }
                    }
                    // Dropped here, and thereby killed.
                    Err(error) => End::Unborn { why: format!("it was lost: {error}") },
                },
                () = ready(part), if !was_ready => {
                    was_ready = true;
                    self.tell(Notice::Ready { index, first }).await;
                }
                () = &mut slow_start, if !was_ready && !slow_start.is_elapsed() => {
                    let (name, admin) = (&part.name, part.admin);
                    let page = format!("http://{admin}/ready");
                    report::line(&format!("{name} is not ready yet: still asking {page}"));
                }
            }
        }
    }

    /// Tells how a life ended, and whether there is another one.
    async fn goes_on_after(&self, end: End, first: bool, delay: Option<Duration>) -> bool {
        let name = &self.launch.part.name;
        match end {
            End::Stopped => false,
            End::Died { status, was_ready: false, last_line, .. } if first => {
                let said = last_line.unwrap_or_else(|| "it said nothing".to_owned());
                let said = said.strip_prefix("error: ").unwrap_or(&said);
                let why = format!("{name} ended before it was ready, {status}: {said}");
                self.tell(Notice::Hopeless { why }).await;
                false
            }
            End::Died { pid, status, .. } => {
                let index = self.index;
                self.tell(Notice::Died { index, pid, status, restart_after: delay }).await;
                delay.is_some()
            }
            End::Unborn { why } if first => {
                let program = self.launch.program.display();
                let why = format!("{name} could not be started from {program}: {why}");
                self.tell(Notice::Hopeless { why }).await;
                false
            }
            End::Unborn { why } => {
                report::line(&format!("{name} could not be started again: {why}"));
                delay.is_some()
            }
        }
    }

    async fn tell(&self, notice: Notice) {
        // The inbox is there as long as any task is, unless all of them are being dropped.
        let _ = self.notices.send(notice).await;
    }
}

/// How long to wait before the next life.
#[derive(Default)]
struct Delays {
    quick_deaths: u32,
}

impl Delays {
    fn after(&mut self, lived: Duration, delay: Duration) -> Duration {
        self.quick_deaths = if lived < QUICK { self.quick_deaths.saturating_add(1) } else { 0 };
        let doublings = self.quick_deaths.saturating_sub(FORGIVEN).min(MAX_DOUBLINGS);
        delay * 2u32.pow(doublings)
    }
}

#[cfg(test)]
mod tests;
