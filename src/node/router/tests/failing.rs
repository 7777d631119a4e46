//! Servers that are slow, silent or lost, and what becomes of requests and bodies.

use super::*;
use crate::wire::backplane::UseCachedBy;
use crate::wire::lane::{Body, ErrorCode};
use crate::wire::{HeaderBlock, Tag};

/// A router with a settled client: primary `x`, alternate `y`.
struct World {
    router: Router,
    session: SessionId,
    x: ServerIndex,
    y: ServerIndex,
    /// Who answers questions for a sign of life.
    alive: Vec<ServerIndex>,
    /// Questions that were not answered.
    owed: Vec<(ServerIndex, u64, u64)>,
    now: Time,
}

fn world() -> World {
    let [mut router, _] = workers();
    let (session, _) = settled(&mut router);
    let find = |text| router.assignments.shared().names.find(&name(text)).expect("it was linked");
    let (x, y) = (find("x"), find("y"));
    World { router, session, x, y, alive: vec![x, y], owed: Vec::new(), now: now(0) }
}

impl World {
    /// Lets time pass; gives what was put out meanwhile.
    fn pass(&mut self, millis: u64) -> Vec<Output> {
        let until = self.now + Duration::from_millis(millis);
        let mut said = Vec::new();
        while self.router.poll_timeout() <= until {
            self.now = self.now.max(self.router.poll_timeout());
            self.router.handle_timeout(self.now);
            self.answer_questions(&mut said);
        }
        self.now = until;
        said
    }

    fn answer_questions(&mut self, said: &mut Vec<Output>) {
        for output in outputs(&mut self.router) {
            if let Output::ToServer { server, worker, frame } = &output
                && let Ok(Message::Ping { number }) = Message::decode(frame)
            {
                if self.alive.contains(server) {
                    let pong = Message::Pong { number };
                    self.router.handle_server_message(self.now, *server, *worker, pong);
                } else {
                    self.owed.push((*server, *worker, number));
                }
            } else {
                said.push(output);
            }
        }
    }

    fn send(&mut self, frame: Frame) -> Vec<(ServerIndex, u64, Forward)> {
        self.router.handle_lane_frame(self.now, self.session, LANE, frame);
        forwards(outputs(&mut self.router))
    }

    fn get(&mut self) -> Vec<(ServerIndex, u64, Forward)> {
        let get = Get { request_id: 5, slot: 0, key: None, validator: Validator::None };
        self.send(get.encode())
    }

    /// A server answers; gives the kinds of the frames that clients got.
    fn answer(&mut self, from: ServerIndex, request_id: u64, outcome: Outcome) -> Vec<FrameType> {
        let by = matches!(outcome, Outcome::UseCached { .. }).then_some(UseCachedBy::Mirror);
        let inner = Reply { request_id: 5, outcome }.encode();
        let reply = Message::Reply { request_id, assignment: None, by, inner };
        self.router.handle_server_message(self.now, from, 0, reply);
        on_lanes(&outputs(&mut self.router))
    }

    fn health(&self) -> Vec<HealthState> {
        self.router.view().servers.iter().map(|row| row.health).collect()
    }
}

fn use_cached() -> Outcome {
    Outcome::UseCached { tag: Tag([1; 16]) }
}

fn streamed(tag: u8) -> Outcome {
    let body = Body::Stream { length: 1 << 20 };
    Outcome::Full { tag: Tag([tag; 16]), headers: HeaderBlock::default(), body }
}

#[test]
fn an_overdue_request_also_goes_to_the_alternate_and_the_first_answer_wins() {
    let mut world = world();
    let first = world.get();
    assert_eq!(first.len(), 1);
    assert_eq!(forwards(world.pass(15)).len(), 0, "it may take twice what is usual");
    let hedges = forwards(world.pass(15));
    let [(to, _, hedge)] = &hedges[..] else { panic!("{hedges:?}") };
    assert_eq!((*to, hedge.how, hedge.request_id), (world.y, How::Standby, first[0].2.request_id));
    assert_eq!(hedge.primary, Some(name("x")));
    assert_eq!(world.answer(world.y, hedge.request_id, use_cached()), [FrameType::UseCached]);
    assert_eq!(world.answer(world.x, hedge.request_id, use_cached()), [], "it comes too late");
    let counters = world.router.view().counters;
    assert_eq!((counters.hedges, counters.hedge_wins, counters.takeovers), (1, 1, 0));
}

