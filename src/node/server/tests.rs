//! One server, by hand: what it does with each kind of request.

mod batches;
mod bench;
mod calls;
#[cfg(feature = "server")]
mod codings;
mod differences;
mod freshness;
mod http;
mod inventory;
mod memory;
mod payloads;
mod prefetch;

use super::*;
use crate::mirror::Freshness;
use crate::node::Planted;
use crate::wire::Assignment;
use crate::wire::backplane::{Forward, Holds, How, Status, use_cached_frame};
use crate::wire::frame::FrameType;
use crate::wire::lane::{Get, Validator};
use crate::wire::session::VERSION;

mod lifecycle;

const ROUTER: Link = Link::Router(1);

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn now(millis: u64) -> Time {
    Time::from_micros(1_000_000 + millis * 1000)
}

fn client(number: u8) -> ClientId {
    ClientId([number; 16])
}

fn peer(text: &str) -> Link {
    Link::Server(name(text), 0)
}

/// The server `a`, with a threshold of 1 and a capacity of 2, and its peer `b` at hand.
fn server() -> Server {
    worker(0, 1, &Arc::default())
}

/// One of the workers of that server.
fn worker(worker: u64, workers: u64, tally: &Arc<Tally>) -> Server {
    let mut server = Server::new(config(worker, workers), Arc::clone(tally));
    server.handle_router_up(now(0), &ROUTER, VERSION);
    server.handle_peer_up(now(0), &name("b"), 1, VERSION);
    server.handle_message(now(0), &peer("b"), Message::Status(status("b", 0, 9)));
    sent(&mut server);
    server
}

fn config(worker: u64, workers: u64) -> ServerConfig {
    ServerConfig {
        name: name("a"),
        worker,
        workers,
        zone: None,
        threshold: 1,
        capacity: 2,
        slots: 8,
        passes_http: false,
        memory: 1 << 20,
        client_idle_timeout: Duration::from_secs(10),
        rebuild_batch: 4,
        incarnation: 1,
        pid: 1,
        admin: String::new(),
        planted: Planted::default(),
    }
}

fn status(server: &str, primary_clients: u64, capacity: u64) -> Status {
    Status {
        name: name(server),
        incarnation: 1,
        sequence: primary_clients + 1,
        zone: None,
        state: SelfState::Ready,
        primary_clients,
        alternate_clients: 0,
        threshold: capacity,
        capacity,
        handed_on_clients: 0,
        must_served_clients: 0,
        released_clients: 0,
        pid: 2,
        admin: String::new(),
    }
}

/// Answers every retrieval with NOT_FOUND, and collects what was sent.
fn sent(server: &mut Server) -> Vec<(Link, Message)> {
    let sent = sent_unchecked(server);
    server.assert_consistent();
    sent
}

/// The same without a look at all clients.
fn sent_unchecked(server: &mut Server) -> Vec<(Link, Message)> {
    let mut sent = Vec::new();
    while let Some(output) = server.poll_output() {
        match output {
            Output::Send { to, message } => sent.push((to, *message)),
            Output::UseCached { to, request_id, by, inner_id, tag } => {
                let frame = use_cached_frame(request_id, by, inner_id, &tag);
                sent.push((to, Message::decode(&frame).expect("a REPLY")));
            }
            Output::Reply { to, request_id, assignment, by, reply } => {
                let inner = reply.encode();
                let assignment = assignment.map(|assignment| *assignment);
                sent.push((to, Message::Reply { request_id, assignment, by, inner }));
            }
            Output::Retrieve { ticket, .. } => {
                let answer = Retrieved::NotFound;
                server.handle_retrieved(now(0), ticket, answer, Freshness::default());
            }
            _ => {}
        }
    }
    sent
}

fn epoch(term: u64) -> Epoch {
    Epoch::new(term, name("a"))
}

/// What the router hears when it forwards a GET.
fn ask(server: &mut Server, of: ClientId, how: How, epoch: Epoch) -> Message {
    server.handle_message(now(0), &ROUTER, get(of, how, epoch));
    let sent = sent(server).into_iter().filter(|(to, _)| *to == ROUTER);
    let mut answers: Vec<_> = sent.map(|(_, message)| message).collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}

/// A GET that a router forwards.
fn get(client: ClientId, how: How, epoch: Epoch) -> Message {
    let key = Some("/key".parse().expect("a key"));
    let inner = Get { request_id: 5, slot: 0, key, validator: Validator::None }.encode();
    Message::Forward(Forward {
        resume: None,
        takes_deltas: true,
        request_id: 7,
        client,
        term: epoch.term,
        change: epoch.change,
        primary: (epoch.primary != name("a")).then_some(epoch.primary),
        how,
        deadline_ms: 1000,
        former: Vec::new(),
        inner,
    })
}

