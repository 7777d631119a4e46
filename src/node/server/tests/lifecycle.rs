//! Draining, forgetting, and how far alternates are behind.

use super::*;

/// What is sent from now on when time passes.
fn after(server: &mut Server, millis: u64) -> Vec<(Link, Message)> {
    server.handle_timeout(now(millis));
    sent(server)
}

/// A server whose peer `b` speaks this version, with one client, whose mirror `b` has.
fn with_client(version: u64) -> Server {
    let mut server = server();
    server.handle_peer_up(now(0), &name("b"), 1, version);
    ask(&mut server, client(1), How::Assign, epoch(1));
    server
}

fn offers(sent: &[(Link, Message)]) -> Vec<Epoch> {
    let offer = |(to, message): &(Link, Message)| match message {
        Message::HandOver { epoch, .. } if *to == peer("b") => Some(epoch.clone()),
        _ => None,
    };
    sent.iter().filter_map(offer).collect()
}

fn assignment(term: u64, change: u64, primary: &str) -> Assignment {
    let epoch = Epoch { term, change, primary: name(primary) };
    Assignment { epoch, alternate: Some(name("c")) }
}

fn own(change: u64) -> Epoch {
    Epoch { change, ..epoch(1) }
}

#[test]
fn a_server_that_drains_keeps_its_clients_until_the_alternate_has_them() {
    let mut server = with_client(VERSION);
    server.handle_drain(now(0));
    let mut sent = sent(&mut server);
    sent.extend(after(&mut server, 0));
    let status = sent.iter().position(|(to, message)| {
        *to == peer("b")
            && matches!(message, Message::Status(status) if status.state == SelfState::Draining)
    });
    let offer = sent.iter().position(|(_, it)| matches!(it, Message::HandOver { .. }));
    assert!(status.is_some() && status < offer, "it says so before it offers: {sent:?}");
    assert_eq!(offers(&sent), [own(1)]);
    let served = ask(&mut server, client(1), How::Known, own(1));
    assert_eq!(inner_kind(&served), FrameType::NotFound, "it is still the primary");
    let handed_on = ask(&mut server, client(2), How::Assign, epoch(1));
    assert_eq!(handed_on, Message::HandedOn { request_id: 7, to: name("b") });

    let taken = assignment(2, 1, "b");
    let answer = Message::HandedOver { client: client(1), assignment: taken.clone() };
    server.handle_message(now(1), &peer("b"), answer);
    let told = Message::AssignmentChanged { client: client(1), assignment: taken };
    assert!(self::sent(&mut server).contains(&(ROUTER, told)));
    assert!(server.drain_view().is_done());
    assert_eq!(server.view().handed_over_clients, 1);
    let refused = ask(&mut server, client(1), How::Known, own(1));
    let known = Some(Assignment { epoch: Epoch::new(2, name("b")), alternate: None });
    assert_eq!(refused, Message::NotOwner { request_id: 7, known });
    server.handle_undrain(now(2));
    assert_eq!(server.state(), SelfState::Ready);
}

#[test]
fn an_offer_that_is_not_answered_is_made_again_in_the_next_change() {
    let mut server = with_client(VERSION);
    server.handle_drain(now(0));
    assert_eq!(offers(&after(&mut server, 0)), [own(1)]);
    assert_eq!(offers(&after(&mut server, 500)), []);
    let again: Vec<_> = (6..14).flat_map(|tenth| after(&mut server, tenth * 100)).collect();
    assert_eq!(offers(&again), [own(2)]);
    // A release by whom the client was offered to says the same as the answer.
    let release = Message::Release { client: client(1), epoch: Epoch::new(2, name("b")) };
    server.handle_message(now(1_500), &peer("b"), release);
    assert_eq!(server.view().handed_over_clients, 1);
    let told = Assignment { epoch: Epoch::new(2, name("b")), alternate: None };
    let told = Message::AssignmentChanged { client: client(1), assignment: told };
    assert!(sent(&mut server).contains(&(ROUTER, told)));
}

