//! How fast members ask and give up: for a few to a few hundred of them, near each other.

use crate::wire::backplane::MAX_GOSSIP;
use foca::{Config, PeriodicParams};
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

/// How often a member asks another one whether it is there.
const PROBE_PERIOD: Duration = Duration::from_secs(1);
/// Who has not answered after so long is asked through others. Ten times a bad round trip among
/// members, so that indirect questions stay rare.
const PROBE_PATIENCE: Duration = Duration::from_millis(300);
/// How many others ask for us: all of them would have to be cut off too.
const INDIRECT_PROBES: usize = 3;
/// How long a suspected member may take to object. A process that was frozen for 4 seconds, as by a
/// snapshot of its machine, is suspected after one at the earliest, and has two left to object.
pub(super) const SUSPICION: Duration = Duration::from_secs(5);
/// How often each piece of news is passed on by each member that hears it. With three listeners at
/// a time, fifteen times is enough for a thousand members to have heard it with near certainty.
const TRANSMISSIONS: u8 = 15;
/// How often news is passed on, while there is some: it is everywhere within a second.
const NEWS_PERIOD: Duration = Duration::from_millis(200);
/// How often a member asks another one for all members: mends what news missed.
const FEED_PERIOD: Duration = Duration::from_secs(15);
/// How often a few of those that are down are told of us: two halves of a network that had given
/// each other up find together again.
const RETRY_PERIOD: Duration = Duration::from_secs(10);
/// How long a run that is over is remembered, so that old news of it is recognized. News travels
/// for seconds.
const MEMORY: Duration = Duration::from_secs(600);
const _: () = assert!(PROBE_PATIENCE.as_millis() * 2 < PROBE_PERIOD.as_millis());
const _: () = assert!(SUSPICION.as_millis() + PROBE_PERIOD.as_millis() > 4_000 + 1_000);
const _: () = assert!(MEMORY.as_secs() > 10 * SUSPICION.as_secs());

/// All of it, as foca takes it.
pub(super) fn config() -> Config {
    let count = |count| NonZeroUsize::new(count).expect("the constants above are not zero");
    let every = |frequency, members| PeriodicParams { frequency, num_members: count(members) };
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_PATIENCE,
        num_indirect_probes: count(INDIRECT_PROBES),
        max_transmissions: NonZeroU8::new(TRANSMISSIONS).expect("it is not zero"),
        suspect_to_down_after: SUSPICION,
        remove_down_after: Some(MEMORY),
        max_packet_size: count(MAX_GOSSIP),
        notify_down_members: true,
        periodic_announce: Some(every(FEED_PERIOD, 1)),
        periodic_announce_to_down_members: Some(every(RETRY_PERIOD, 2)),
        periodic_gossip: Some(every(NEWS_PERIOD, 3)),
    }
}
