//! Calls, of which a router reads the flags and no more.

use super::*;
use crate::wire::HeaderBlock;
use crate::wire::lane::{Body, CALL_IDEMPOTENT, ErrorCode};

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

#[test]
fn an_answer_that_breaks_off_with_its_server_is_not_had_elsewhere() {
    for (flags, told) in [(0, FrameType::FateUnknown), (CALL_IDEMPOTENT, FrameType::Error)] {
        let [mut router, _] = workers();
        let (session, _) = settled(&mut router);
        router.handle_lane_frame(now(0), session, LANE, call(flags));
        let (x, worker, forward) = forwards(outputs(&mut router)).remove(0);
        let body = Body::Stream { length: 20_000 };
        let outcome = Outcome::Called { status: 200, headers: HeaderBlock::default(), body };
        let (request_id, inner) = (forward.request_id, Reply { request_id: 5, outcome }.encode());
        let answer = Message::Reply { request_id, assignment: None, by: None, inner };
        router.handle_server_message(now(0), x, worker, answer);
        assert_eq!(on_lanes(&outputs(&mut router)), [FrameType::CallReply]);
        // Nothing of the body has come; what has, could not go on at another server either.
        router.handle_server_down(now(0), x);
        let said = outputs(&mut router);
        assert_eq!(on_lanes(&said), [told]);
        assert!(forwards(said).is_empty(), "nothing is executed again by the router");
    }
}
