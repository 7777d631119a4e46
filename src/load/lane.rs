//! One lane, kept full: whatever became free in a turn is asked again in one write.
//!
//! A request has a *position*, one for each that may be in flight. Slots are dealt out to
//! positions, so that no slot is ever asked for twice at a time, and a request id leads to its
//! position without a search: it is four times the position, plus the number of the position's
//! request modulo four, by which an answer that comes twice is noticed.

mod answers;

use super::bodies::{BodyStream, Head};
use super::config::Mode;
use super::pace::Pace;
use super::session::{self, Inbox, Lane};
use super::shared::Shared;
use super::slots::{Ask, Slots};
use super::tally::FailureKind;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

/// Chunks that are read at a time, at the most: a few datagrams' worth.
const CHUNKS: usize = 32;
/// Of so many requests of the mixed mode, one is for what has changed, and one for what is new.
const MIXED_EVERY: u32 = 10;

/// Why a lane is no longer kept full.
#[derive(Debug)]
pub(super) enum End {
    /// The run is over, and everything is answered.
    Finished,
    /// The connection is gone, or of no more use: why.
    Lost(String),
    /// It makes no sense to go on: why.
    Hopeless(String),
}

/// What all that is in flight fails with, and why the lane ends.
type Broken = (FailureKind, End);

/// What a lane keeps from one connection to the next.
pub(super) struct Holdings {
    pub(super) slots: Slots,
    /// The next slot to be asked for before the run.
    next_fill: usize,
    /// Requests of the mixed mode so far.
    mixed: u32,
    /// Whole items so far.
    full: u32,
    retries: u32,
    /// Whether the run knows that this connection is ready.
    pub(super) is_ready: bool,
}

impl Holdings {
    pub(super) fn new(slots: Slots) -> Self {
        Self { slots, next_fill: 0, mixed: 0, full: 0, retries: 0, is_ready: false }
    }
}

/// A place for a request in flight.
#[derive(Default)]
struct Position {
    /// How many of its slots it has asked for.
    turns: usize,
    asked: Option<Asked>,
    /// Number of its request, modulo four.
    generation: u8,
}

/// A request in flight.
struct Asked {
    planned: Instant,
    slot: usize,
    ask: Ask,
    /// Whether it named the key.
    is_named: bool,
    /// Only of a body on a stream, as far as it has come.
    body: Option<Box<Pending>>,
}

/// A body of which one part is there.
enum Pending {
    Head(Head),
    Stream(BodyStream),
    Reading,
}

/// One lane, while its connection stands.
pub(super) struct Filler<'a> {
    shared: &'a Rc<Shared>,
    pace: &'a Pace,
    inbox: &'a Rc<Inbox>,
    lane: Lane,
    holdings: &'a mut Holdings,
    positions: Vec<Position>,
    free: VecDeque<usize>,
    out: BytesMut,
    /// The start of a frame whose end is still to come.
    rest: BytesMut,
    now: Instant,
    is_leaving: bool,
}

impl<'a> Filler<'a> {
    pub(super) fn new(
        shared: &'a Rc<Shared>,
        pace: &'a Pace,
        inbox: &'a Rc<Inbox>,
        lane: Lane,
        holdings: &'a mut Holdings,
    ) -> Self {
        let in_flight = shared.config.in_flight;
        Self {
            shared,
            pace,
            inbox,
            lane,
            holdings,
            positions: (0..in_flight).map(|_| Position::default()).collect(),
            free: (0..in_flight).collect(),
            out: BytesMut::new(),
            rest: BytesMut::new(),
            now: Instant::now(),
            is_leaving: false,
        }
    }

    /// Keeps it full to the end. Nothing is in flight afterwards.
    pub(super) async fn run(mut self) -> End {
        let (failure, end) = loop {
            match self.turn().await {
                Ok(()) => {}
                Err((failure, end)) => break (failure, end),
            }
        };
        for asked in self.positions.iter_mut().filter_map(|position| position.asked.take()) {
            if asked.ask != Ask::Fill {
                self.shared.settle(asked.planned, self.now, Err(failure));
            }
        }
        end
    }

