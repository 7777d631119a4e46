//! Calls, of which a router reads the flags and no more.

use super::*;
use crate::wire::lane::{CALL_IDEMPOTENT, ErrorCode};

fn call(flags: u8) -> Frame {
    Frame::build(FrameType::Call, 64, |out| out.extend_from_slice(&[5, flags]))
}

#[test]
fn a_call_in_a_session_of_version_1_is_not_supported_and_goes_nowhere() {
    let [mut router, _] = workers();
    for (newest, forwarded) in [(1, 0), (2, 1)] {
        let session = router.handle_connected();
        let hello = Hello { oldest: OLDEST_VERSION, newest, token: None, pool: None };
        router.handle_session_frame(now(0), session, &hello.encode());
        outputs(&mut router);
        for flags in [0, CALL_IDEMPOTENT] {
            router.handle_lane_frame(now(0), session, LANE, call(flags));
            let said = outputs(&mut router);
            let answers = said.iter().filter_map(|output| match output {
                Output::ToLane { frame, .. } => Some(Reply::decode(frame).expect("a reply")),
                _ => None,
            });
            let outcomes: Vec<_> = answers.map(|reply| reply.outcome).collect();
            if forwarded == 0 {
                let [Outcome::Error { code, .. }] = &outcomes[..] else { panic!("{outcomes:?}") };
                assert_eq!(*code, ErrorCode::NotSupported);
            }
            assert_eq!(forwards(said).len(), forwarded, "version {newest}");
        }
    }
}
