//! Who exists and who is gone: SWIM, by the `foca` crate, without its surroundings.
//!
//! A member asks another one each second whether it is there. Who does not answer is asked through
//! others, then suspected, and called down if it does not object in time. News of members rides on
//! these questions and answers, so it reaches everybody without anybody knowing everybody.
//!
//! This is the slow and global truth. Nobody's requests wait for it: what a router sees on its own
//! links is faster. It decides whom to dial, and says of a silent member at last that it is gone.

mod codec;
#[cfg(test)]
mod tests;
mod timing;

use crate::wire::backplane::{Gossip, GossipState, MemberId, Role};
use crate::wire::codec::MAX_VARINT;
use crate::wire::{DecodeError, Frame, Name, Time};
use codec::Codec;
use foca::{AccumulatingRuntime, Foca, NoCustomBroadcast, OwnedNotification, Timer};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Members that are kept in mind, those that are gone included. More are not believed in.
pub const MAX_MEMBERS: usize = 1024;
/// A machine whose own loop stood still for so long blames nobody for the silence meanwhile.
const OWN_PAUSE: Duration = Duration::from_millis(500);

/// Role and name, which together belong to one member.
pub type MemberKey = (Role, Name);

impl foca::Identity for MemberId {
    type Addr = MemberKey;

    /// Who is called down and is not goes on as a later run. It overtakes no real one: those differ
    /// by the microseconds that a start takes.
    fn renew(&self) -> Option<Self> {
        let incarnation = self.incarnation.checked_add(1).filter(|next| *next <= MAX_VARINT)?;
        Some(Self { incarnation, ..self.clone() })
    }

    fn addr(&self) -> MemberKey {
        (self.role, self.name.clone())
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.incarnation, self.address) > (adversary.incarnation, adversary.address)
    }
}

/// What a member wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a GOSSIP to a member, if it can be reached.
    Send {
        /// To whom.
        to: MemberId,
        /// What.
        frame: Frame,
    },
    /// A member exists: a new one, or a later run or another address of one that existed.
    Up(MemberId),
    /// A member is gone: it said so, or nobody reached it and it did not object.
    Down(MemberId),
}

/// Why a GOSSIP was refused. Nothing has been changed by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The bytes are not a GOSSIP.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It was said in another one's name than the connection's certificate vouches for.
    #[error("it says that it is from {}, which is not at the other end", .0.1)]
    NotItsOwn(MemberKey),
    /// There are too many members.
    #[error("it tells of more members than {MAX_MEMBERS}")]
    TooMany,
}

/// A member, as it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which run of which member.
    pub member: MemberId,
    /// What is thought of it.
    pub state: GossipState,
}

impl Known {
    /// The word for its state.
    pub fn state_word(&self) -> &'static str {
        match self.state {
            GossipState::Alive => "alive",
            GossipState::Suspect => "suspect",
            GossipState::Down => "down",
        }
    }
}

/// One member's view of all members.
pub struct Membership {
    foca: Foca<MemberId, Codec, StdRng, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<MemberId>,
    /// What foca wants to be reminded of, and a number that keeps the order.
    timers: BTreeMap<(Time, u64), Timer<MemberId>>,
    next_timer: u64,
    /// Who is up, as far as outputs have told.
    up: BTreeMap<MemberKey, MemberId>,
    left: bool,
    outputs: VecDeque<Output>,
}

impl Membership {
    /// A member that knows nobody.
    pub fn new(own: MemberId, seed: [u8; 32]) -> Self {
        Self {
            foca: Foca::new(own, timing::config(), StdRng::from_seed(seed), Codec),
            runtime: AccumulatingRuntime::new(),
            timers: BTreeMap::new(),
            next_timer: 0,
            up: BTreeMap::new(),
            left: false,
            outputs: VecDeque::new(),
        }
    }

    /// Asks a member that was met to be let in, which is the way into its cluster.
    pub fn join(&mut self, now: Time, seed: MemberId) {
        if self.left || seed.role == self.own().role && seed.name == self.own().name {
            return;
        }
        self.turn(now, |foca, runtime| foca.announce(seed, runtime));
    }

    /// A GOSSIP came from the member at the other end of a connection.
    ///
    /// # Errors
    /// It is malformed, or not that member's to say.
    pub fn handle_gossip(
        &mut self,
        now: Time,
        peer: (Role, &Name),
        frame: &Frame,
    ) -> Result<(), Refused> {
        let payload = frame.payload();
        let bytes = payload.as_slice();
        let gossip = Gossip::decode(payload)?;
        if (gossip.from.role, &gossip.from.name) != peer {
            return Err(Refused::NotItsOwn((gossip.from.role, gossip.from.name)));
        }
        if self.left {
            return Ok(());
        }
        if self.with_strangers_of(&gossip) > MAX_MEMBERS {
            return Err(Refused::TooMany);
        }
        self.turn(now, |foca, runtime| foca.handle_data(bytes, runtime));
        Ok(())
    }

