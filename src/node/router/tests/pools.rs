//! Two pools: no client of one is ever served by a server of the other.

use super::*;
use crate::wire::Name;
use crate::wire::backplane::{Holding, Holds};

/// A router with the pools `a` and `b`, which have the servers `a1` and `a2`, `b1` and `b2`, as far
/// as they are named.
fn router(servers: &[&str]) -> Router {
    let pool = |text: &str, slots, in_flight, request_timeout| PoolConfig {
        name: name(text),
        policy: Policy::Next,
        limits: Limits { slots, in_flight, max_item: 1 << 20 },
        request_timeout,
    };
    let config = RouterConfig {
        pools: vec![pool("a", 8, 8, None), pool("b", 9, 1, Some(Duration::from_secs(1)))],
        ..worker_config(1)
    };
    let mut router = Router::new(config, TokenKeys::new(&[[7; 32]]), Arc::default());
    servers.iter().for_each(|server| link_in_pool(&mut router, server));
    router
}

fn link_in_pool(router: &mut Router, server: &str) {
    let pool = name(&server[..1]);
    link_to(router, (server, Some(&pool)), 1);
}

fn hello(pool: Option<&str>, token: Option<Bytes>) -> Hello {
    Hello { oldest: OLDEST_VERSION, newest: VERSION, token, pool: pool.map(name) }
}

/// Connects a client for a pool. `None` if it has to wait, or is not welcome.
fn connect_to(
    router: &mut Router,
    pool: &str,
    token: Option<Bytes>,
) -> (SessionId, Option<Welcome>) {
    let session = router.handle_connected();
    router.handle_session_frame(now(0), session, &hello(Some(pool), token).encode());
    (session, welcome(router, session))
}

fn welcome(router: &mut Router, session: SessionId) -> Option<Welcome> {
    outputs(router).into_iter().find_map(|output| match output {
        Output::ToSession { session: to, frame }
            if to == session && frame.kind() == FrameType::Welcome =>
        {
            Some(Welcome::decode(frame.payload()).expect("WELCOME"))
        }
        _ => None,
    })
}

fn server_name(router: &Router, server: ServerIndex) -> Name {
    router.assignments.name(server).clone()
}

/// A client of pool `a` whose primary is `a1` and whose alternate is the one named.
fn settled_in_a(router: &mut Router, alternate: &str) -> (SessionId, Welcome) {
    let (session, welcome) = connect_to(router, "a", None);
    let (a1, worker, forward) = ask(router, session);
    assert_eq!(server_name(router, a1), name("a1"));
    let epoch = Epoch { term: 1, change: 1, primary: name("a1") };
    let assignment = Assignment { epoch, alternate: Some(name(alternate)) };
    router.handle_server_message(now(0), a1, worker, reply(forward.request_id, Some(assignment)));
    outputs(router);
    (session, welcome.expect("a server is at hand"))
}

fn index(router: &Router, server: &str) -> ServerIndex {
    router.assignments.shared().names.find(&name(server)).expect("it was linked")
}

#[test]
fn new_clients_get_the_next_server_of_their_pool() {
    let mut router = router(&["a1", "a2", "b1", "b2"]);
    let mut given = Vec::new();
    for pool in ["a", "b", "b", "a", "a", "b"] {
        let (session, welcome) = connect_to(&mut router, pool, None);
        let welcome = welcome.expect("a server is at hand");
        let slots = if pool == "a" { 8 } else { 9 };
        assert_eq!(welcome.limits.slots, slots, "limits are the pool's");
        given.push(welcome.assignment.primary().to_string());
        let (asked, ..) = ask(&mut router, session);
        assert_eq!(server_name(&router, asked), *welcome.assignment.primary());
    }
    assert_eq!(given, ["a1", "b1", "b2", "a2", "a1", "b1"], "each pool has its own turn");
}