#[test]
fn routers_have_an_alternate_of_the_version_before_take_over() {
    let mut server = with_client(1);
    server.handle_drain(now(0));
    assert_eq!(offers(&after(&mut server, 0)), []);
    server.handle_message(now(0), &ROUTER, get(client(1), How::Known, epoch(1)));
    let assignment = Assignment { epoch: own(1), alternate: Some(name("b")) };
    let answers = [
        (ROUTER, Message::AssignmentChanged { client: client(1), assignment }),
        (ROUTER, Message::NotOwner { request_id: 7, known: None }),
    ];
    assert_eq!(sent(&mut server), answers);
    let release = Message::Release { client: client(1), epoch: Epoch::new(2, name("b")) };
    server.handle_message(now(0), &peer("b"), release);
    assert!(server.drain_view().lists_nobody());
}

#[test]
fn an_alternate_that_is_offered_a_client_takes_it_once_and_answers_always() {
    let mut server = server();
    let third = Link::Server(name("c"), 0);
    server.handle_peer_up(now(0), &name("c"), 1, VERSION);
    server.handle_message(now(0), &third, Message::Status(status("c", 0, 9)));
    let theirs = Epoch { change: 1, ..Epoch::new(3, name("b")) };
    let offer = |change| {
        let epoch = Epoch { change, ..theirs.clone() };
        Message::HandOver { client: client(1), epoch, former: vec![name("d")] }
    };
    server.handle_message(now(0), &peer("b"), offer(1));
    assert_eq!(server.view().primary_clients, 0, "nothing is known of the client");
    let begin = Message::MirrorBegin { client: client(1), epoch: theirs.clone(), former: vec![] };
    server.handle_message(now(0), &peer("b"), begin);
    server.handle_message(now(0), &peer("b"), offer(2));
    assert_eq!(server.view().primary_clients, 0, "the mirror is of another change");
    sent(&mut server);
    server.handle_message(now(0), &peer("b"), offer(1));
    assert_eq!(server.view().primary_clients, 1);
    let epoch = Epoch { change: 1, ..Epoch::new(4, name("a")) };
    let taken = server.client_views(None, 1).remove(0).assignment;
    assert_eq!(taken.epoch, epoch);
    let to_b: Vec<_> = sent(&mut server)
        .into_iter()
        .filter(|(to, _)| *to == peer("b"))
        .map(|(_, it)| it)
        .collect();
    let answer = Message::HandedOver { client: client(1), assignment: taken };
    let answer_at = to_b.iter().position(|message| *message == answer);
    let release_at = to_b.iter().position(|message| matches!(message, Message::Release { .. }));
    assert!(answer_at.is_some(), "{to_b:?}");
    assert!(release_at.is_none_or(|release| answer_at < Some(release)), "{to_b:?}");
    server.handle_message(now(0), &peer("b"), offer(1));
    assert!(sent(&mut server).contains(&(peer("b"), answer)), "the answer may have been lost");
}

#[test]
fn whoever_has_a_server_that_drains_as_alternate_picks_another() {
    let mut server = with_client(VERSION);
    let third = Link::Server(name("c"), 0);
    server.handle_peer_up(now(0), &name("c"), 1, VERSION);
    server.handle_message(now(0), &third, Message::Status(status("c", 0, 9)));
    let drains = Status { sequence: 50, state: SelfState::Draining, ..status("b", 0, 9) };
    server.handle_message(now(0), &peer("b"), Message::Status(drains));
    let view = server.client_views(None, 1).remove(0);
    assert_eq!(view.assignment, Assignment { epoch: own(2), alternate: Some(name("c")) });
    let release = Message::Release { client: client(1), epoch: own(2) };
    server.handle_timeout(now(300));
    assert!(sent(&mut server).contains(&(peer("b"), release)));
}

