//! Calls: executed for whom a server serves, once, and answered in any case.

use super::*;
use crate::wire::frame::MAX_INLINE_BODY;
use crate::wire::lane::{Body, Call, ErrorCode};
use crate::wire::lane::{Outcome, Reply};
use crate::wire::{Frame, HeaderBlock};

/// A CALL in a FORWARD.
fn forward(of: ClientId, how: How, epoch: Epoch, idempotent: bool) -> Forward {
    let (key, headers) = ("/do".parse().expect("a key"), HeaderBlock::default());
    let body = Bytes::from_static(b"body");
    Forward {
        request_id: 7,
        client: of,
        term: epoch.term,
        change: epoch.change,
        primary: (epoch.primary != name("a")).then_some(epoch.primary),
        how,
        deadline_ms: 1000,
        former: Vec::new(),
        resume: None,
        takes_deltas: true,
        inner: Call { request_id: 5, idempotent, key, headers, body }.encode(),
    }
}

/// What the router hears, the calls that the source is given, and the bodies that follow.
fn drained(server: &mut Server) -> (Vec<Message>, Vec<(u64, CallRequest)>, Vec<Bytes>) {
    let (mut heard, mut calls, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(output) = server.poll_output() {
        match output {
            Output::Send { to: ROUTER, message } => heard.push(*message),
            Output::Reply { request_id, assignment, by, reply, .. } => {
                let (assignment, inner) = (assignment.map(|it| *it), reply.encode());
                heard.push(Message::Reply { request_id, assignment, by, inner });
            }
            Output::Call { ticket, request } => calls.push((ticket, *request)),
            Output::SendBody { to, request_id, offset: 0, pieces } => {
                assert_eq!((to, request_id), (ROUTER, 7));
                bodies.extend(pieces);
            }
            Output::Retrieve { .. } => panic!("a call retrieves nothing"),
            _ => {}
        }
    }
    server.assert_consistent();
    (heard, calls, bodies)
}

/// Hands a FORWARD in; returns what the router hears at once, and what the source is given.
fn hand_in(server: &mut Server, forward: Forward) -> (Vec<Message>, Vec<(u64, CallRequest)>) {
    server.handle_message(now(0), &ROUTER, Message::Forward(forward));
    let (heard, calls, bodies) = drained(server);
    assert!(bodies.is_empty());
    (heard, calls)
}

/// A call that the source was given.
fn given(server: &mut Server, of: ClientId) -> u64 {
    let (heard, calls) = hand_in(server, forward(of, How::Assign, epoch(1), false));
    assert_eq!((heard.len(), calls.len()), (0, 1));
    calls[0].0
}

fn outcome(message: &Message) -> Outcome {
    match message {
        Message::Reply { request_id: 7, inner, .. } => {
            let reply = Reply::decode(inner).expect("a reply");
            assert_eq!(reply.request_id, 5);
            reply.outcome
        }
        other => panic!("{other:?} is no reply"),
    }
}

/// What the router hears when the source has done its part.
fn answered(server: &mut Server, ticket: u64, called: Called) -> (Outcome, Vec<Bytes>) {
    server.handle_called(now(0), ticket, called);
    let (heard, calls, bodies) = drained(server);
    assert_eq!((heard.len(), calls.len()), (1, 0));
    (outcome(&heard[0]), bodies)
}

#[test]
fn a_call_goes_to_the_source_and_its_answer_to_the_router() {
    let mut server = server();
    let (heard, calls) = hand_in(&mut server, forward(client(1), How::Assign, epoch(1), true));
    assert!(heard.is_empty());
    let [(ticket, request)] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((request.key.as_str(), &request.body[..]), ("/do", &b"body"[..]));
    assert!(request.idempotent);
    assert_eq!(server.view().open_calls, 1);
    server.handle_called(now(0), *ticket, Called::Answered(CallResponse::new(201, "made")));
    assert_eq!(server.view().open_calls, 0);
    let (heard, ..) = drained(&mut server);
    let Message::Reply { assignment, .. } = &heard[0] else { panic!("{heard:?}") };
    assert!(assignment.is_some(), "the router is told of the alternate");
    let body = Body::Inline(Bytes::from_static(b"made"));
    let headers = HeaderBlock::default();
    assert_eq!(outcome(&heard[0]), Outcome::Called { status: 201, headers, body });
    assert_eq!(server.view().counters.calls, 1);
    assert_eq!(server.mirror_entries(&client(1)).count(), 0, "nothing is mirrored");
    // A second answer is nobody's.
    server.handle_called(now(0), *ticket, Called::Failed(String::new()));
    assert!(drained(&mut server).0.is_empty());
}

#[test]
fn nothing_is_executed_for_a_client_that_is_not_served() {
    let mut server = server();
    for how in [How::Known, How::Takeover, How::Standby] {
        let (heard, calls) = hand_in(&mut server, forward(client(1), how, epoch(5), true));
        assert_eq!(heard, [Message::NotOwner { request_id: 7, known: None }], "{how:?}");
        assert!(calls.is_empty());
    }
    given(&mut server, client(2));
    let (heard, calls) = hand_in(&mut server, forward(client(3), How::Assign, epoch(1), false));
    assert_eq!(heard, [Message::HandedOn { request_id: 7, to: name("b") }]);
    assert!(calls.is_empty());
    assert_eq!(server.view().counters.calls, 1);
}

#[test]
fn a_hedge_is_executed_only_where_that_does_no_harm() {
    let mut server = server();
    given(&mut server, client(1));
    let standby = |idempotent| forward(client(1), How::Standby, epoch(1), idempotent);
    let (heard, calls) = hand_in(&mut server, standby(false));
    assert!(matches!(heard[..], [Message::NotOwner { .. }]), "{heard:?}");
    assert!(calls.is_empty());
    let (heard, calls) = hand_in(&mut server, standby(true));
    assert_eq!((heard.len(), calls.len()), (0, 1));
}

#[test]
fn what_was_executed_is_answered_although_the_client_was_taken() {
    let mut server = server();
    let ticket = given(&mut server, client(1));
    let release = Message::Release { client: client(1), epoch: Epoch::new(5, name("b")) };
    server.handle_message(now(0), &peer("b"), release);
    drained(&mut server);
    assert_eq!(server.view().primary_clients, 0);
    let (outcome, _) = answered(&mut server, ticket, Called::Answered(CallResponse::new(200, "")));
    assert!(matches!(outcome, Outcome::Called { status: 200, .. }), "{outcome:?}");
}

#[test]
fn a_call_that_is_late_before_it_began_is_dropped() {
    let mut server = server();
    given(&mut server, client(1));
    let late = Forward { deadline_ms: 0, ..forward(client(1), How::Known, epoch(1), false) };
    let (heard, calls) = hand_in(&mut server, late);
    assert!(heard.is_empty() && calls.is_empty());
    // Or became late while the server, which was paused, held it back.
    server.handle_timeout(now(5_000));
    assert_eq!(server.state(), SelfState::Returned);
    for deadline_ms in [1000, 2500] {
        let held = Forward { deadline_ms, ..forward(client(1), How::Known, epoch(1), false) };
        server.handle_message(now(5_000), &ROUTER, Message::Forward(held));
    }
    drained(&mut server);
    (0..25).for_each(|turn| server.handle_timeout(now(5_000 + turn * 100)));
    let (_, calls, _) = drained(&mut server);
    assert_eq!((server.state(), calls.len()), (SelfState::Ready, 1));
}

#[test]
fn a_long_answer_goes_on_a_stream() {
    let mut server = server();
    for (length, streamed) in [(MAX_INLINE_BODY, false), (MAX_INLINE_BODY + 1, true)] {
        let ticket = given(&mut server, client(1));
        let response = CallResponse::new(200, vec![7; length]);
        let (outcome, bodies) = answered(&mut server, ticket, Called::Answered(response));
        let Outcome::Called { body, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(body.length(), length as u64);
        assert_eq!(matches!(body, Body::Stream { .. }), streamed);
        assert_eq!(bodies.iter().map(Bytes::len).sum::<usize>(), if streamed { length } else { 0 });
    }
}

#[test]
fn what_the_source_cannot_do_is_an_error() {
    let mut server = server();
    for (called, code) in [
        (Called::Refused("no".into()), ErrorCode::Refused),
        (Called::Failed("broken".into()), ErrorCode::Source),
        (Called::Answered(CallResponse::new(100, "")), ErrorCode::Source),
        (Called::Answered(CallResponse::new(1000, "")), ErrorCode::Source),
    ] {
        let ticket = given(&mut server, client(1));
        let (outcome, _) = answered(&mut server, ticket, called);
        assert!(matches!(&outcome, Outcome::Error { code: found, .. } if *found == code));
    }
}

#[test]
fn a_call_that_is_none_is_malformed_and_not_executed() {
    let mut server = server();
    let good = forward(client(1), How::Assign, epoch(1), false);
    let inner = Frame::build(FrameType::Call, 100, |out| out.extend_from_slice(&[5, 2]));
    let (heard, calls) = hand_in(&mut server, Forward { inner, ..good });
    let found = outcome(&heard[0]);
    assert!(matches!(found, Outcome::Error { code: ErrorCode::Malformed, .. }), "{found:?}");
    assert!(calls.is_empty());
}
