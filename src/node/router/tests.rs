//! Workers of one router, by hand: what one of them decides, and what the others make of it.

use super::*;
use crate::wire::backplane::{Forward, How, Message, SelfState, Status};
use crate::wire::lane::{Get, Outcome, Reply, Validator};
use crate::wire::session::{Assigned, Hello, OLDEST_VERSION, VERSION, Versions, Welcome};
use crate::wire::{Assignment, Epoch, FrameType};
use bytes::Bytes;

mod calls;
mod failing;
mod http;
mod pools;

const LANE: LaneId = 1;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn now(millis: u64) -> Time {
    Time::from_micros(1_000_000 + millis * 1000)
}

/// Two workers, both linked to the servers `x` and `y`, which have one worker each.
fn workers() -> [Router; 2] {
    let shared = Arc::default();
    [1, 2].map(|seed| {
        let mut router = worker(seed, &shared);
        for server in ["x", "y"] {
            link(&mut router, server, 1);
        }
        router
    })
}

fn worker(seed: u8, shared: &Arc<Shared>) -> Router {
    Router::new(worker_config(seed), TokenKeys::new(&[[7; 32]]), Arc::clone(shared))
}

fn worker_config(seed: u8) -> RouterConfig {
    RouterConfig {
        pools: vec![PoolConfig {
            name: name("default"),
            policy: Policy::Next,
            limits: Limits { slots: 8, in_flight: 8, max_item: 1 << 20 },
            request_timeout: None,
        }],
        request_timeout: Duration::from_secs(3),
        token_lifetime: Duration::from_secs(3600),
        versions: Versions::ALL,
        seed: [seed; 32],
        planted: Planted::default(),
    }
}

/// Links a worker to all workers of a server, which says that it is ready.
fn link(router: &mut Router, server: &str, workers: u64) -> ServerIndex {
    link_to(router, (server, None), workers)
}

/// The same for a server that says of which pool it is.
fn link_to(
    router: &mut Router,
    (server, pool): (&str, Option<&Name>),
    workers: u64,
) -> ServerIndex {
    let index =
        router.handle_server_up(now(0), (&name(server), pool), workers, VERSION).expect("a place");
    router.handle_server_message(now(0), index, 0, Message::Status(status(server)));
    index
}

/// A server that is ready says so.
fn status(server: &str) -> Status {
    Status {
        name: name(server),
        incarnation: 1,
        sequence: 1,
        zone: None,
        state: SelfState::Ready,
        primary_clients: 0,
        alternate_clients: 0,
        threshold: 9,
        capacity: 9,
        handed_on_clients: 0,
        must_served_clients: 0,
        released_clients: 0,
        pid: 2,
        admin: String::new(),
    }
}

fn outputs(router: &mut Router) -> Vec<Output> {
    std::iter::from_fn(|| router.poll_output()).collect()
}

/// A client connects. Also gives what the other workers are to hear.
fn connect(
    router: &mut Router,
    token: Option<Bytes>,
) -> (SessionId, Welcome, Option<(ClientId, u64)>) {
    let session = router.handle_connected();
    let hello = Hello { oldest: OLDEST_VERSION, newest: VERSION, token, pool: None };
    router.handle_session_frame(now(0), session, &hello.encode());
    let (mut welcome, mut admitted) = (None, None);
    for output in outputs(router) {
        match output {
            Output::ToSession { session: to, frame } if to == session => {
                welcome = Some(Welcome::decode(frame.payload()).expect("WELCOME"));
            }
            Output::Admitted { client, admission } => admitted = Some((client, admission)),
            _ => {}
        }
    }
    (session, welcome.expect("a server is at hand"), admitted)
}

/// What is forwarded, and to which worker of which server.
fn forwards(outputs: Vec<Output>) -> Vec<(ServerIndex, u64, Forward)> {
    let forward = |output| match output {
        Output::ToServer { server, worker, frame } => match Message::decode(&frame) {
            Ok(Message::Forward(forward)) => Some((server, worker, forward)),
            _ => None,
        },
        _ => None,
    };
    outputs.into_iter().filter_map(forward).collect()
}

