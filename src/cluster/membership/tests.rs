//! Several members on a network of virtual time, which loses, delays, cuts and replays.

use super::timing::SUSPICION;
use super::*;
use crate::wire::FrameType;
use crate::wire::backplane::{GossipKind, MemberUpdate};
use crate::wire::strategies;
use bytes::BytesMut;
use proptest::prelude::*;
use rand::RngExt;
use std::collections::BTreeSet;

/// How long a message takes.
const DELAY: Duration = Duration::from_millis(2);

/// A process that is a member.
struct Node {
    membership: Membership,
    told: Vec<Output>,
    /// Until when it stands still.
    frozen_until: Time,
}

/// A frame on its way.
struct Flight {
    from: MemberKey,
    to: MemberKey,
    frame: Frame,
}

struct World {
    now: Time,
    nodes: BTreeMap<MemberKey, Node>,
    flights: BTreeMap<(Time, u64), Flight>,
    sent: u64,
    rng: StdRng,
    /// Of a hundred frames, how many are lost.
    lost_percent: u32,
    /// Whether what is sent to a frozen process is lost: its connections break meanwhile.
    frozen_are_deaf: bool,
    /// Names that are cut off from all others.
    cut: BTreeSet<Name>,
    /// Every frame that was ever sent, to be replayed.
    recorded: Vec<Flight>,
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key(text: &str) -> MemberKey {
    let role = if text.starts_with('r') { Role::Router } else { Role::Server };
    (role, name(text))
}

fn member(text: &str, incarnation: u64) -> MemberId {
    let (role, name) = key(text);
    let port = 4000 + incarnation as u16;
    MemberId { role, name, incarnation, address: Some(([127, 0, 0, 1], port).into()) }
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            now: Time::from_micros(1_000_000_000),
            nodes: BTreeMap::new(),
            flights: BTreeMap::new(),
            sent: 0,
            rng: StdRng::seed_from_u64(seed),
            lost_percent: 0,
            frozen_are_deaf: false,
            cut: BTreeSet::new(),
            recorded: Vec::new(),
        }
    }

    /// Starts a run of a member, and has it meet `seed`.
    fn start(&mut self, text: &str, incarnation: u64, seed: &str) {
        let mut bytes = [0; 32];
        self.rng.fill(&mut bytes);
        let mut membership = Membership::new(member(text, incarnation), bytes);
        if let Some(met) = self.nodes.get(&key(seed)) {
            membership.join(self.now, met.membership.own().clone());
        }
        let node = Node { membership, told: Vec::new(), frozen_until: Time::default() };
        self.nodes.insert(key(text), node);
        self.collect(&key(text));
    }

    /// Six members of one cluster, who all know each other.
    fn cluster(seed: u64) -> Self {
        let mut world = Self::new(seed);
        for text in ["r-1", "r-2", "s-1", "s-2", "s-3", "s-4"] {
            world.start(text, 1, "r-1");
        }
        world.run(Duration::from_secs(30));
        world.assert_complete();
        world.forget_told();
        world
    }

    fn membership(&self, text: &str) -> &Membership {
        &self.nodes[&key(text)].membership
    }

    /// Takes a node's outputs.
    fn collect(&mut self, at: &MemberKey) {
        let node = self.nodes.get_mut(at).unwrap();
        while let Some(output) = node.membership.poll_output() {
            let Output::Send { to, frame } = output else {
                node.told.push(output);
                continue;
            };
            let flight = || Flight {
                from: at.clone(),
                to: (to.role, to.name.clone()),
                frame: frame.clone(),
            };
            self.recorded.push(flight());
            self.sent += 1;
            let is_cut = self.cut.contains(&at.1) != self.cut.contains(&to.name);
            if !is_cut && self.rng.random_range(0..100) >= self.lost_percent {
                self.flights.insert((self.now + DELAY, self.sent), flight());
            }
        }
    }

    fn deliver(&mut self, Flight { from, to, frame }: Flight) {
        if let Some(node) = self.nodes.get_mut(&to) {
            node.membership.handle_gossip(self.now, (from.0, &from.1), &frame).unwrap();
            self.collect(&to);
        }
    }

    /// Lets time pass.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let awake =
                |node: &Node| node.membership.poll_timeout().map(|due| due.max(node.frozen_until));
            let timer = self.nodes.iter().filter_map(|(at, node)| Some((awake(node)?, at))).min();
            let timer = timer.map(|(due, at)| (due, at.clone()));
            let flight = self.flights.keys().next().copied();
            match (timer.clone(), flight) {
                (_, Some((due, number)))
                    if due <= end && timer.as_ref().is_none_or(|(at, _)| due <= *at) =>
                {
                    self.now = self.now.max(due);
                    let flight = self.flights.remove(&(due, number)).unwrap();
                    let frozen = self.nodes.get(&flight.to).map(|node| node.frozen_until);
                    match frozen.filter(|until| *until > self.now) {
                        Some(_) if self.frozen_are_deaf => {}
                        // It lies in the process's socket.
                        Some(until) => drop(self.flights.insert((until, number), flight)),
                        None => self.deliver(flight),
                    }
                }
                (Some((due, at)), _) if due <= end => {
                    self.now = self.now.max(due);
                    self.nodes.get_mut(&at).unwrap().membership.handle_timeout(self.now);
                    self.collect(&at);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn freeze(&mut self, text: &str, duration: Duration) {
        let until = self.now + duration;
        self.nodes.get_mut(&key(text)).unwrap().frozen_until = until;
    }

    fn forget_told(&mut self) {
        self.nodes.values_mut().for_each(|node| node.told.clear());
    }

    /// Names that this member was told to be gone.
    fn gone(&self, text: &str) -> Vec<MemberId> {
        let gone = |output: &Output| match output {
            Output::Down(member) => Some(member.clone()),
            _ => None,
        };
        self.nodes[&key(text)].told.iter().filter_map(gone).collect()
    }

    /// Everybody holds everybody that runs to be up, in its newest run, and nobody else.
    fn assert_complete(&self) {
        let all: Vec<_> = self.nodes.values().map(|node| node.membership.own().clone()).collect();
        for (at, node) in &self.nodes {
            let others = all.iter().filter(|it| (it.role, &it.name) != (at.0, &at.1));
            let up = node.membership.up.values();
            assert!(up.eq(others), "{at:?} knows {:?}", node.membership.up);
        }
    }
}

#[test]
fn everybody_finds_everybody_by_one_seed_although_frames_are_lost() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.lost_percent = 20;
        for text in ["r-1", "r-2", "s-1", "s-2", "s-3", "s-4"] {
            // The word by which a member is let in may be lost too: it is repeated.
            world.start(text, 1, "r-1");
            while text != "r-1" && world.membership(text).is_alone() {
                let met = world.membership("r-1").own().clone();
                let now = world.now;
                world.nodes.get_mut(&key(text)).unwrap().membership.join(now, met);
                world.collect(&key(text));
                world.run(Duration::from_secs(1));
            }
        }
        world.run(Duration::from_secs(60));
        world.assert_complete();
    }
}

