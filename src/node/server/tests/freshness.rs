//! Until when the source is not asked again.

use super::*;
use crate::mirror::{Lease, Version};
use crate::wire::HeaderBlock;
use bytes::Bytes;

/// Asks at a moment, answers a retrieval with the version and that freshness, and says whether
/// there was one.
fn asks_the_source(
    server: &mut Server,
    millis: u64,
    version: &Version,
    freshness: &Freshness,
) -> bool {
    server.handle_message(now(millis), &ROUTER, get(client(1), How::Assign, epoch(1)));
    let (mut asked, mut answered) = (0, 0);
    while let Some(output) = server.poll_output() {
        match output {
            Output::Retrieve { ticket, known, .. } => {
                asked += 1;
                let answer = match known {
                    Some(_) => Retrieved::Unchanged,
                    None => Retrieved::Version(version.clone()),
                };
                server.handle_retrieved(now(millis), ticket, answer, freshness.clone());
            }
            Output::Reply { .. } | Output::UseCached { .. } => answered += 1,
            _ => {}
        }
    }
    assert_eq!(answered, 1);
    asked == 1
}

#[test]
fn the_source_is_asked_again_when_its_time_is_over_or_its_lease_revoked() {
    let mut server = server();
    let version = Version::new(HeaderBlock::default(), Bytes::from_static(b"bytes"));
    let mut asks =
        |millis, freshness: &Freshness| asks_the_source(&mut server, millis, &version, freshness);
    let (says_nothing, second) = (Freshness::default(), Duration::from_secs(1));
    assert!(asks(0, &says_nothing) && asks(0, &says_nothing));
    let lease = Lease::new();
    let leased = Freshness::leased(second, lease.clone());
    assert!(asks(10, &leased));
    assert!(!asks(20, &says_nothing) && !asks(1009, &says_nothing));
    assert!(asks(1010, &leased), "a lease has an end");
    assert!(!asks(1020, &says_nothing));
    lease.revoke();
    assert!(asks(1030, &leased) && asks(1040, &leased), "it was revoked before it came");
    assert!(asks(1050, &Freshness::leased(second, Lease::new())));
    assert!(!asks(1060, &says_nothing));
    assert!(asks(3000, &Freshness::forever()) && !asks(1 << 40, &says_nothing));
}