fn inner_kind(message: &Message) -> FrameType {
    match message {
        Message::Reply { inner, .. } => inner.kind(),
        other => panic!("{other:?} is no reply"),
    }
}

#[test]
fn over_its_threshold_a_server_hands_on_by_its_own_count_whatever_the_router_believes() {
    let mut server = server();
    let first = ask(&mut server, client(1), How::Assign, epoch(1));
    assert_eq!(inner_kind(&first), FrameType::NotFound);
    for _ in 0..2 {
        // A second request that was already on its way gets the same answer, and counts no more.
        let second = ask(&mut server, client(2), How::Assign, epoch(1));
        assert_eq!(second, Message::HandedOn { request_id: 7, to: name("b") });
        assert_eq!(server.view().handed_on_clients, 1);
    }
    assert_eq!(server.view().primary_clients, 1);
}

#[test]
fn a_client_that_must_be_served_is_served_up_to_the_capacity() {
    let mut server = server();
    for number in 1..=2 {
        let served = ask(&mut server, client(number), How::HandedOn, epoch(2));
        assert_eq!(inner_kind(&served), FrameType::NotFound);
    }
    assert_eq!(server.view().must_served_clients, 2);
    let refused = ask(&mut server, client(3), How::HandedOn, epoch(2));
    assert_eq!(inner_kind(&refused), FrameType::Busy);
    assert_eq!(server.view().primary_clients, 2);
}

#[test]
fn a_server_that_nobody_can_relieve_serves_up_to_its_capacity() {
    let mut server = server();
    server.handle_peer_down(now(0), &name("b"));
    sent(&mut server);
    let kinds: Vec<_> = (1..=3)
        .map(|number| inner_kind(&ask(&mut server, client(number), How::Assign, epoch(1))))
        .collect();
    assert_eq!(kinds, [FrameType::NotFound, FrameType::NotFound, FrameType::Busy]);
}

#[test]
fn a_client_that_is_not_listed_is_never_served_cold() {
    let mut server = server();
    for how in [How::Known, How::Takeover, How::Standby] {
        let answer = ask(&mut server, client(1), how, epoch(5));
        assert_eq!(answer, Message::NotOwner { request_id: 7, known: None }, "{how:?}");
    }
    assert_eq!(server.view().primary_clients, 0);
}

#[test]
fn a_takeover_is_exempt_from_the_capacity_and_releases_the_former_primary() {
    let mut server = server();
    let peer = peer("b");
    // A third server, idle, will be the alternate: the former primary is not, and must be released.
    let third = Link::Server(name("c"), 0);
    server.handle_peer_up(now(0), &name("c"), 1, VERSION);
    server.handle_message(now(0), &third, Message::Status(status("c", 0, 9)));
    server.handle_message(now(0), &peer, Message::Status(status("b", 8, 9)));
    let theirs = Epoch::new(3, name("b"));
    for number in 1..=3 {
        let begin =
            Message::MirrorBegin { client: client(number), epoch: theirs.clone(), former: vec![] };
        server.handle_message(now(0), &peer, begin);
        let served = ask(&mut server, client(number), How::Takeover, epoch(4));
        assert_eq!(inner_kind(&served), FrameType::NotFound);
    }
    let view = server.view();
    assert_eq!((view.primary_clients, view.debts), (3, 3));
    // It pays until it is acknowledged, and only for what is named.
    server.handle_timeout(now(900));
    let released = sent(&mut server);
    let releases =
        released.iter().filter(|(_, message)| matches!(message, Message::Release { .. }));
    assert_eq!(releases.count(), 3);
    for (_, message) in released {
        if let Message::Release { client, epoch } = message {
            server.handle_message(now(900), &peer, Message::Released { client, epoch });
        }
    }
    assert_eq!(server.view().debts, 0);
}

#[test]
fn a_release_drops_only_what_is_lower() {
    let mut server = server();
    ask(&mut server, client(1), How::Assign, epoch(4));
    let peer = peer("b");
    let release = |term| Message::Release { client: client(1), epoch: Epoch::new(term, name("b")) };
    server.handle_message(now(0), &peer, release(4));
    assert_eq!(server.view().primary_clients, 1, "ours is change 1 of term 4");
    server.handle_message(now(0), &peer, release(5));
    assert_eq!(server.view().primary_clients, 0);
    assert_eq!(server.view().released_clients, 1);
    let acknowledged = sent(&mut server);
    let released = |(_, message): &&(Link, Message)| matches!(message, Message::Released { .. });
    assert_eq!(acknowledged.iter().filter(released).count(), 2, "both are acknowledged");
}

