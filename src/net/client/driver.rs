//! The task that owns a client machine: hands it what happens, and does what it wants done.

use super::command::{Command, Open, OpenCall};
use super::config::ConnectError;
use super::dial::{Dialer, Lost};
use super::link::{Event, Link};
use super::storage::{self, Storage};
use super::{Answered, CallAnswered, Snapshot};
use crate::net::clock::Clock;
use crate::node::client::{Answer, CallAnswer, Client as Node, Failure, Output};
use crate::wire::session::CloseCode;
use hashbrown::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Commands and frames that are taken in one turn of the loop, before anything is sent: what is
/// asked together leaves together.
const MAX_TURN: usize = 256;
/// How long the end may wait for the last packets to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(50);
/// How long the loop sleeps when nothing is due.
const LONG: Duration = Duration::from_secs(3600);

/// Who waits for the first session, and what was tried for it.
pub(super) struct First {
    pub(super) done: oneshot::Sender<Result<(), ConnectError>>,
    pub(super) attempts: Vec<(SocketAddr, String)>,
}

/// The task, made whole by [`Client::connect`](super::Client::connect).
pub(super) struct Driver {
    pub(super) node: Node,
    pub(super) clock: Clock,
    pub(super) routers: Vec<SocketAddr>,
    /// The router that `link` leads to.
    pub(super) router: usize,
    pub(super) dialer: Dialer,
    /// The connection of the session.
    pub(super) link: Link,
    /// The router that was dialled last.
    pub(super) dialled: usize,
    /// The connection that is being made, while the session's stands or none does.
    pub(super) dialling: Link,
    /// Packets that had come over `link` when it was last looked at.
    pub(super) packets: u64,
    pub(super) storage: Storage,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) open: HashMap<u64, Open>,
    pub(super) calls: HashMap<u64, OpenCall>,
    pub(super) snapshot: watch::Sender<Snapshot>,
    pub(super) first: Option<First>,
    /// Damaged items that were warned of.
    pub(super) damaged: u64,
}

/// Whether to go on.
enum Turn {
    Next,
    Last(End),
}

/// Why it is over, and who waits to hear that it is.
enum End {
    /// The application wants no more.
    Closed(Option<oneshot::Sender<()>>),
    /// There was no first session.
    Failed(First),
}

impl Driver {
    /// Runs until the application wants no more of it.
    pub(super) async fn run(mut self) {
        let end = loop {
            self.act();
            if let Some(end) = self.first_session() {
                break end;
            }
            let due = self.node.poll_timeout().map(|due| self.clock.instant(due));
            let due = due.unwrap_or_else(|| Instant::now() + LONG);
            let turn = tokio::select! {
                command = self.commands.recv() => self.commands(command),
                event = self.link.next() => self.link_events(event),
                event = self.dialling.next() => self.dial_ended(event),
                event = self.storage.next() => self.storage_event(event),
                () = tokio::time::sleep_until(due.into()) => self.timeout(),
            };
            if let Turn::Last(end) = turn {
                break end;
            }
        };
        self.act();
        self.link.close(CloseCode::Done, "the client is closed");
        self.dialling = Link::Down;
        self.storage.finish().await;
        self.dialer.finish(CLOSE_TIMEOUT).await;
        // Whoever waits may have stopped waiting meanwhile.
        match end {
            End::Closed(None) => {}
            End::Closed(Some(done)) => drop(done.send(())),
            End::Failed(First { done, attempts }) => {
                drop(done.send(Err(ConnectError::Unreachable { attempts })));
            }
        }
    }

    fn commands(&mut self, first: Option<Command>) -> Turn {
        let Some(mut command) = first else {
            return Turn::Last(End::Closed(None));
        };
        for _ in 0..MAX_TURN {
            if let Some(done) = self.obey(command) {
                return Turn::Last(End::Closed(Some(done)));
            }
            match self.commands.try_recv() {
                Ok(next) => command = next,
                Err(_) => break,
            }
        }
        Turn::Next
    }

    fn timeout(&mut self) -> Turn {
        let now = self.clock.now();
        let packets = self.link.packets();
        if packets != self.packets {
            self.packets = packets;
            self.node.handle_packets(now);
        }
        self.node.handle_timeout(now);
        Turn::Next
    }

    /// The attempt to connect has ended, in one way or the other.
    fn dial_ended(&mut self, event: Event) -> Turn {
        let now = self.clock.now();
        match event {
            Event::Lost(lost) => {
                let address = self.routers[self.dialled];
                tracing::debug!("router {address}: {}", lost.reason);
                self.note_attempt(self.dialled, &lost.reason);
                let reason = format!("{address}: {}", lost.reason);
                self.node.handle_unreachable(lost.code, &reason, now);
            }
            // The only other event of a link that was not up.
            _ => {
                self.link.close(CloseCode::Done, "another router answers");
                self.link = std::mem::replace(&mut self.dialling, Link::Down);
                (self.router, self.packets) = (self.dialled, 0);
                self.node.handle_connected(now);
            }
        }
        Turn::Next
    }