/// A client asks for an item; gives the one forward that comes of it.
fn ask(router: &mut Router, session: SessionId) -> (ServerIndex, u64, Forward) {
    let key = Some("/key".parse().expect("a key"));
    let get = Get { request_id: 5, slot: 0, key, validator: Validator::None };
    router.handle_lane_frame(now(0), session, LANE, get.encode());
    let mut forwards = forwards(outputs(router));
    assert_eq!(forwards.len(), 1, "{forwards:?}");
    forwards.remove(0)
}

fn reply(request_id: u64, assignment: Option<Assignment>) -> Message {
    let inner = Reply { request_id: 5, outcome: Outcome::NotFound }.encode();
    Message::Reply { request_id, assignment, by: None, inner }
}

/// The kinds of the frames that went to lanes.
fn on_lanes(outputs: &[Output]) -> Vec<FrameType> {
    let on_lane = |output: &Output| match output {
        Output::ToLane { frame, .. } => Some(frame.kind()),
        _ => None,
    };
    outputs.iter().filter_map(on_lane).collect()
}

/// A client whose primary is `x` and whose alternate is `y`, and its session.
fn settled(router: &mut Router) -> (SessionId, Welcome) {
    let (session, welcome, _) = connect(router, None);
    let (x, worker, forward) = ask(router, session);
    assert_eq!((router.assignments.name(x), forward.how), (&name("x"), How::Assign));
    let epoch = Epoch { term: 1, change: 1, primary: name("x") };
    let assignment = Assignment { epoch, alternate: Some(name("y")) };
    router.handle_server_message(now(0), x, worker, reply(forward.request_id, Some(assignment)));
    assert_eq!(on_lanes(&outputs(router)), [FrameType::Assigned, FrameType::NotFound]);
    (session, welcome)
}

#[test]
fn a_takeover_that_one_worker_decides_holds_for_the_next_request_of_another() {
    let [mut one, mut other] = workers();
    let (session, welcome) = settled(&mut one);
    let (elsewhere, ..) = connect(&mut other, Some(welcome.token));
    let (x, _, before) = ask(&mut other, elsewhere);
    assert_eq!((before.term, before.how), (1, How::Known));

    one.handle_server_down(now(0), x);
    let (y, _, taken) = ask(&mut one, session);
    assert_eq!((taken.term, taken.how), (2, How::Takeover));
    // The other worker has a link to x, and has heard nothing.
    let (asked, _, after) = ask(&mut other, elsewhere);
    assert_ne!(asked, x);
    assert_eq!((asked, after.term, after.how), (y, 2, How::Takeover));
    assert_eq!((one.view().counters.takeovers, other.view().counters.takeovers), (1, 0));
}

#[test]
fn two_workers_that_decide_at_one_time_decide_the_same() {
    let [mut one, mut other] = workers();
    let (session, welcome) = settled(&mut one);
    let (elsewhere, ..) = connect(&mut other, Some(welcome.token));
    let x = one.assignments.shared().names.find(&name("x")).expect("it was linked");
    one.handle_server_down(now(0), x);
    other.handle_server_down(now(0), x);
    let asked = [ask(&mut one, session), ask(&mut other, elsewhere)];
    let epochs = asked.map(|(server, _, forward)| (server, forward.term, forward.how));
    assert_eq!(epochs[0], epochs[1], "one takeover, in one term");
}

