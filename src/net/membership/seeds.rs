//! Seeds: where a member begins, and looks again.
//!
//! A seed's name is looked up, and who is found at its addresses is asked to be let in: twice a
//! second while nobody else is known, and every ten seconds after that, where nobody is known yet.
//! So the order in which members are started does not matter, a cluster whose halves were cut off
//! finds together, and a name's new addresses are noticed.

use super::Mesh;
use crate::cluster::membership::MemberKey;
use crate::config::PeerAddress;
use crate::net::backplane::{self, Met};
use crate::wire::backplane::{GOSSIP_SINCE, MemberId};
use crate::wire::session::CloseCode;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// How soon seeds are tried again while nobody is known. Each further try waits that much longer:
/// members of version 1 will not be met, and can be linked to all the same.
const ALONE_PERIOD: Duration = Duration::from_millis(500);
/// How soon they are tried, and looked up, again after that.
const PERIOD: Duration = Duration::from_secs(10);
/// How long a look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses that one name may stand for; more are not looked at.
const MAX_ADDRESSES: usize = 256;

/// What has become of the seeds so far.
pub(super) struct Seeds {
    /// By the seed's place in the configuration.
    addresses: RefCell<Vec<Vec<SocketAddr>>>,
    /// Who was found at an address; nobody, where nobody gossips.
    found: RefCell<BTreeMap<SocketAddr, Option<MemberKey>>>,
}

impl Seeds {
    /// Those that need no look-up are known at once.
    pub(super) fn new(seeds: &[PeerAddress]) -> Self {
        let addresses = seeds.iter().map(|seed| seed.literal().into_iter().collect()).collect();
        Self { addresses: RefCell::new(addresses), found: RefCell::default() }
    }

    /// All addresses that were tried, and who was found there.
    pub(super) fn tried(&self) -> Vec<(SocketAddr, Option<MemberKey>)> {
        let found = self.found.borrow();
        found.iter().map(|(address, found)| (*address, found.clone())).collect()
    }

    fn found_at(&self, address: &SocketAddr) -> Option<MemberKey> {
        self.found.borrow().get(address).cloned().flatten()
    }

    fn set_addresses(&self, place: usize, addresses: Vec<SocketAddr>) {
        let mut all = self.addresses.borrow_mut();
        all[place] = addresses;
        self.found.borrow_mut().retain(|address, _| all.iter().any(|some| some.contains(address)));
    }
}

impl Mesh {
    /// Looks a seed up and joins by it, again and again.
    pub(super) async fn keep_seed(self: Rc<Self>, place: usize) {
        let seed = self.setup.seeds[place].clone();
        let mut last_complaint = String::new();
        let mut tries_alone = 0;
        loop {
            let mut complaint = String::new();
            match look_up(&seed).await {
                Ok(answers) => self.take_answers(place, &seed, answers),
                Err(error) => complaint = format!("it cannot be looked up: {error}"),
            }
            let addresses = self.seeds.addresses.borrow()[place].clone();
            for address in addresses {
                if let Err(error) = self.join_at(address).await {
                    complaint = error;
                }
            }
            // Each reason once.
            if complaint != last_complaint && !complaint.is_empty() {
                tracing::warn!(%seed, why = complaint, "nobody was met at a seed");
            }
            last_complaint = complaint;
            tries_alone = if self.machine.borrow().is_alone() { tries_alone + 1 } else { 0 };
            let pause = if tries_alone > 0 { ALONE_PERIOD * tries_alone } else { PERIOD };
            tokio::time::sleep(pause.min(PERIOD)).await;
        }
    }

    fn take_answers(&self, place: usize, seed: &PeerAddress, mut answers: Vec<SocketAddr>) {
        answers.retain(|address| self.dialling.can_reach(address));
        answers.sort_unstable();
        answers.dedup();
        answers.truncate(MAX_ADDRESSES);
        let before = self.seeds.addresses.borrow()[place].clone();
        if !seed.is_several() {
            // One member: if it still has the address that it had, that one.
            let kept = before.iter().find(|address| answers.contains(address)).copied();
            answers = kept.or(answers.first().copied()).into_iter().collect();
        }
        // A look-up that finds nothing is more often a mishap than the end of all members.
        if !answers.is_empty() && before != answers {
            self.seeds.set_addresses(place, answers);
            self.publish();
        }
    }

    /// Joins by whoever is at an address, unless that one is known well enough.
    async fn join_at(self: &Rc<Self>, address: SocketAddr) -> Result<(), String> {
        let (own, members) = self.members();
        let is_linked = |key: &MemberKey| self.links.borrow().contains_key(key);
        let known = members.iter().find(|known| known.member.address == Some(address));
        let found = self
            .seeds
            .found_at(&address)
            .or(known.map(|it| (it.member.role, it.member.name.clone())));
        let is_own = |key: &MemberKey| key.0 == own.role && key.1 == own.name;
        if own.address == Some(address) || found.as_ref().is_some_and(is_own) {
            return Ok(());
        }
        if let Some(key) = found.filter(is_linked) {
            if self.machine.borrow().is_alone() {
                // It was asked, and nothing came of it.
                self.ask_to_join((key, 0), address);
            }
            return Ok(());
        }
        if self.setup.identity.versions.newest < GOSSIP_SINCE {
            self.seeds.found.borrow_mut().entry(address).or_default();
            self.publish();
            return Ok(());
        }
        let met = match self.dial(address).await {
            Ok(met) => met,
            Err(error) => {
                // A server of version 1 does not gossip, and is linked to all the same.
                self.seeds.found.borrow_mut().entry(address).or_default();
                self.publish();
                return Err(format!("{address}: {error}"));
            }
        };
        let key = (met.peer.role, met.peer.name.clone());
        self.seeds.found.borrow_mut().insert(address, Some(key.clone()));
        if is_own(&key) {
            // A list of all members may be given to each of them.
            backplane::close(&met.connection, CloseCode::Done, "the same member");
            return Ok(());
        }
        self.greet(met, address);
        Ok(())
    }

    /// Asks a member that was met to be let in, and hears it from now on.
    fn greet(self: &Rc<Self>, met: Met, address: SocketAddr) {
        let Met { connection, peer, send, frames, .. } = met;
        let outbox = self.add_link(connection.stable_id(), &peer, send);
        self.ask_to_join(((peer.role, peer.name.clone()), peer.incarnation), address);
        let mesh = Rc::clone(self);
        tokio::task::spawn_local(async move {
            mesh.hear(connection, &peer, frames, outbox).await;
        });
    }

    fn ask_to_join(self: &Rc<Self>, (key, incarnation): (MemberKey, u64), address: SocketAddr) {
        let (role, name) = key;
        let seed = MemberId { role, name, incarnation, address: Some(address) };
        self.with(|machine, now| machine.join(now, seed));
    }
}

async fn look_up(seed: &PeerAddress) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = seed.literal() {
        return Ok(vec![address]);
    }
    let answers = tokio::net::lookup_host((seed.host().to_owned(), seed.port()));
    let answers = tokio::time::timeout(LOOKUP_TIMEOUT, answers).await;
    Ok(answers.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.collect())
}
