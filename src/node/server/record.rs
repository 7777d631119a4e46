//! What a worker keeps of one client, of another server, and of being back after a pause.

use super::names::{NameIndex, Names};
use super::{ClientRole, Link};
use crate::mirror::Mirror;
use crate::wire::backplane::{Forward, MAX_FORMER};
use crate::wire::lane::MAX_SLOTS;
use crate::wire::types::{MAX_CHANGE, MAX_TERM};
use crate::wire::{Assignment, ClientId, Epoch, Name, Time};
use std::collections::{BTreeSet, VecDeque};

/// What a server knows of one client. There are a million of them, so it is packed: servers stand
/// in it by their numbers, counters in as many bits as the protocol gives them, and what few
/// clients have stands elsewhere.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) mirror: Mirror,
    /// Entries sent to the alternate, or received from the primary, since MIRROR_BEGIN.
    pub(super) sequence: u64,
    epoch: PackedEpoch,
    /// Of a primary's client the router that asked last, of an alternate's the run of its primary;
    /// one more than its number. Zero stands for none.
    other_end: u64,
    /// Servers to which a release is owed, if there are any.
    former: Option<Box<[Option<NameIndex>; MAX_FORMER]>>,
    /// Entries that were sent and that the alternate has not said it has. Counts no further than
    /// it can.
    unacked: u32,
    /// One more than the slot from which on the mirror is still to be sent to the alternate, or
    /// zero.
    rebuild: u32,
    /// When the client last asked here; of an alternate, when its primary was last known to live.
    asked: Ticks,
    /// The second in which it is looked at, whether it has been idle for too long.
    pub(super) filed: u32,
    /// The choice of this alternate, if that is still remembered.
    pub(super) choice: u32,
    /// The other mirror's holder, for a primary.
    pub(super) alternate: Option<NameIndex>,
    pub(super) role: ClientRole,
}

const _: () = assert!(size_of::<(ClientId, Record)>() <= 88, "beside 128 bytes that it may take");
const _: () = assert!(MAX_SLOTS < u32::MAX as u64);

impl Record {
    /// A record without a mirror, and without the other server. `primary` is the epoch's.
    pub(super) fn new(role: ClientRole, epoch: &Epoch, primary: NameIndex, now: Time) -> Self {
        Self {
            mirror: Mirror::default(),
            sequence: 0,
            epoch: PackedEpoch::new(epoch, primary),
            other_end: 0,
            former: None,
            unacked: 0,
            rebuild: 0,
            asked: Ticks::at(now),
            filed: 0,
            choice: 0,
            alternate: None,
            role,
        }
    }

    pub(super) fn epoch(&self, names: &Names) -> Epoch {
        let (term, change) = self.epoch.counters();
        Epoch { term, change, primary: names.name(self.epoch.primary()).clone() }
    }

    /// Whether this is its epoch.
    pub(super) fn is_in(&self, epoch: &Epoch, names: &Names) -> bool {
        self.counters() == (epoch.term, epoch.change)
            && *names.name(self.primary()) == epoch.primary
    }

    /// Term and change of the epoch.
    pub(super) fn counters(&self) -> (u64, u64) {
        self.epoch.counters()
    }

    /// The server that the epoch makes primary.
    pub(super) fn primary(&self) -> NameIndex {
        self.epoch.primary()
    }

    /// Another epoch of the same primary.
    pub(super) fn set_epoch(&mut self, epoch: &Epoch) {
        self.epoch = PackedEpoch::new(epoch, self.primary());
    }