#[test]
fn nobody_is_called_gone_while_a_fifth_of_all_frames_is_lost() {
    for seed in 0..3 {
        let mut world = World::cluster(seed);
        world.lost_percent = 20;
        world.run(Duration::from_secs(200));
        for text in ["r-1", "r-2", "s-1", "s-2", "s-3", "s-4"] {
            assert_eq!(world.gone(text), [], "seed {seed}");
            // Nor was it told so, to come back for nothing.
            assert_eq!(world.membership(text).own(), &member(text, 1), "seed {seed}");
        }
    }
}

#[test]
fn a_member_that_starts_anew_is_the_later_run_everywhere() {
    for seed in 0..20 {
        let mut world = World::cluster(seed);
        world.start("s-2", 2, "r-2");
        world.run(Duration::from_secs(2));
        world.assert_complete();
        for text in ["r-1", "r-2", "s-1", "s-3", "s-4"] {
            let told = &world.nodes[&key(text)].told;
            assert_eq!(told, &[Output::Up(member("s-2", 2))], "seed {seed}");
        }
    }
}

#[test]
fn a_death_is_known_to_all_within_ten_seconds_and_not_before_five() {
    for seed in 0..20 {
        let mut world = World::cluster(seed);
        world.nodes.remove(&key("s-3"));
        world.run(SUSPICION);
        assert!(["r-1", "r-2", "s-1"].iter().all(|text| world.gone(text).is_empty()));
        world.run(Duration::from_secs(5));
        for text in ["r-1", "r-2", "s-1", "s-2", "s-4"] {
            assert_eq!(world.gone(text), [member("s-3", 1)], "seed {seed}");
            let known = world.membership(text).members();
            let row = known.iter().find(|row| row.member == member("s-3", 1)).unwrap();
            assert_eq!(row.state_word(), "down");
        }
    }
}