    /// Asks for all that may be asked for, then waits until something comes.
    async fn turn(&mut self) -> Result<(), Broken> {
        self.ask_all()?;
        let mut chunks = [const { Bytes::new() }; CHUNKS];
        tokio::select! {
            biased;
            written = self.lane.send.write(&self.out), if !self.out.is_empty() => {
                let written = written.map_err(|why| self.lost(why))?;
                self.out.advance(written);
            }
            read = self.lane.receive.read_chunks(&mut chunks) => {
                let count = read.map_err(|why| self.lost(why))?;
                let count = count.ok_or_else(|| self.lost("it ended the lane"))?;
                self.now = Instant::now();
                for chunk in &mut chunks[..count] {
                    self.read(&std::mem::take(chunk))?;
                }
            }
            () = self.inbox.bell.notified() => {
                self.now = Instant::now();
                for message in self.inbox.take() {
                    self.take(message)?;
                }
            }
        }
        Ok(())
    }

    /// Asks for all that may be asked for now.
    fn ask_all(&mut self) -> Result<(), Broken> {
        while let Some(position) = self.free.front().copied() {
            if self.holdings.next_fill < self.holdings.slots.len() {
                let slot = self.holdings.next_fill;
                self.holdings.next_fill += 1;
                self.ask(position, slot, Ask::Fill, self.now);
            } else if let Some(planned) = self.next_planned() {
                let (slot, ask) = self.next_slot(position);
                self.ask(position, slot, ask, planned);
            } else {
                break;
            }
            self.free.pop_front();
        }
        if self.free.len() < self.positions.len() {
            return Ok(());
        }
        if !self.holdings.is_ready {
            self.holdings.is_ready = true;
            self.shared.is_ready();
        }
        match () {
            () if self.shared.is_over(self.now) => Err((FailureKind::Timeout, End::Finished)),
            () if self.is_leaving => Err(self.lost("it wants no more requests")),
            () => Ok(()),
        }
    }

    fn next_planned(&self) -> Option<Instant> {
        if self.is_leaving { None } else { self.shared.take(self.pace, self.now) }
    }

    /// The next of the slots that were dealt out to a position, and how to ask for it.
    fn next_slot(&mut self, position: usize) -> (usize, Ask) {
        let slots = self.holdings.slots.len();
        let stride = self.positions.len();
        let state = &mut self.positions[position];
        let mut slot = position + state.turns * stride;
        if slot >= slots {
            state.turns = 0;
            slot = position;
        }
        state.turns += 1;
        let holds = self.holdings.slots.holds(slot);
        (slot, self.next_ask(holds))
    }

    fn next_ask(&mut self, holds: bool) -> Ask {
        match self.shared.config.mode {
            Mode::UseCached if holds => Ask::Same,
            Mode::Mixed => {
                self.holdings.mixed = (self.holdings.mixed + 1) % MIXED_EVERY;
                match self.holdings.mixed {
                    0 => Ask::New,
                    number if number == MIXED_EVERY / 2 => Ask::Changed,
                    _ if holds => Ask::Same,
                    _ => Ask::Changed,
                }
            }
            _ => Ask::Changed,
        }
    }

    fn ask(&mut self, position: usize, slot: usize, ask: Ask, planned: Instant) {
        let state = &mut self.positions[position];
        state.generation = (state.generation + 1) % 4;
        let id = (position as u64) * 4 + u64::from(state.generation);
        let claim = self.shared.config.claim;
        let is_named = self.holdings.slots.ask(&mut self.out, id, slot, ask, claim);
        state.asked = Some(Asked { planned, slot, ask, is_named, body: None });
    }

    fn lost(&self, why: impl ToString) -> Broken {
        let why = session::lost(&self.lane.connection, why).reason;
        (FailureKind::ConnectionLost, End::Lost(why))
    }
}