#[test]
fn a_client_that_names_no_pool_is_of_the_one_that_its_host_says() {
    let mut router = router(&["a1", "b1"]);
    for (pool, named, primary) in
        [(0, None, "a1"), (1, None, "b1"), (1, Some("a"), "a1"), (0, Some("b"), "b1")]
    {
        let session = router.handle_connected_for(pool);
        router.handle_session_frame(now(0), session, &hello(named, None).encode());
        let welcome = welcome(&mut router, session).expect("a server is at hand");
        assert_eq!(*welcome.assignment.primary(), name(primary));
    }
    let session = router.handle_connected_for(1);
    router.handle_http_client(now(0), session, None);
    let welcome = welcome(&mut router, session).expect("a server is at hand");
    assert_eq!(*welcome.assignment.primary(), name("b1"));
    let session = router.handle_connected();
    router.handle_session_frame(now(0), session, &hello(Some("c"), None).encode());
    let told = outputs(&mut router);
    let code = |output: &Output| match output {
        Output::CloseSession { code, .. } => Some(*code),
        _ => None,
    };
    assert_eq!(told.iter().find_map(code), Some(CloseCode::NotWelcome));
}

#[test]
fn a_token_of_another_pool_is_none() {
    let mut router = router(&["a1", "b1"]);
    let (_, in_a) = connect_to(&mut router, "a", None);
    let in_a = in_a.expect("a server is at hand");
    let (_, again) = connect_to(&mut router, "a", Some(in_a.token.clone()));
    assert_eq!(again.expect("it is known").client, in_a.client);
    let (_, in_b) = connect_to(&mut router, "b", Some(in_a.token));
    let in_b = in_b.expect("a server is at hand");
    assert_ne!(in_b.client, in_a.client);
    assert_eq!(*in_b.assignment.primary(), name("b1"));
}

#[test]
fn a_client_waits_for_a_server_of_its_pool() {
    let mut router = router(&["a1"]);
    let ready = |router: &Router| router.ready_pools().iter().map(|it| it.1).collect::<Vec<_>>();
    assert_eq!(ready(&router), [true, false]);
    let (session, welcomed) = connect_to(&mut router, "b", None);
    assert_eq!(welcomed, None);
    link_in_pool(&mut router, "a2");
    assert_eq!(welcome(&mut router, session), None, "a server of another pool came");
    link_in_pool(&mut router, "b1");
    let welcomed = welcome(&mut router, session).expect("now there is one");
    assert_eq!(*welcomed.assignment.primary(), name("b1"));
    assert_eq!(ready(&router), [true, true]);
}

#[test]
fn a_full_pool_does_not_spill() {
    let mut router = router(&["a1", "b1", "b2"]);
    // Far beyond its threshold and capacity of 9.
    for _ in 0..40 {
        let (session, welcome) = connect_to(&mut router, "a", None);
        let welcome = welcome.expect("a server is at hand");
        assert_eq!(*welcome.assignment.primary(), name("a1"));
        let (asked, ..) = ask(&mut router, session);
        assert_eq!(server_name(&router, asked), name("a1"));
    }
}

#[test]
fn nobody_is_handed_on_to_another_pool() {
    let mut router = router(&["a1", "a2", "b1"]);
    let (session, _) = connect_to(&mut router, "a", None);
    let (a1, worker, forward) = ask(&mut router, session);
    let handed = Message::HandedOn { request_id: forward.request_id, to: name("b1") };
    router.handle_server_message(now(0), a1, worker, handed);
    let again = forwards(outputs(&mut router));
    let [(second, ..)] = again[..] else { panic!("{again:?}") };
    assert_eq!(server_name(&router, second), name("a2"));
}

