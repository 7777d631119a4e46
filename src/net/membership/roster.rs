//! Whom every worker links to: all servers that are known to exist, and whoever is at a seed's
//! address, as far as that is not known to be no server.

use crate::cluster::membership::{Known, MemberKey};
use crate::net::backplane::{Held, MeetError};
use crate::wire::Name;
use crate::wire::backplane::{GossipState, MemberId, Role};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// How long to wait before a server is dialled again.
const REDIAL_DELAY: Duration = Duration::from_millis(100);
/// How soon an address is looked at again whose server is linked by another one.
const ELSEWHERE_DELAY: Duration = Duration::from_secs(1);

/// Addresses to link to, each with the server that gossip says is there; none at a seed's, where
/// whoever answers is welcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster(BTreeMap<SocketAddr, Option<Name>>);

impl Roster {
    /// What is known before anybody was met: seeds that need no look-up.
    pub(crate) fn of_seeds(seeds: &[crate::config::PeerAddress]) -> Self {
        let literal = seeds.iter().filter_map(crate::config::PeerAddress::literal);
        Self(literal.map(|address| (address, None)).collect())
    }

    pub(super) fn of(
        own: &MemberId,
        members: &[Known],
        seeds: &[(SocketAddr, Option<MemberKey>)],
    ) -> Self {
        let is_own = |key: &MemberKey| (key.0, &key.1) == (own.role, &own.name);
        let mut addresses = BTreeMap::new();
        for Known { member, state } in members {
            if let Some(address) = member.address
                && member.role == Role::Server
                && *state != GossipState::Down
            {
                addresses.insert(address, Some(member.name.clone()));
            }
        }
        for (address, found) in seeds {
            let is_server = |key: &MemberKey| key.0 == Role::Server && !is_own(key);
            if found.as_ref().is_none_or(is_server) && own.address != Some(*address) {
                addresses.insert(*address, None);
            }
        }
        Self(addresses)
    }
}

/// One address of a roster.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Who must be there.
    pub(crate) expected: Option<Name>,
    /// Who was there last.
    pub(crate) met: Rc<RefCell<Option<Name>>>,
}

impl Target {
    /// Who will probably answer.
    pub(crate) fn likely(&self) -> Option<Name> {
        self.expected.clone().or_else(|| self.met.borrow().clone())
    }

    /// Notes who answered.
    ///
    /// # Errors
    /// It is another one than gossip said.
    pub(crate) fn check(
        &self,
        peer: &crate::wire::backplane::ServerHello,
    ) -> Result<(), MeetError> {
        self.met.replace(Some(peer.name.clone()));
        match &self.expected {
            Some(expected) if *expected != peer.name => Err(MeetError::another(expected, peer)),
            _ => Ok(()),
        }
    }
}

/// Keeps one worker's links to all servers of the roster, for ever: `hold` dials one and serves its
/// links until they break.
pub(crate) async fn keep_links(
    mut roster: watch::Receiver<Roster>,
    hold: impl AsyncFn(&Target) -> Result<Held, MeetError> + 'static,
) {
    let hold = Rc::new(hold);
    let kept: Rc<RefCell<BTreeSet<SocketAddr>>> = Rc::default();
    loop {
        let addresses: Vec<_> = roster.borrow_and_update().0.keys().copied().collect();
        for address in addresses {
            if !kept.borrow_mut().insert(address) {
                continue;
            }
            let (roster, hold, kept) = (roster.clone(), Rc::clone(&hold), Rc::clone(&kept));
            tokio::task::spawn_local(async move {
                keep_link(roster, address, &*hold).await;
                kept.borrow_mut().remove(&address);
            });
        }
        if roster.changed().await.is_err() {
            return;
        }
    }
}

/// Holds links to the server at one address for as long as the roster has it: dials again, a moment
/// after they broke or could not be made.
async fn keep_link(
    mut roster: watch::Receiver<Roster>,
    address: SocketAddr,
    hold: &impl AsyncFn(&Target) -> Result<Held, MeetError>,
) {
    let wanted = |roster: &Roster| roster.0.get(&address).cloned();
    let mut last_complaint = String::new();
    let met = Rc::default();
    loop {
        let Some(expected) = wanted(&roster.borrow()) else {
            return;
        };
        match hold(&Target { address, expected, met: Rc::clone(&met) }).await {
            Ok(Held::Broke) => last_complaint.clear(),
            Ok(Held::Elsewhere) => tokio::time::sleep(ELSEWHERE_DELAY).await,
            Ok(Held::NotWanted) => {
                // Fails only if there will never be another roster.
                let _ = roster.wait_for(|roster| wanted(roster).is_none()).await;
                return;
            }
            Err(error) => {
                // Each reason once, not ten times a second.
                let complaint = error.to_string();
                if complaint != last_complaint {
                    tracing::warn!(%address, %error, "a server cannot be reached");
                    last_complaint = complaint;
                }
            }
        }
        tokio::time::sleep(REDIAL_DELAY).await;
    }
}