    pub(super) fn alternate<'a>(&self, names: &'a Names) -> Option<&'a Name> {
        self.alternate.map(|alternate| names.name(alternate))
    }

    pub(super) fn assignment(&self, own: &Name, names: &Names) -> Assignment {
        let alternate = match self.role {
            ClientRole::Primary => self.alternate(names).cloned(),
            ClientRole::Alternate => Some(own.clone()),
        };
        Assignment { epoch: self.epoch(names), alternate }
    }

    /// Servers to which a release is owed, kept by the alternate in case it must pay.
    pub(super) fn former<'a>(&self, names: &'a Names) -> impl Iterator<Item = &'a Name> {
        self.former_indexes().map(|index| names.name(index))
    }

    fn former_indexes(&self) -> impl Iterator<Item = NameIndex> {
        self.former.as_deref().copied().into_iter().flatten().flatten()
    }

    /// Keeps the first ones, as many as a frame may carry.
    pub(super) fn set_former(&mut self, former: impl IntoIterator<Item = NameIndex>) {
        let mut kept = [None; MAX_FORMER];
        kept.iter_mut().zip(former).for_each(|(place, index)| *place = Some(index));
        self.former = kept[0].map(|_| Box::new(kept));
    }

    /// Nothing is owed to that server any more.
    pub(super) fn forget_former(&mut self, gone: NameIndex) {
        if self.former.is_some() {
            let rest: Vec<_> = self.former_indexes().filter(|index| *index != gone).collect();
            self.set_former(rest);
        }
    }

    /// A release is owed to that server, the newest one.
    pub(super) fn add_former(&mut self, newest: NameIndex) {
        self.forget_former(newest);
        let all: Vec<_> = [newest].into_iter().chain(self.former_indexes()).collect();
        self.set_former(all);
    }

    /// All servers that it names.
    pub(super) fn names_used(&self) -> impl Iterator<Item = NameIndex> {
        self.former_indexes().chain([self.primary()]).chain(self.alternate)
    }

    /// The client asked, by way of a router.
    pub(super) fn note_request(&mut self, now: Time, link: &Link) {
        self.set_asked(now);
        if let (ClientRole::Primary, Link::Router(number)) = (self.role, link) {
            self.other_end = number + 1;
        }
    }

    /// The router that asked last: it is told of a new alternate.
    pub(super) fn router(&self) -> Option<Link> {
        let number = self.other_end.checked_sub(1)?;
        (self.role == ClientRole::Primary).then_some(Link::Router(number))
    }

    /// Which run of the primary made this server the alternate, as far as is known.
    pub(super) fn run(&self) -> Option<u64> {
        let run = self.other_end.checked_sub(1)?;
        (self.role == ClientRole::Alternate).then_some(run)
    }

    /// Notes the run of an alternate's primary.
    pub(super) fn set_run(&mut self, run: Option<u64>) {
        self.other_end = run.map_or(0, |run| run + 1);
    }

    /// When the client last asked here, to a sixteenth of a second.
    pub(super) fn asked(&self, now: Time) -> Time {
        self.asked.time(now)
    }

    pub(super) fn set_asked(&mut self, now: Time) {
        self.asked = Ticks::at(now);
    }

    /// So many more entries go to the alternate.
    pub(super) fn count_sent(&mut self, entries: usize) {
        self.sequence += entries as u64;
        self.unacked = self.unacked.saturating_add(entries as u32);
    }

    /// The alternate has the entries up to this one.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        let rest = self.sequence.saturating_sub(sequence);
        self.unacked = self.unacked.min(u32::try_from(rest).unwrap_or(u32::MAX));
    }

    /// Entries that were sent and not acknowledged.
    pub(super) fn unacked(&self) -> u64 {
        self.unacked.into()
    }

    /// The slot from which on the mirror is still to be sent to the alternate.
    pub(super) fn rebuild(&self) -> Option<u64> {
        self.rebuild.checked_sub(1).map(u64::from)
    }

    pub(super) fn set_rebuild(&mut self, from: Option<u64>) {
        self.rebuild = from.map_or(0, |slot| slot as u32 + 1);
    }

    /// Another alternate: nothing was sent to it yet.
    pub(super) fn restart_sequence(&mut self) {
        (self.sequence, self.unacked, self.rebuild) = (0, 0, 0);
    }
}

/// An epoch in 54 bits: term, change, and the number of the primary.
#[derive(Clone, Copy, Debug)]
struct PackedEpoch(u64);

const CHANGE_SHIFT: u32 = u16::BITS;
const TERM_SHIFT: u32 = CHANGE_SHIFT + MAX_CHANGE.count_ones();
const _: () = assert!(TERM_SHIFT + MAX_TERM.count_ones() <= u64::BITS);

impl PackedEpoch {
    fn new(epoch: &Epoch, primary: NameIndex) -> Self {
        assert!(epoch.term <= MAX_TERM && epoch.change <= MAX_CHANGE, "the decoder's limits");
        let counters = epoch.term << TERM_SHIFT | epoch.change << CHANGE_SHIFT;
        Self(counters | u64::from(primary.number()))
    }