    /// Time passed: call at the moment of [`Membership::poll_timeout`] at the latest.
    pub fn handle_timeout(&mut self, now: Time) {
        let Some(((due, _), _)) = self.timers.first_key_value() else {
            return;
        };
        let late = now.since(*due);
        if late >= OWN_PAUSE {
            // Answers may lie unread, and objections too: everybody gets the time again.
            let timers = std::mem::take(&mut self.timers);
            self.timers =
                timers.into_iter().map(|((due, at), it)| ((due + late, at), it)).collect();
        }
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            let timer = entry.remove();
            self.turn(now, |foca, runtime| foca.handle_timer(timer, runtime));
        }
    }

    /// When [`Membership::handle_timeout`] must be called next; `None` for never.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.first_key_value().map(|((due, _), _)| *due)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// This member can be dialled at another address from now on.
    pub fn set_address(&mut self, now: Time, address: std::net::SocketAddr) {
        let renewed = foca::Identity::renew(self.own()).filter(|it| it.address != Some(address));
        if let Some(renewed) = renewed.filter(|_| !self.left) {
            let own = MemberId { address: Some(address), ..renewed };
            self.turn(now, |foca, runtime| foca.change_identity(own, runtime));
        }
    }

    /// Tells the others that this member goes. It hears nothing from then on.
    pub fn leave(&mut self, now: Time) {
        if !self.left {
            self.turn(now, |foca, runtime| foca.leave_cluster(runtime));
            self.left = true;
            self.timers.clear();
        }
    }

    /// This member, as others know it.
    pub fn own(&self) -> &MemberId {
        self.foca.identity()
    }

    /// Whether no other member is known to exist.
    pub fn is_alone(&self) -> bool {
        self.foca.num_members() == 0
    }

    /// All other members, those that are gone included, by role and name.
    pub fn members(&self) -> Vec<Known> {
        let others = self.foca.iter_membership_state().filter(|it| !self.is_own(it.id()));
        let mut members: Vec<_> = others
            .map(|it| Known { member: it.id().clone(), state: codec::state_of(it.state()) })
            .collect();
        members
            .sort_by(|a, b| (a.member.role, &a.member.name).cmp(&(b.member.role, &b.member.name)));
        members
    }

    /// How many members there would be with those that a GOSSIP tells of.
    fn with_strangers_of(&self, gossip: &Gossip) -> usize {
        let known = self.foca.iter_membership_state().len();
        if known + 1 + gossip.updates.len() <= MAX_MEMBERS {
            return known;
        }
        let told = gossip.updates.iter().map(|update| &update.member);
        let is_known = |told: &MemberId| {
            let same = |known: &MemberId| known.role == told.role && known.name == told.name;
            self.is_own(told) || self.foca.iter_membership_state().any(|it| same(it.id()))
        };
        known + told.chain([&gossip.from]).filter(|told| !is_known(told)).count()
    }

    fn is_own(&self, member: &MemberId) -> bool {
        member.role == self.own().role && member.name == self.own().name
    }

    /// Gives foca an input, then collects what it wants done.
    fn turn(
        &mut self,
        now: Time,
        input: impl FnOnce(
            &mut Foca<MemberId, Codec, StdRng, NoCustomBroadcast>,
            &mut AccumulatingRuntime<MemberId>,
        ) -> Result<(), foca::Error>,
    ) {
        // An error means that foca ignored what it was told, or mended its own state: a question
        // that makes no sense, a reminder of something that is over.
        let _ = input(&mut self.foca, &mut self.runtime);
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.next_timer += 1;
            self.timers.insert((now + after, self.next_timer), timer);
        }
        let mut changed = false;
        while let Some(notification) = self.runtime.to_notify() {
            changed |= matches!(
                notification,
                OwnedNotification::MemberUp(_)
                    | OwnedNotification::MemberDown(_)
                    | OwnedNotification::Rename(..)
            );
        }
        if changed {
            self.tell_changes();
        }
        while let Some((to, bytes)) = self.runtime.to_send() {
            let known = self.foca.iter_members().find(|known| *known.id() == to);
            // foca 2.0.0 calls a suspected member down also when it has objected in time: it would
            // come back as another run for nothing, each time that a question went unanswered.
            if known.is_some() && codec::calls_down(&bytes) {
                continue;
            }
            // Whoever was frozen has missed the news that it is suspected, and must hear of it to
            // object (Dadgar, Phillips, Currey: Lifeguard, 2018).
            let suspect = known.filter(|known| known.state() == foca::State::Suspect);
            let frame = match suspect {
                Some(suspect) => codec::frame_with(&bytes, suspect),
                None => codec::frame(&bytes),
            };
            self.outputs.push_back(Output::Send { to, frame });
        }
    }

    /// What became of members since it was told last.
    fn tell_changes(&mut self) {
        let active = self.foca.iter_members().map(foca::Member::id);
        let up: BTreeMap<MemberKey, MemberId> = active
            .filter(|member| !self.is_own(member))
            .map(|member| ((member.role, member.name.clone()), member.clone()))
            .collect();
        let before = std::mem::replace(&mut self.up, up);
        for (key, member) in &self.up {
            if before.get(key) != Some(member) {
                self.outputs.push_back(Output::Up(member.clone()));
            }
        }
        for (key, member) in before {
            if !self.up.contains_key(&key) {
                self.outputs.push_back(Output::Down(member));
            }
        }
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("own", self.own()).finish_non_exhaustive()
    }
}