#[test]
fn a_client_that_asks_for_nothing_is_forgotten_everywhere() {
    let mut server = with_client(VERSION);
    let turns = |from: u64, to: u64| (from * 10..to * 10).map(|tenth| tenth * 100);
    let mut heard = Vec::new();
    turns(0, 9).for_each(|millis| heard.extend(after(&mut server, millis)));
    assert_eq!(server.view().primary_clients, 1);
    turns(9, 13).for_each(|millis| heard.extend(after(&mut server, millis)));
    let view = server.view();
    assert_eq!((view.primary_clients, view.forgotten_clients), (0, 1));
    let release = Message::Release { client: client(1), epoch: own(2) };
    assert!(heard.contains(&(peer("b"), release)), "the alternate is told");
    server.handle_message(now(13_000), &ROUTER, Message::WhoHolds { query: 3, client: client(1) });
    let holds = Message::Holds { query: 3, client: client(1), holds: Holds::Released(own(2)) };
    assert!(sent(&mut server).contains(&(ROUTER, holds)), "it is assigned afresh above that");
}

#[test]
fn an_alternate_forgets_a_client_only_when_its_primary_is_gone_for_long() {
    let mut server = server();
    let theirs = Epoch { change: 1, ..Epoch::new(1, name("b")) };
    let begin = Message::MirrorBegin { client: client(1), epoch: theirs, former: vec![] };
    server.handle_message(now(0), &peer("b"), begin);
    for millis in (0..600).map(|tenth| tenth * 100) {
        after(&mut server, millis);
    }
    assert_eq!(server.view().alternate_clients, 1, "the primary lives");
    server.handle_peer_down(now(60_000), &name("b"));
    let left = |server: &mut Server, from: u64, to: u64| {
        (from * 10..to * 10).for_each(|tenth| drop(after(server, tenth * 100)));
        server.view().alternate_clients
    };
    assert_eq!(left(&mut server, 60, 68), 1);
    assert_eq!(left(&mut server, 68, 95), 0);
    assert_eq!(server.view().forgotten_clients, 1);
}

#[test]
fn a_mirror_is_rebuilt_in_batches_and_the_lag_is_what_was_not_acknowledged() {
    let mut server = server();
    let theirs = Epoch::new(3, name("b"));
    let begin = Message::MirrorBegin { client: client(1), epoch: theirs.clone(), former: vec![] };
    server.handle_message(now(0), &peer("b"), begin);
    for slot in 0..6 {
        let key = "/key".parse().expect("a key");
        let (client, epoch, sequence) = (client(1), theirs.clone(), slot + 1);
        let entry = Message::Mirror { client, epoch, sequence, slot, key, version: None };
        server.handle_message(now(0), &peer("b"), entry);
    }
    let ack = Message::MirrorAck { client: client(1), epoch: theirs, sequence: 6 };
    assert!(after(&mut server, 10).contains(&(peer("b"), ack)));
    ask(&mut server, client(1), How::Takeover, epoch(4));
    let entries = |sent: Vec<(Link, Message)>| {
        sent.iter().filter(|(_, message)| matches!(message, Message::Mirror { .. })).count()
    };
    assert_eq!(server.view().lag.entries, 6 + 1, "the entry that was asked for was sent ahead");
    // As many as a batch has went out with the takeover.
    assert_eq!(entries(after(&mut server, 20)), 2);
    let lag = server.view().lag;
    assert_eq!((lag.entries, lag.time >= Duration::from_millis(20)), (6 + 1, true));
    let acked = |sequence| {
        let epoch = Epoch { change: 1, ..epoch(4) };
        Message::MirrorAck { client: client(1), epoch, sequence }
    };
    server.handle_message(now(30), &peer("b"), acked(5));
    assert_eq!(server.view().lag.entries, 2);
    server.handle_message(now(31), &peer("b"), acked(7));
    assert_eq!(server.view().lag, MirrorLag::default());
}