    fn link_events(&mut self, first: Event) -> Turn {
        self.link_event(first);
        for _ in 0..MAX_TURN {
            match self.link.buffered() {
                Some(event) => self.link_event(event),
                None => break,
            }
        }
        Turn::Next
    }

    fn link_event(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Connected => unreachable!("the session's connection stands already"),
            Event::Lost(lost) => self.lost(lost),
            Event::Violation(why) => self.node.handle_violation(&why, now),
            Event::Session(frame) => self.node.handle_session_frame(&frame, now),
            Event::Lane(frame) => self.node.handle_lane_frame(&frame, now),
            Event::BodyStart(start, body) => match self.node.handle_body_start(start.request_id) {
                Some(limit) => self.link.read_body(start, body, limit),
                None => body.refuse(),
            },
            Event::Body(start, bytes) => {
                self.node.handle_body(start.request_id, start.offset, bytes, now);
            }
            Event::BodyFailed(id, received) => self.node.handle_body_failed(id, received, now),
        }
    }

    fn lost(&mut self, lost: Lost) {
        self.link.close(CloseCode::Done, "");
        let address = self.routers[self.router];
        tracing::debug!("router {address}: {}", lost.reason);
        self.note_attempt(self.router, &lost.reason);
        let (reason, now) = (format!("{address}: {}", lost.reason), self.clock.now());
        match lost.code {
            Some(code) => self.node.handle_closed(code, &reason, now),
            None => self.node.handle_disconnected(&reason, now),
        }
    }

    fn note_attempt(&mut self, router: usize, why: &str) {
        if let Some(first) = &mut self.first {
            first.attempts.push((self.routers[router], why.to_owned()));
        }
    }

    fn storage_event(&mut self, event: storage::Event) -> Turn {
        match event {
            storage::Event::Written(versions) => {
                for (slot, tag, on_disk) in versions {
                    self.node.handle_written(slot, tag, on_disk);
                }
            }
            storage::Event::Loaded(slot, bytes) => {
                self.node.handle_loaded(slot, bytes);
                let damaged = self.node.statistics().damaged_items;
                if damaged > self.damaged {
                    tracing::warn!("cached item {slot} was damaged; it is asked for again");
                    self.damaged = damaged;
                }
            }
        }
        Turn::Next
    }

    /// Does what the machine wants done.
    fn act(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Connect { router } => {
                    self.dialled = router;
                    self.dialling = self.dialer.dial(self.routers[router]);
                }
                Output::StopConnecting => self.dialling = Link::Down,
                Output::SendSession(frame) => self.link.send_session(&frame),
                Output::SendLane(frame) => self.link.send_lane(&frame),
                Output::Close { code, reason } => {
                    self.close(code, &reason);
                }
                Output::Answer(answer) => self.answer(answer),
                Output::Called(answer) => self.answer_call(answer),
                Output::Load { slot } => self.storage.load(slot),
                Output::Stored { slot, item } => self.storage.store(slot, item),
                Output::Removed { slot } => self.storage.remove(slot),
                Output::TokenChanged(token) => self.storage.store_token(token),
            }
        }
        self.publish();
    }

    /// Ends what connection there is, or else the attempt to make one.
    fn close(&mut self, code: CloseCode, reason: &str) {
        let stands = !self.link.is_down();
        let router = if stands { self.router } else { self.dialled };
        tracing::debug!("router {}: {reason}", self.routers[router]);
        self.note_attempt(router, reason);
        let link = if stands { &mut self.link } else { &mut self.dialling };
        link.close(code, reason);
    }

    fn answer(&mut self, answer: Answer) {
        let Some(open) = self.open.remove(&answer.ticket) else {
            return;
        };
        let result: Result<_, Failure> = answer.result;
        // The caller may have gone away meanwhile.
        let _ = open.answer.send(Answered { result, elapsed: open.since.elapsed() });
    }

    fn answer_call(&mut self, answer: CallAnswer) {
        if let Some(open) = self.calls.remove(&answer.ticket) {
            let elapsed = open.since.elapsed();
            // The caller may have gone away meanwhile.
            let _ = open.answer.send(CallAnswered { result: answer.result, elapsed });
        }
    }

    fn publish(&self) {
        let ready = self.node.is_ready();
        let statistics = self.node.statistics();
        self.snapshot.send_if_modified(|shown| {
            let assignment = self.node.assignment();
            let same = shown.assignment.as_ref() == assignment
                && (shown.client, shown.ready) == (self.node.client_id(), ready)
                && shown.statistics == statistics;
            if !same {
                *shown = Snapshot {
                    client: self.node.client_id(),
                    assignment: assignment.cloned(),
                    ready,
                    statistics,
                };
            }
            !same
        });
    }

    /// Lets go of whoever waits for the first session, once there is one. Returns the end, should
    /// there be none.
    fn first_session(&mut self) -> Option<End> {
        if self.node.is_ready() {
            let first = self.first.take()?;
            return first.done.send(Ok(())).is_err().then_some(End::Closed(None));
        }
        let routers = self.routers.len();
        self.first.take_if(|first| first.attempts.len() >= routers).map(End::Failed)
    }
}