#[test]
fn a_wrong_worker_leads_to_new_links_and_then_to_the_right_one() {
    let mut router = worker(1, &Arc::default());
    let x = link(&mut router, "x", 1);
    // One whose owner among three is not the first.
    let (session, client) = std::iter::repeat_with(|| connect(&mut router, None))
        .map(|(session, welcome, _)| (session, welcome.client))
        .find(|(_, client)| client.owner(3) > 0)
        .expect("ids are random");
    let (_, first, forward) = ask(&mut router, session);
    assert_eq!(first, 0);
    let wrong = Message::WrongWorker { request_id: forward.request_id, workers: 3 };
    router.handle_server_message(now(1), x, first, wrong);
    let told = outputs(&mut router);
    assert!(matches!(told[..], [Output::Relink { server }] if server == x), "{told:?}");

    router.handle_server_down(now(2), x);
    assert_eq!(forwards(outputs(&mut router)).len(), 0, "nobody can be asked now");
    link(&mut router, "x", 3);
    let again = forwards(outputs(&mut router));
    let [(server, owner, again)] = &again[..] else {
        panic!("{again:?}");
    };
    assert_eq!((*server, *owner, again.client), (x, client.owner(3), client));
    assert_ne!(again.request_id, forward.request_id);
    router.handle_server_message(now(3), x, *owner, reply(again.request_id, None));
    assert_eq!(on_lanes(&outputs(&mut router)), [FrameType::NotFound]);
}

#[test]
fn a_newer_session_at_another_worker_supersedes_and_an_older_one_does_not() {
    let [mut one, mut other] = workers();
    let (first, welcome, told) = connect(&mut one, None);
    assert_eq!(told, None, "nobody else can know a fresh client");
    let (second, _, told) = connect(&mut other, Some(welcome.token.clone()));
    let (client, early) = told.expect("the first session may be anywhere");
    assert_eq!(client, welcome.client);
    one.handle_admitted_elsewhere(now(0), client, early);
    let closed = |outputs: &[Output], of: SessionId| {
        outputs.iter().any(|output| {
            matches!(output, Output::CloseSession { session, code: CloseCode::Superseded, .. }
                if *session == of)
        })
    };
    assert!(closed(&outputs(&mut one), first));

    let (third, _, told) = connect(&mut one, Some(welcome.token));
    let (_, late) = told.expect("the second session may be anywhere");
    // The word of the second session is late, or comes twice.
    one.handle_admitted_elsewhere(now(0), client, early);
    assert!(!closed(&outputs(&mut one), third));
    other.handle_admitted_elsewhere(now(0), client, late);
    assert!(closed(&outputs(&mut other), second));
    assert_eq!((one.view().sessions, other.view().sessions), (1, 0));
}

#[test]
fn a_reply_to_an_attempt_that_was_given_up_is_not_taken() {
    let [mut router, _] = workers();
    let (session, _) = settled(&mut router);
    let (x, worker, lost) = ask(&mut router, session);
    router.handle_server_down(now(0), x);
    let again = forwards(outputs(&mut router));
    let [(y, _, again)] = &again[..] else {
        panic!("{again:?}");
    };
    assert_eq!(again.how, How::Takeover);
    link(&mut router, "x", 1);
    outputs(&mut router);
    // From a server that is not asked any more, under its own number and under the new one; and
    // from the right server under the number of the former attempt.
    for (from, request_id) in [(x, lost.request_id), (x, again.request_id), (*y, lost.request_id)] {
        router.handle_server_message(now(1), from, worker, reply(request_id, None));
        let said = outputs(&mut router);
        assert_eq!(on_lanes(&said), [], "from {from:?}");
        assert_eq!(forwards(said).len(), 0, "from {from:?}");
    }
    router.handle_server_message(now(1), *y, worker, reply(again.request_id, None));
    assert_eq!(on_lanes(&outputs(&mut router)), [FrameType::NotFound]);
    assert_eq!(router.view().requests, 0);
}

#[test]
fn a_client_is_told_what_another_worker_has_learned() {
    let [mut one, mut other] = workers();
    let (_, welcome) = settled(&mut one);
    let (session, ..) = connect(&mut other, Some(welcome.token));
    let x = one.assignments.shared().names.find(&name("x")).expect("it was linked");
    let epoch = Epoch { term: 1, change: 2, primary: name("x") };
    let assignment = Assignment { epoch, alternate: None };
    let changed = Message::AssignmentChanged { client: welcome.client, assignment };
    one.handle_server_message(now(0), x, 0, changed);
    for told in [vec![FrameType::Assigned], vec![]] {
        let get = Get { request_id: 5, slot: 0, key: None, validator: Validator::None };
        other.handle_lane_frame(now(0), session, LANE, get.encode());
        assert_eq!(on_lanes(&outputs(&mut other)), told, "once, ahead of the reply");
    }
}

