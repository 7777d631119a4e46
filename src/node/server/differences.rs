//! Replies that bring the difference to what the client holds.
//!
//! A difference is made by the shell, off the event loop, once for each pair of versions; who needs
//! it meanwhile waits, and is decided anew then. Where too many are in work, or it would not save
//! enough, or the old bytes are not at hand any more, the item goes out whole.

use super::answer::Fresh;
use super::{Output, Pending, Server};
use crate::mirror::{Difference, Pair, delta};
use crate::wire::{Digest, Time};
use bytes::Bytes;

impl Server {
    /// The difference from what the client holds to the fresh version, if that is how it should
    /// come. `None` if it is being made, and the request waits for it.
    pub(super) fn difference(
        &mut self,
        pending: Pending,
        holds: Option<Digest>,
        fresh: &Fresh,
        body: &Bytes,
    ) -> Option<(Pending, Option<(Digest, Bytes)>)> {
        let may = pending.takes_deltas && fresh.known.is_shareable();
        let Some(old) = holds.filter(|_| may && delta::fits(body.len())) else {
            return Some((pending, None));
        };
        let pair = Pair { old, new: fresh.known.fingerprint().digest };
        match self.deltas.find(&pair) {
            Difference::Made(bytes) => {
                self.counters.deltas += 1;
                self.counters.delta_bytes += bytes.len() as u64;
                self.counters.delta_full_bytes += body.len() as u64;
                Some((pending, Some((old, bytes))))
            }
            Difference::NotWorthIt | Difference::Busy => Some((pending, None)),
            Difference::InWork => {
                self.awaiting.entry(pair).or_default().push((pending, fresh.clone()));
                None
            }
            Difference::Unknown => {
                let before = fresh.before.as_ref().filter(|(digest, _)| *digest == old);
                let before = before.map(|(_, bytes)| bytes.clone());
                let bytes = self.items.payload(&old).or(before);
                let bytes = bytes.filter(|old| delta::fits(old.len()));
                let Some(bytes) = bytes else {
                    return Some((pending, None));
                };
                self.deltas.begin(pair);
                self.awaiting.entry(pair).or_default().push((pending, fresh.clone()));
                let new = body.clone();
                self.outputs.push_back(Output::Differ { pair, old: bytes, new });
                None
            }
        }
    }

    /// A difference was made; none if it would not save enough.
    pub fn handle_difference(&mut self, now: Time, pair: Pair, made: Option<Bytes>) {
        self.turn(now);
        self.deltas.finish(pair, made);
        for (pending, fresh) in self.awaiting.remove(&pair).unwrap_or_default() {
            // Not asked for a second time: what was too large to be kept goes out whole.
            let takes_deltas =
                pending.takes_deltas && self.deltas.find(&pair) != Difference::Unknown;
            self.finish_fresh(now, Pending { takes_deltas, ..pending }, fresh);
        }
    }
}