    fn counters(self) -> (u64, u64) {
        (self.0 >> TERM_SHIFT, self.0 >> CHANGE_SHIFT & MAX_CHANGE)
    }

    fn primary(self) -> NameIndex {
        NameIndex::from_number(self.0 as u16).expect("it was packed from an index")
    }
}

/// A moment to a sixteenth of a second, never before the one that it was made from. It comes round
/// after eight years, so that only moments within four years of now can be told.
#[derive(Clone, Copy, Debug)]
struct Ticks(u32);

const TICK_MICROS: u64 = 1_000_000 / 16;

impl Ticks {
    fn at(time: Time) -> Self {
        Self(time.as_micros().div_ceil(TICK_MICROS) as u32)
    }

    fn time(self, now: Time) -> Time {
        let ticks = now.as_micros() / TICK_MICROS;
        let ahead = self.0.wrapping_sub(ticks as u32).cast_signed();
        Time::from_micros(ticks.saturating_add_signed(ahead.into()) * TICK_MICROS)
    }
}

/// Another server, as far as its links say.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) workers: u64,
    pub(super) version: u64,
}

/// The state of being back after a pause.
#[derive(Debug)]
pub(super) struct Return {
    pub(super) round: u64,
    pub(super) since: Time,
    pub(super) repeat_at: Time,
    pub(super) awaited: BTreeSet<(Name, u64)>,
    /// Requests, and when each came.
    pub(super) held_back: VecDeque<(Time, Link, Forward)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: u64) -> Name {
        Name::new(&format!("server-{number}")).expect("a name")
    }

    fn record(epoch: &Epoch, names: &mut Names) -> Record {
        let primary = names.add(&epoch.primary).expect("there is room");
        Record::new(ClientRole::Primary, epoch, primary, Time::default())
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            term in 1..=MAX_TERM,
            change in 0..=MAX_CHANGE,
            number: u64,
            slot in prop::option::of(0..MAX_SLOTS),
            age in 0..100_000_000_000_000u64,
        ) {
            let mut names = Names::new(&name(0));
            (0..number % 300).for_each(|number| assert!(names.add(&name(number)).is_some()));
            let epoch = Epoch { term, change, primary: name(number % 300) };
            let mut record = record(&epoch, &mut names);
            prop_assert_eq!(record.epoch(&names), epoch);
            record.set_rebuild(slot);
            prop_assert_eq!(record.rebuild(), slot);
            let link = Link::Router(number >> 2);
            let asked = Time::from_micros(1_700_000_000_000_000);
            prop_assert_eq!(record.router(), None);
            record.note_request(asked, &link);
            prop_assert_eq!((record.router(), record.run()), (Some(link), None));
            let told = record.asked(asked + std::time::Duration::from_micros(age));
            prop_assert!(told >= asked && told.since(asked).as_micros() < TICK_MICROS.into());
        }
    }

    #[test]
    fn former_servers_are_distinct_and_the_newest_ones() {
        let mut names = Names::new(&name(0));
        let mut record = record(&Epoch::new(1, name(0)), &mut names);
        let indexes: Vec<_> = (0..20).map(|number| names.add(&name(number)).unwrap()).collect();
        let former = |record: &Record| -> Vec<Name> { record.former(&names).cloned().collect() };
        record.add_former(indexes[1]);
        record.add_former(indexes[2]);
        record.add_former(indexes[1]);
        assert_eq!(former(&record), [name(1), name(2)]);
        record.forget_former(indexes[1]);
        assert_eq!(former(&record), [name(2)]);
        record.forget_former(indexes[2]);
        assert!(record.former.is_none());
        (3..20).for_each(|number| record.add_former(indexes[number]));
        assert_eq!(
            former(&record),
            (0..MAX_FORMER as u64).map(|at| name(19 - at)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_is_sent_and_not_acknowledged_is_counted() {
        let mut record = record(&Epoch::new(1, name(0)), &mut Names::new(&name(0)));
        record.count_sent(1);
        record.count_sent(4);
        assert_eq!(record.sequence, 5);
        record.acknowledge(3);
        assert_eq!(record.unacked(), 2);
        record.acknowledge(2);
        assert_eq!(record.unacked(), 2, "it has more than that");
        record.acknowledge(9);
        assert_eq!(record.unacked(), 0, "more than was sent is no more than all");
    }
}