#[test]
fn a_server_whose_links_were_given_up_is_not_taken_for_alive() {
    let [mut router, _] = workers();
    let x = router.assignments.shared().names.find(&name("x")).expect("it was linked");
    router.handle_server_down(now(1), x);
    router.handle_server_message(now(1), x, 0, Message::Pong { number: 1 });
    let health: Vec<_> = router.view().servers.iter().map(|row| row.health).collect();
    assert_eq!(health, [HealthState::Down, HealthState::Healthy]);
}

#[test]
fn a_server_that_membership_calls_gone_is_given_up_unless_it_answers() {
    let [mut router, _] = workers();
    let (session, _) = settled(&mut router);
    let (x, _, asked) = ask(&mut router, session);
    let state = |router: &Router| router.servers.get(x).expect("it is known").state;
    // It owes no sign of life: others may be cut off from it, this router is not.
    router.handle_server_gone(now(0), &name("x"));
    assert_eq!(state(&router), HealthState::Healthy);
    assert!(forwards(outputs(&mut router)).is_empty());
    // It has been silent for a moment, and now it is certain: the alternate takes over.
    let mut at = now(0);
    while state(&router) == HealthState::Healthy {
        at = router.poll_timeout().max(at + Duration::from_micros(100));
        router.handle_timeout(at);
    }
    assert_eq!(state(&router), HealthState::Suspect);
    outputs(&mut router);
    router.handle_server_gone(at, &name("x"));
    assert_eq!(state(&router), HealthState::Down);
    let again = forwards(outputs(&mut router));
    assert_eq!(again.len(), 1);
    assert_eq!(router.assignments.name(again[0].0), &name("y"));
    assert_eq!((again[0].2.how, again[0].2.term), (How::Takeover, asked.term + 1));
    // Said again, or of somebody who was never seen, it changes nothing.
    router.handle_server_gone(at, &name("x"));
    router.handle_server_gone(at, &name("z"));
    assert!(outputs(&mut router).is_empty());
}

#[test]
fn connected_clients_get_tokens_of_the_new_key_before_the_old_one_goes() {
    let keys = |first: u8, second: u8| TokenKeys::new(&[[first; 32], [second; 32]]);
    let mut router = worker(1, &Arc::default());
    for server in ["x", "y"] {
        link(&mut router, server, 1);
    }
    let (session, welcome) = settled(&mut router);
    assert!(keys(7, 8).open(&welcome.token, 0).is_ok());
    router.set_token_keys(keys(8, 7));
    router.handle_timeout(now(0));
    let told = outputs(&mut router).into_iter().find_map(|output| match output {
        Output::ToSession { session: to, frame } if to == session => Some(frame),
        _ => None,
    });
    let told = Assigned::decode(told.expect("a new token").payload()).unwrap();
    assert_eq!(told.assignment.primary(), welcome.assignment.primary());
    let only = TokenKeys::new(&[[8; 32]]);
    assert_eq!(only.open(&told.token, 0).unwrap().client, welcome.client);
    assert!(only.open(&welcome.token, 0).is_err());
    router.handle_timeout(now(0));
    let again = outputs(&mut router);
    assert!(!again.iter().any(|output| matches!(output, Output::ToSession { .. })), "only once");
    // The old token is as good as the new one until its key is gone; then the client starts afresh.
    let (_, back, _) = connect(&mut router, Some(welcome.token.clone()));
    assert_eq!(back.client, welcome.client);
    router.set_token_keys(only);
    let (_, back, _) = connect(&mut router, Some(welcome.token));
    assert_ne!(back.client, welcome.client);
    let (_, back, _) = connect(&mut router, Some(told.token));
    assert_eq!(back.client, welcome.client);
}