#[test]
fn whoever_leaves_is_gone_at_once() {
    for seed in 0..20 {
        let mut world = World::cluster(seed);
        let now = world.now;
        world.nodes.get_mut(&key("s-3")).unwrap().membership.leave(now);
        world.collect(&key("s-3"));
        world.run(Duration::from_secs(1));
        for text in ["r-1", "r-2", "s-1", "s-2", "s-4"] {
            assert_eq!(world.gone(text), [member("s-3", 1)], "seed {seed}");
        }
        // It hears no more, and does not come back by itself.
        world.run(Duration::from_secs(60));
        assert_eq!(world.membership("s-3").own(), &member("s-3", 1));
        assert_eq!(world.membership("s-3").poll_timeout(), None);
        assert_eq!(world.membership("r-1").up.len(), 4);
    }
}

#[test]
fn four_seconds_of_standstill_are_no_death() {
    for seed in 0..60 {
        let mut world = World::cluster(seed);
        world.frozen_are_deaf = seed % 2 == 0;
        world.run(Duration::from_millis(100 * seed));
        world.freeze("s-1", Duration::from_secs(4));
        world.run(Duration::from_secs(60));
        for text in ["r-1", "r-2", "s-1", "s-2", "s-3", "s-4"] {
            assert_eq!(world.gone(text), [], "seed {seed}: {text}");
        }
    }
}

#[test]
fn who_stood_still_for_long_comes_back_as_a_later_run_and_blames_nobody() {
    for seed in 0..20 {
        let mut world = World::cluster(seed);
        world.freeze("s-1", Duration::from_secs(30));
        world.run(Duration::from_secs(29));
        assert_eq!(world.gone("r-1"), [member("s-1", 1)]);
        world.run(Duration::from_secs(20));
        assert!(world.membership("s-1").own().incarnation > 1, "seed {seed}");
        world.assert_complete();
        assert_eq!(world.gone("s-1"), [], "seed {seed}");
    }
}

#[test]
fn old_runs_that_are_replayed_lose() {
    let mut world = World::cluster(7);
    world.start("s-2", 2, "r-1");
    world.run(Duration::from_secs(5));
    world.forget_told();
    let old: Vec<_> = std::mem::take(&mut world.recorded);
    let of_old_run = |flight: &Flight| {
        let gossip = Gossip::decode(flight.frame.payload()).unwrap();
        gossip.from == member("s-2", 1)
    };
    let old: Vec<_> = old.into_iter().filter(of_old_run).collect();
    assert!(old.len() > 30);
    for flight in old {
        world.deliver(flight);
        world.run(Duration::from_millis(20));
    }
    world.run(Duration::from_secs(30));
    // Nobody believed it; and the later run, which was told of the replies, is still who it was.
    world.assert_complete();
    for text in ["r-1", "r-2", "s-1", "s-3", "s-4"] {
        assert_eq!(world.gone(text), []);
    }
}

#[test]
fn halves_of_a_network_that_gave_each_other_up_find_together_again() {
    for seed in 0..10 {
        let mut world = World::cluster(seed);
        world.cut = [name("r-1"), name("s-1"), name("s-2")].into();
        world.run(Duration::from_secs(120));
        assert_eq!(world.membership("r-1").up.len(), 2);
        assert_eq!(world.membership("r-2").up.len(), 2);
        world.cut.clear();
        world.run(Duration::from_secs(60));
        world.assert_complete();
    }
}

#[test]
fn a_lie_about_a_death_is_put_right() {
    let mut world = World::cluster(3);
    let lie = MemberUpdate { member: member("s-2", 1), refuted: 9, state: GossipState::Down };
    let (from, to) = (member("s-1", 1), member("r-1", 1));
    let lie = Gossip { from, refuted: 0, to, kind: GossipKind::News, updates: vec![lie] };
    world.deliver(Flight { from: key("s-1"), to: key("r-1"), frame: lie.encode() });
    assert_eq!(world.gone("r-1"), [member("s-2", 1)]);
    world.run(Duration::from_secs(15));
    world.assert_complete();
}

