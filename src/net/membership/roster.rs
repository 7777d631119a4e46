//! Whom every worker links to: all servers that are known to exist, and whoever is at a seed's
//! address, unless that is known to be no other server.

use crate::cluster::membership::{Known, MemberKey};
use crate::net::backplane::{Held, MeetError};
use crate::wire::Name;
use crate::wire::backplane::{GossipState, MemberId, Role};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// How long to wait before a server is dialled again.
const REDIAL_DELAY: Duration = Duration::from_millis(100);
/// How soon an address is looked at again whose server is linked by another one.
const ELSEWHERE_DELAY: Duration = Duration::from_secs(1);
/// How soon a server of a pool that is not ours is looked at again: it may be started anew for
/// another one, which is rare.
const ANOTHER_POOL_DELAY: Duration = Duration::from_secs(30);

/// Addresses to link to. Who is there, its certificate says: what was said of an address only tells
/// where to dial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster(BTreeSet<SocketAddr>);

impl Roster {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn of(
        own: &MemberId,
        members: &[Known],
        seeds: &[(SocketAddr, Option<MemberKey>)],
    ) -> Self {
        let is_own = |key: &MemberKey| (key.0, &key.1) == (own.role, &own.name);
        let mut addresses = BTreeSet::new();
        for Known { member, state } in members {
            if let Some(address) = member.address
                && member.role == Role::Server
                && *state != GossipState::Down
            {
                addresses.insert(address);
            }
        }
        for (address, found) in seeds {
            let is_server = |key: &MemberKey| key.0 == Role::Server && !is_own(key);
            if found.as_ref().is_none_or(is_server) && own.address != Some(*address) {
                addresses.insert(*address);
            }
        }
        Self(addresses)
    }
}

/// One address of a roster.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Who was there last.
    pub(crate) met: RefCell<Option<Name>>,
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
        let addresses = roster.borrow_and_update().0.clone();
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
    let target = Target { address, met: RefCell::default() };
    let mut last_complaint = String::new();
    while roster.borrow().0.contains(&address) {
        match hold(&target).await {
            Ok(Held::Broke) => last_complaint.clear(),
            Ok(Held::Elsewhere) => tokio::time::sleep(ELSEWHERE_DELAY).await,
            Ok(Held::OfAnotherPool) => tokio::time::sleep(ANOTHER_POOL_DELAY).await,
            Ok(Held::NotWanted) => {
                // Fails only if there will never be another roster.
                let _ = roster.wait_for(|roster| !roster.0.contains(&address)).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 4443).into()
    }

    fn member(role: Role, last: u8) -> MemberId {
        let name = Name::new(&format!("m-{last}")).expect("a name");
        MemberId { role, name, incarnation: 1, address: Some(address(last)) }
    }

    #[test]
    fn other_servers_are_linked_to_and_nobody_else() {
        let known = |role, last, state| Known { member: member(role, last), state };
        let members = [
            known(Role::Router, 1, GossipState::Alive),
            known(Role::Server, 2, GossipState::Alive),
            known(Role::Server, 3, GossipState::Suspect),
            known(Role::Server, 4, GossipState::Down),
        ];
        let found = |role, last| Some((role, member(role, last).name));
        let seeds = [
            (address(1), found(Role::Router, 1)),
            // A seed stays one while its server is down, or has told of another address.
            (address(4), found(Role::Server, 4)),
            (address(12), found(Role::Server, 2)),
            // Nobody gossips there: it may be a server of version 1.
            (address(5), None),
            // This member itself, by whatever address.
            (address(9), None),
            (address(19), found(Role::Server, 9)),
        ];
        let roster = Roster::of(&member(Role::Server, 9), &members, &seeds);
        let expected = [2, 3, 4, 5, 12].map(address);
        assert_eq!(roster.0.into_iter().collect::<Vec<_>>(), expected);
    }
}