#[test]
fn a_standby_that_does_not_know_or_cannot_is_not_believed() {
    let busy = Outcome::Busy { retry_after_ms: 1 };
    let failed = Outcome::error(ErrorCode::Source, "no");
    for refusal in [Outcome::UnknownSlot, busy, failed] {
        let mut world = world();
        let number = world.get()[0].2.request_id;
        assert_eq!(forwards(world.pass(30)).len(), 1);
        assert_eq!(world.answer(world.y, number, refusal), []);
        assert_eq!(world.answer(world.x, number, use_cached()), [FrameType::UseCached]);
    }
}

#[test]
fn the_delay_of_a_hedge_follows_the_answers() {
    let mut world = world();
    for _ in 0..400 {
        let number = world.get()[0].2.request_id;
        world.pass(1);
        assert_eq!(world.answer(world.x, number, use_cached()), [FrameType::UseCached]);
    }
    world.get();
    assert_eq!(forwards(world.pass(3)).len(), 0);
    assert_eq!(forwards(world.pass(2)).len(), 1, "answers come within a millisecond");
}

#[test]
fn a_silent_server_is_suspect_then_down_and_its_requests_do_not_wait() {
    let mut world = world();
    world.alive = vec![world.y];
    world.get();
    world.pass(16);
    assert_eq!(world.health(), [HealthState::Suspect, HealthState::Healthy]);
    // The next request is sent to both at once.
    let asked: Vec<_> = world.get().iter().map(|(to, _, forward)| (*to, forward.how)).collect();
    assert_eq!(asked, [(world.x, How::Known), (world.y, How::Standby)]);
    let said = world.pass(260);
    assert_eq!(world.health(), [HealthState::Down, HealthState::Healthy]);
    let taken: Vec<_> = forwards(said).iter().map(|(to, _, it)| (*to, it.how)).collect();
    assert_eq!(taken, [(world.y, How::Takeover), (world.y, How::Takeover)]);
}

#[test]
fn a_call_that_may_not_be_repeated_is_never_hedged() {
    let mut world = world();
    world.alive = vec![world.y];
    let call = |flags: u8| {
        Frame::build(FrameType::Call, 64, |out| {
            out.extend_from_slice(&[5, flags]);
        })
    };
    assert_eq!(world.send(call(0)).len(), 1);
    assert_eq!(forwards(world.pass(100)).len(), 0);
    assert_eq!(world.health()[0], HealthState::Suspect);
    assert_eq!(world.send(call(0)).len(), 1);
    assert_eq!(world.send(call(crate::wire::lane::CALL_IDEMPOTENT)).len(), 2);
    let said = world.pass(200);
    assert_eq!(on_lanes(&said), [FrameType::FateUnknown; 2]);
    assert_eq!(forwards(said).len(), 1, "the one that may be repeated is taken over");
}

#[test]
fn silence_never_takes_more_than_half_of_the_servers() {
    let mut world = world();
    world.alive.clear();
    world.get();
    world.pass(2_000);
    let health = world.health();
    assert_eq!(health.iter().filter(|state| **state == HealthState::Down).count(), 1);
    assert!(health.contains(&HealthState::Suspect));
}

#[test]
fn a_server_that_answers_again_is_suspect_for_a_while() {
    let mut world = world();
    world.alive = vec![world.y];
    world.get();
    world.pass(300);
    assert_eq!(world.health()[0], HealthState::Down);
    world.alive.push(world.x);
    for (server, worker, number) in std::mem::take(&mut world.owed) {
        let pong = Message::Pong { number };
        world.router.handle_server_message(world.now, server, worker, pong);
    }
    outputs(&mut world.router);
    assert_eq!(world.health()[0], HealthState::Suspect);
    world.pass(400);
    assert_eq!(world.health()[0], HealthState::Suspect);
    world.pass(400);
    assert_eq!(world.health()[0], HealthState::Healthy);
}