#[test]
fn nobody_speaks_in_anothers_name() {
    let mut world = World::cluster(1);
    let (from, to) = (member("s-2", 5), member("r-1", 1));
    let forged = Gossip { from, refuted: 0, to, kind: GossipKind::Announce, updates: vec![] };
    let now = world.now;
    let node = world.nodes.get_mut(&key("r-1")).unwrap();
    let refused =
        node.membership.handle_gossip(now, (Role::Server, &name("s-1")), &forged.encode());
    assert_eq!(refused, Err(Refused::NotItsOwn(key("s-2"))));
    // A router's certificate is for no server of the same name either.
    let refused =
        node.membership.handle_gossip(now, (Role::Router, &name("s-2")), &forged.encode());
    assert!(matches!(refused, Err(Refused::NotItsOwn(..))));
    assert_eq!(node.membership.poll_output(), None);
    world.assert_complete();
}

#[test]
fn nobody_can_make_up_members_without_end() {
    let mut world = World::cluster(1);
    let mut refused = 0;
    for round in 0..20 {
        let made_up = (0..100).map(|number| MemberUpdate {
            member: member(&format!("s-made-up-{round}-{number}"), 1),
            refuted: 0,
            state: GossipState::Alive,
        });
        let (from, to, kind) = (member("s-1", 1), member("r-1", 1), GossipKind::News);
        let gossip = Gossip { from, refuted: 0, to, kind, updates: made_up.collect() };
        let now = world.now;
        let node = world.nodes.get_mut(&key("r-1")).unwrap();
        let told =
            node.membership.handle_gossip(now, (Role::Server, &name("s-1")), &gossip.encode());
        refused += usize::from(told == Err(Refused::TooMany));
        assert!(node.membership.members().len() <= MAX_MEMBERS);
    }
    assert!(refused > 5);
    assert!(world.membership("r-1").members().len() > MAX_MEMBERS - 200);
}

#[test]
fn an_address_that_is_learned_late_reaches_everybody() {
    let mut world = World::cluster(1);
    let (now, address) = (world.now, ([10, 0, 0, 7], 4443).into());
    let own = &mut world.nodes.get_mut(&key("s-1")).unwrap().membership;
    own.set_address(now, address);
    own.set_address(now, address);
    world.collect(&key("s-1"));
    world.run(Duration::from_secs(10));
    world.assert_complete();
    assert_eq!(world.membership("r-2").up[&key("s-1")].address, Some(address));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        let mut world = World::cluster(0);
        let build = |out: &mut BytesMut| out.extend_from_slice(&bytes);
        let frame = Frame::build(FrameType::Gossip, usize::MAX, build);
        let now = world.now;
        let node = world.nodes.get_mut(&key("r-1")).unwrap();
        prop_assert!(
            node.membership.handle_gossip(now, (Role::Server, &name("s-1")), &frame).is_err()
        );
        prop_assert_eq!(node.membership.poll_output(), None);
    }

    /// Any nonsense that a member with a good certificate may say: those that it is not about find
    /// together all the same.
    #[test]
    fn any_gossip_never_panics(
        gossip in prop::collection::vec((strategies::gossip(), 0..6usize), 1..8),
        about_us: bool,
    ) {
        let mut world = World::cluster(0);
        let texts = ["r-1", "r-2", "s-1", "s-2", "s-3", "s-4"];
        for (mut gossip, to) in gossip {
            gossip.from = member("s-9", 1);
            gossip.to = world.membership(texts[to]).own().clone();
            if about_us {
                for (update, text) in gossip.updates.iter_mut().zip(texts) {
                    update.member = world.membership(text).own().clone();
                }
            }
            let flight = Flight { from: key("s-9"), to: key(texts[to]), frame: gossip.encode() };
            world.deliver(flight);
            world.run(Duration::from_millis(300));
        }
        world.run(Duration::from_secs(60));
        for text in texts {
            let up = &world.membership(text).up;
            let others = texts.iter().filter(|other| **other != text);
            let missing: Vec<_> = others.filter(|other| !up.contains_key(&key(other))).collect();
            prop_assert!(missing.is_empty(), "{} misses {:?}", text, missing);
        }
    }
}
