//! Frames that come back as they are: what the generator and the transport cost by themselves.
//!
//! The peer sends every byte of every bidirectional stream back on the same stream. There is no
//! HELLO; a frame has the size and the shape of a GET, and its answer is the same frame.

use super::LoadError;
use super::frames;
use super::pace::Pace;
use super::session::lost;
use super::shared::Shared;
use super::tally::{FailureKind, ReplyKind};
use super::worker::Place;
use crate::wire::lane::Validator;
use bytes::{Buf, Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::Notify;

/// Chunks that are read at a time, at the most.
const CHUNKS: usize = 32;
/// Makes the slot of each frame four bytes long, and the frame 20, as an answer of a router's is.
const FIRST_SLOT: u64 = 1 << 14;

struct Echo<'a> {
    shared: &'a Rc<Shared>,
    pace: &'a Pace,
    bell: &'a Notify,
    /// The planned time of what is in flight, by request id.
    planned: Vec<Option<Instant>>,
    free: VecDeque<usize>,
    out: BytesMut,
    rest: BytesMut,
    now: Instant,
}

/// Runs one connection to the end.
pub(super) async fn run(shared: Rc<Shared>, place: Place, pace: Rc<Pace>) -> Result<(), LoadError> {
    let address = shared.config.target.address(place.of_run, 0);
    let failed = |why: String| LoadError::at(address, &why);
    let turn = shared.dialing.acquire().await.expect("it is never closed");
    let connection = shared.dialer.connect(place.of_worker, address, true).await;
    drop(turn);
    let connection = connection.map_err(|lost| failed(lost.reason))?;
    let _registered = shared.register(&connection);
    let streams = connection.open_bi().await;
    let (mut send, mut receive) = streams.map_err(|why| failed(why.to_string()))?;
    let in_flight = shared.config.in_flight;
    let mut echo = Echo {
        shared: &shared,
        pace: &pace,
        bell: &place.bell,
        planned: vec![None; in_flight],
        free: (0..in_flight).collect(),
        out: BytesMut::new(),
        rest: BytesMut::new(),
        now: Instant::now(),
    };
    shared.is_ready();
    loop {
        echo.ask_all();
        if echo.free.len() == in_flight && shared.is_over(echo.now) {
            return Ok(());
        }
        if let Err(why) = echo.turn(&mut send, &mut receive).await {
            for planned in echo.planned.iter().flatten() {
                shared.settle(*planned, echo.now, Err(FailureKind::ConnectionLost));
            }
            return Err(failed(lost(&connection, why).reason));
        }
    }
}

impl Echo<'_> {
    fn ask_all(&mut self) {
        while let Some(id) = self.free.front().copied() {
            let Some(planned) = self.shared.take(self.pace, self.now) else {
                return;
            };
            self.free.pop_front();
            self.planned[id] = Some(planned);
            write_frame(&mut self.out, id as u64);
        }
    }

    async fn turn(
        &mut self,
        send: &mut SendStream,
        receive: &mut RecvStream,
    ) -> Result<(), String> {
        let mut chunks = [const { Bytes::new() }; CHUNKS];
        tokio::select! {
            biased;
            written = send.write(&self.out), if !self.out.is_empty() => {
                self.out.advance(written.map_err(|why| why.to_string())?);
            }
            read = receive.read_chunks(&mut chunks) => {
                let count = read.map_err(|why| why.to_string())?;
                self.now = Instant::now();
                for chunk in &chunks[..count.ok_or("it ended the lane")?] {
                    self.rest.extend_from_slice(chunk);
                    self.read()?;
                }
            }
            () = self.bell.notified() => self.now = Instant::now(),
        }
        Ok(())
    }

    /// Takes all whole frames.
    fn read(&mut self) -> Result<(), String> {
        let mut used = 0;
        while let Some(raw) = frames::first_frame(&self.rest[used..])? {
            let whole = &self.rest[used..used + raw.size];
            used += raw.size;
            let id = frames::request_id(raw.payload).map_or(u64::MAX, |(id, _)| id);
            let place = usize::try_from(id).unwrap_or(usize::MAX);
            let Some(planned) = self.planned.get_mut(place).and_then(Option::take) else {
                self.shared.stray(FailureKind::UnknownRequest, self.now);
                continue;
            };
            let mut sent = BytesMut::with_capacity(whole.len());
            write_frame(&mut sent, id);
            let is_right = sent[..] == *whole;
            let outcome = if is_right { Ok(ReplyKind::Echo) } else { Err(FailureKind::WrongBytes) };
            self.free.push_back(place);
            self.shared.settle(planned, self.now, outcome);
        }
        self.rest.advance(used);
        Ok(())
    }
}

fn write_frame(out: &mut BytesMut, id: u64) {
    let validator = Validator::Crc { crc: id as u32, length: u64::from(u32::MAX) };
    frames::write_get(out, id, FIRST_SLOT + id, None, &validator);
}