#[test]
fn no_alternate_of_another_pool_takes_over() {
    let mut router = router(&["a1", "a2", "b1"]);
    let (session, _) = settled_in_a(&mut router, "b1");
    ask(&mut router, session);
    let (a1, a2) = (index(&router, "a1"), index(&router, "a2"));
    router.handle_server_down(now(1), a1);
    // The alternate that was named cannot serve it: the others of the pool are asked who holds it.
    let asked: Vec<_> = outputs(&mut router)
        .into_iter()
        .filter_map(|output| match output {
            Output::ToServer { server, frame, .. } => Some((server, Message::decode(&frame))),
            _ => None,
        })
        .collect();
    let [(server, Ok(Message::WhoHolds { query, client }))] = asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(server, a2);
    // What a server of another pool says of it is not heard.
    let epoch = Epoch { term: 9, change: 0, primary: name("b1") };
    let assignment = Assignment { epoch, alternate: None };
    let mirror = Holding { assignment, as_primary: true, entries: 1 };
    let holds = Message::Holds { query, client, holds: Holds::Mirror(mirror) };
    router.handle_server_message(now(2), index(&router, "b1"), 0, holds);
    assert!(forwards(outputs(&mut router)).is_empty());
    let holds = Message::Holds { query, client, holds: Holds::Nothing };
    router.handle_server_message(now(1000), a2, 0, holds);
    let again = forwards(outputs(&mut router));
    let [(server, _, forward)] = &again[..] else { panic!("{again:?}") };
    assert_eq!((*server, forward.how), (a2, How::Assign));
}

#[test]
fn nothing_is_hedged_to_another_pool() {
    for (alternate, expected) in [("b1", None), ("a2", Some("a2"))] {
        let mut router = router(&["a1", "a2", "b1"]);
        let (session, _) = settled_in_a(&mut router, alternate);
        ask(&mut router, session);
        let mut hedged = Vec::new();
        // Long enough for a hedge, and too short for the primary to be down.
        for millis in 0..100 {
            router.handle_timeout(now(millis));
            hedged.extend(forwards(outputs(&mut router)));
        }
        let to = hedged.first().map(|(server, ..)| server_name(&router, *server));
        assert_eq!(to, expected.map(name), "{hedged:?}");
        assert!(hedged.iter().all(|(.., forward)| forward.how == How::Standby), "{hedged:?}");
    }
}

#[test]
fn a_server_that_was_started_anew_for_another_pool_is_not_asked() {
    let mut router = router(&["a1", "a2", "b1"]);
    let (session, _) = settled_in_a(&mut router, "a2");
    let a1 = index(&router, "a1");
    router.handle_server_down(now(1), a1);
    link_to(&mut router, ("a1", Some(&name("b"))), 1);
    outputs(&mut router);
    let (server, _, forward) = ask(&mut router, session);
    assert_eq!((server_name(&router, server), forward.how), (name("a2"), How::Takeover));
    let pools: Vec<_> = router.view().servers.iter().map(|row| row.pool.to_string()).collect();
    assert_eq!(pools, ["b", "a", "b"]);
}

#[test]
fn servers_of_no_pool_of_ours_are_not_linked_and_those_that_say_none_are_of_the_first() {
    let mut router = router(&[]);
    let (server, pool) = (name("c1"), name("c"));
    let refused = router.handle_server_up(now(0), (&server, Some(&pool)), 1, VERSION);
    assert_eq!(refused, Err(CannotLink::NoSuchPool(pool)));
    assert!(router.view().servers.is_empty());
    link_to(&mut router, ("old", None), 1);
    assert_eq!(router.view().servers[0].pool, name("a"));
}

#[test]
fn limits_and_times_are_the_pools() {
    let mut router = router(&["a1", "b1"]);
    let (session, _) = connect_to(&mut router, "b", None);
    let (_, _, forward) = ask(&mut router, session);
    assert_eq!(forward.deadline_ms, 1000);
    let get = Get { request_id: 6, slot: 1, key: None, validator: Validator::None };
    router.handle_lane_frame(now(0), session, LANE, get.encode());
    assert_eq!(on_lanes(&outputs(&mut router)), [FrameType::Busy], "one at a time");
    let (session, _) = connect_to(&mut router, "a", None);
    assert_eq!(ask(&mut router, session).2.deadline_ms, 3000);
}