#[test]
fn a_paused_server_drops_who_was_taken_before_it_is_ready_again() {
    let mut server = server();
    ask(&mut server, client(1), How::Assign, epoch(1));
    let peer = peer("b");
    let later = now(10_000);
    server.handle_timeout(later);
    assert_eq!(server.state(), SelfState::Returned);
    let round = sent(&mut server).into_iter().find_map(|(_, message)| match message {
        Message::Returned { round } => Some(round),
        _ => None,
    });
    let round = round.expect("it asks what it is owed");
    let release = Message::Release { client: client(1), epoch: Epoch::new(2, name("b")) };
    server.handle_message(later, &peer, release);
    server.handle_message(later, &peer, Message::Settled { round });
    assert_eq!(server.state(), SelfState::Ready);
    assert_eq!(server.view().primary_clients, 0);
}

#[test]
fn a_request_for_a_client_of_another_worker_is_turned_away_and_changes_nothing() {
    let tally = Arc::default();
    let mut workers = [worker(0, 2, &tally), worker(1, 2, &tally)];
    for number in 1..=2 {
        let own = client(number).owner(2) as usize;
        for how in [How::Assign, How::HandedOn, How::Known, How::Takeover, How::Standby] {
            let answer = ask(&mut workers[1 - own], client(number), how, epoch(1));
            assert_eq!(answer, Message::WrongWorker { request_id: 7, workers: 2 }, "{how:?}");
        }
        assert_eq!(workers[1 - own].view().counters.misdirected_requests, 5);
        assert_eq!(workers[1 - own].client_views(None, 9).len(), 0);
        assert_eq!(tally.read(Count::Primary), 0);
        assert_eq!(tally.read(Count::HandedOn), 0);
        workers = [worker(0, 2, &tally), worker(1, 2, &tally)];
    }
    let own = client(1).owner(2) as usize;
    let served = ask(&mut workers[own], client(1), How::Assign, epoch(1));
    assert_eq!(inner_kind(&served), FrameType::NotFound);
}

#[test]
fn two_workers_share_the_threshold_and_the_capacity() {
    let tally = Arc::default();
    let mut workers = [worker(0, 2, &tally), worker(1, 2, &tally)];
    let mut ask_owner = |number: u8, how| {
        let own = client(number).owner(2) as usize;
        ask(&mut workers[own], client(number), how, epoch(1))
    };
    let [even, odd] = [2, 1];
    assert_eq!(inner_kind(&ask_owner(even, How::Assign)), FrameType::NotFound);
    let handed_on = ask_owner(odd, How::Assign);
    assert_eq!(handed_on, Message::HandedOn { request_id: 7, to: name("b") });
    assert_eq!(inner_kind(&ask_owner(odd, How::HandedOn)), FrameType::NotFound);
    assert_eq!(inner_kind(&ask_owner(even + 2, How::HandedOn)), FrameType::Busy);
    assert_eq!((tally.read(Count::Primary), tally.read(Count::MustServed)), (2, 1));
    // Either worker says what both have.
    for worker in &workers {
        worker.assert_consistent();
        assert_eq!((worker.share(Count::Primary), worker.view().primary_clients), (1, 2));
    }
}

#[test]
fn a_peer_that_membership_calls_gone_is_kept_while_its_connections_stand() {
    let mut server = server();
    // In a later term, so that all others are owed a release.
    ask(&mut server, client(1), How::Assign, epoch(2));
    server.handle_peer_gone(now(0), &name("b"));
    server.handle_peer_gone(now(0), &name("c"));
    assert!(server.board.member(&name("b")).is_some_and(|member| member.reachable));
    assert!(server.board.member(&name("c")).is_none());
    server.handle_peer_down(now(0), &name("b"));
    server.handle_peer_gone(now(0), &name("b"));
    assert!(server.board.member(&name("b")).is_none(), "nobody waits for it any more");
    assert_eq!(server.view().debts, 0, "and nothing is owed to it");
    sent(&mut server);
    // It was not gone after all.
    server.handle_peer_up(now(0), &name("b"), 1, VERSION);
    server.handle_message(now(0), &peer("b"), Message::Status(status("b", 0, 9)));
    let again = sent(&mut server).into_iter().any(|(to, message)| {
        to == peer("b") && matches!(message, Message::Release { .. } | Message::MirrorBegin { .. })
    });
    assert!(again, "it is told whose client that is");
    server.assert_consistent();
}