#[test]
fn time_in_which_the_router_stood_still_counts_against_nobody() {
    let mut world = world();
    world.get();
    world.now += Duration::from_secs(5);
    world.router.handle_timeout(world.now);
    assert_eq!(world.health(), [HealthState::Healthy; 2]);
    assert_eq!(forwards(outputs(&mut world.router)).len(), 0, "what came is read first");
}

/// A body of version 1 is on its way from `x`, and `begun` says whether its stream has come.
fn with_body(begun: bool) -> (World, u64) {
    let mut world = world();
    let number = world.get()[0].2.request_id;
    assert_eq!(world.router.handle_body(world.x, number, 0), BodyVerdict::Early);
    assert_eq!(world.answer(world.x, number, streamed(1)), [FrameType::Full]);
    if begun {
        let verdict = world.router.handle_body(world.x, number, 0);
        assert!(matches!(verdict, BodyVerdict::Wanted(_)), "{verdict:?}");
    }
    (world, number)
}

#[test]
fn a_body_goes_on_at_the_next_primary_where_it_broke_off() {
    let (mut world, number) = with_body(true);
    let x = world.x;
    world.router.handle_server_down(world.now, x);
    let said = outputs(&mut world.router);
    assert!(matches!(said[..], [Output::SuspendBody { body }] if body == number), "{said:?}");
    world.router.handle_body_broken(world.now, number, 70_000);
    let asked = forwards(outputs(&mut world.router));
    let [(to, _, rest)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((*to, rest.how), (world.y, How::Takeover));
    let resume = rest.resume.expect("only the rest is asked for");
    assert_eq!((resume.offset, resume.tag), (70_000, Tag([1; 16])));
    let rest = rest.request_id;
    assert_eq!(world.answer(world.y, rest, streamed(1)), [], "the client has the head");
    assert_eq!(world.router.handle_body(world.y, rest, 0), BodyVerdict::Unwanted);
    let verdict = world.router.handle_body(world.y, rest, 70_000);
    assert!(matches!(verdict, BodyVerdict::Wanted(route) if route.body == number), "{verdict:?}");
    world.router.handle_body_ended(rest);
    let view = world.router.view();
    assert_eq!((view.requests, view.counters.resumed_bodies), (0, 1));
    assert_eq!(view.counters.abandoned_bodies, 0);
}

#[test]
fn a_body_that_has_not_begun_is_asked_for_from_its_start() {
    let (mut world, number) = with_body(false);
    let x = world.x;
    world.router.handle_server_down(world.now, x);
    let asked = forwards(outputs(&mut world.router));
    let resume = asked[0].2.resume.expect("the client has the head");
    assert_eq!((resume.offset, resume.tag), (0, Tag([1; 16])));
    assert_ne!(asked[0].2.request_id, number);
}

#[test]
fn a_body_of_another_version_does_not_follow() {
    for outcome in [streamed(2), Outcome::NotFound, use_cached(), Outcome::UnknownSlot] {
        let (mut world, number) = with_body(true);
        let x = world.x;
        world.router.handle_server_down(world.now, x);
        world.router.handle_body_broken(world.now, number, 70_000);
        let rest = forwards(outputs(&mut world.router)).remove(0).2.request_id;
        let (y, now) = (world.y, world.now);
        let inner = Reply { request_id: 5, outcome }.encode();
        let reply = Message::Reply { request_id: rest, assignment: None, by: None, inner };
        world.router.handle_server_message(now, y, 0, reply);
        let said = outputs(&mut world.router);
        let abandoned = |it: &Output| matches!(it, Output::AbandonBody { body } if *body == number);
        assert!(said.iter().any(abandoned), "{said:?}");
        assert_eq!(on_lanes(&said), [FrameType::Error]);
        assert_eq!(world.router.view().requests, 0);
    }
}

#[test]
fn a_client_that_goes_away_takes_its_bodies_with_it() {
    let (mut world, number) = with_body(true);
    let session = world.session;
    world.router.handle_disconnected(world.now, session);
    let said = outputs(&mut world.router);
    assert!(matches!(said[..], [Output::AbandonBody { body }] if body == number), "{said:?}");
    world.router.handle_body_broken(world.now, number, 10);
    assert_eq!(outputs(&mut world.router).len(), 0);
}