/// Lets servers of these names exchange what they send until nobody has more to say, each message
/// once; a router hears nothing. Each round takes a millisecond.
fn exchange(servers: &mut BTreeMap<Name, Server>, at_ms: u64) {
    let mut under_way: Vec<(Name, Name, Message)> = Vec::new();
    for (name, server) in servers.iter_mut() {
        server.handle_timeout(now(at_ms));
        for (to, message) in sent_unchecked(server) {
            if let Link::Server(to, _) = to {
                under_way.push((name.clone(), to, message));
            }
        }
    }
    for (from, to, message) in under_way {
        let link = Link::Server(from, 0);
        servers.get_mut(&to).expect("a server").handle_message(now(at_ms), &link, message);
    }
}

#[test]
fn ten_thousand_clients_are_handed_over_within_a_second_and_in_small_steps() {
    let names = [name("a"), name("b"), name("c")];
    let mut servers = BTreeMap::new();
    for own in &names {
        let config = ServerConfig { name: own.clone(), ..config(0, 1) };
        let config = ServerConfig { threshold: 20_000, capacity: 20_000, ..config };
        let mut server = Server::new(config, Arc::default());
        server.handle_router_up(now(0), &ROUTER, VERSION);
        for other in names.iter().filter(|other| *other != own) {
            server.handle_peer_up(now(0), other, 1, VERSION);
        }
        servers.insert(own.clone(), server);
    }
    (0..30).for_each(|round| exchange(&mut servers, round));
    let clients = 10_000_u64;
    let a = servers.get_mut(&names[0]).expect("a");
    for number in 0..clients {
        let mut id = [0; 16];
        // As good as random, as those that routers draw.
        id[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes());
        a.handle_message(now(30), &ROUTER, get(ClientId(id), How::Assign, epoch(1)));
    }
    (30..90).for_each(|round| exchange(&mut servers, round));
    let a = servers.get_mut(&names[0]).expect("a");
    assert_eq!(a.view().primary_clients, clients);
    a.handle_drain(now(90));
    let mut at_ms = 90;
    while !servers[&names[0]].drain_view().is_done() {
        let offers = servers[&names[0]].open_offers();
        assert!(offers <= 256, "{offers} at one time would hold up requests");
        exchange(&mut servers, at_ms);
        at_ms += 1;
        assert!(at_ms < 1_000, "{:?} after a second", servers[&names[0]].drain_view());
    }
    servers.values().for_each(Server::assert_consistent);
    let primaries: u64 = servers.values().map(|server| server.view().primary_clients).sum();
    assert_eq!(primaries, clients);
    for other in &names[1..] {
        assert!(!servers[other].drain_view().draining);
    }
}

#[test]
fn a_mirror_that_begins_again_and_again_is_filed_once() {
    let mut server = server();
    for change in 0..50 {
        for number in 1..=3 {
            let epoch = Epoch { change, ..Epoch::new(3, name("b")) };
            let begin = Message::MirrorBegin { client: client(number), epoch, former: vec![] };
            server.handle_message(now(change * 100), &peer("b"), begin);
        }
        sent(&mut server);
    }
    assert_eq!(server.idle.len(), 3);
    assert_eq!(server.client_views(None, 9).len(), 3);
}

#[test]
fn whoever_came_before_another_server_did_gets_an_alternate_then() {
    let mut server = Server::new(ServerConfig { capacity: 9, ..config(0, 1) }, Arc::default());
    server.handle_router_up(now(0), &ROUTER, VERSION);
    sent(&mut server);
    for number in 1..=3 {
        ask(&mut server, client(number), How::Assign, epoch(1));
    }
    let alternates = |server: &Server| -> Vec<_> {
        let views = server.client_views(None, 9).into_iter();
        views.map(|view| (view.assignment.alternate, view.choice.is_some())).collect()
    };
    assert_eq!(alternates(&server), vec![(None, false); 3]);
    server.handle_peer_up(now(0), &name("b"), 1, VERSION);
    server.handle_message(now(0), &peer("b"), Message::Status(status("b", 0, 9)));
    sent(&mut server);
    assert_eq!(alternates(&server), vec![(Some(name("b")), true); 3]);
    server.handle_peer_down(now(0), &name("b"));
    sent(&mut server);
    assert_eq!(alternates(&server), vec![(None, false); 3]);
}
