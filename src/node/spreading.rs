//! How new clients spread: routers and servers without a network between them, one client at a
//! time.

use super::Planted;
use super::router::{self, PoolConfig, Router, RouterConfig};
use super::server::{self, ClientRole, Link, Retrieved, Server, ServerConfig};
use crate::assign::ServerIndex;
use crate::cluster::{Count, Policy, Tally};
use crate::mirror::Freshness;
use crate::wire::backplane::{Message, gather_reply, use_cached_frame};
use crate::wire::gather::Gather;
use crate::wire::lane::{Get, Validator};
use crate::wire::session::{Hello, Limits, OLDEST_VERSION, VERSION, Versions};
use crate::wire::token::TokenKeys;
use crate::wire::{Frame, FrameType, Name, Time};
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;

const LANE: u32 = 1;

struct World {
    servers: Vec<(Name, Arc<Tally>, Server)>,
    routers: Vec<(Router, Vec<ServerIndex>)>,
    /// Routers hear no status after the first.
    withheld: bool,
    now: Time,
    /// What clients were answered, by kind.
    answers: Vec<FrameType>,
}

fn name(number: usize) -> Name {
    Name::new(&format!("server-{number}")).expect("a name")
}

fn server(number: usize, threshold: u64, capacity: u64) -> (Name, Arc<Tally>, Server) {
    let tally = Arc::default();
    let config = ServerConfig {
        name: name(number),
        worker: 0,
        workers: 1,
        zone: None,
        threshold,
        capacity,
        slots: 8,
        passes_http: false,
        client_idle_timeout: Duration::from_secs(3600),
        rebuild_batch: 256,
        memory: 1 << 20,
        incarnation: 1,
        pid: 1,
        admin: String::new(),
        planted: Planted::default(),
    };
    (name(number), Arc::clone(&tally), Server::new(config, tally))
}

fn router(seed: u8, policy: Policy) -> Router {
    let config = RouterConfig {
        pools: vec![PoolConfig {
            name: Name::new("default").expect("a name"),
            policy,
            limits: Limits { slots: 8, in_flight: 8, max_item: 1 << 20 },
            request_timeout: None,
        }],
        versions: Versions::ALL,
        request_timeout: Duration::from_secs(3),
        token_lifetime: Duration::from_secs(3600),
        seed: [seed; 32],
        planted: Planted::default(),
    };
    Router::new(config, TokenKeys::new(&[[7; 32]]), Arc::default())
}

/// The frame that a server's shell would write.
fn written(fill: impl FnOnce(&mut Gather)) -> Message {
    let (mut out, mut pieces) = (Gather::default(), Vec::new());
    fill(&mut out);
    out.take(&mut pieces);
    let mut bytes = BytesMut::from(&pieces.concat()[..]);
    let frame = Frame::split_from(&mut bytes, usize::MAX).expect("a frame").expect("a whole one");
    Message::decode(&frame).expect("a message")
}

impl World {
    fn new(routers: usize, limits: &[(u64, u64)], policy: Policy) -> Self {
        let servers = (1..).zip(limits).map(|(at, limits)| server(at, limits.0, limits.1));
        let routers = (0..routers).map(|seed| (router(seed as u8, policy), Vec::new()));
        let mut world = Self {
            servers: servers.collect(),
            routers: routers.collect(),
            withheld: false,
            now: Time::from_micros(1_000_000),
            answers: Vec::new(),
        };
        let now = world.now;
        let names: Vec<_> = world.servers.iter().map(|(name, ..)| name.clone()).collect();
        for (router, indices) in &mut world.routers {
            let up =
                |name| router.handle_server_up(now, (name, None), 1, VERSION).expect("a place");
            *indices = names.iter().map(up).collect();
        }
        for place in 0..names.len() {
            let (own, _, server) = &mut world.servers[place];
            for router in 0..world.routers.len() as u64 {
                server.handle_router_up(now, &Link::Router(router), VERSION);
            }
            for peer in names.iter().filter(|peer| *peer != own) {
                server.handle_peer_up(now, peer, 1, VERSION);
            }
        }
        world.settle();
        world
    }

    /// Carries messages until there are none.
    fn settle(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for place in 0..self.servers.len() {
                while let Some(output) = self.servers[place].2.poll_output() {
                    moved = true;
                    self.carry_from_server(place, output);
                }
            }
            for place in 0..self.routers.len() {
                while let Some(output) = self.routers[place].0.poll_output() {
                    moved = true;
                    self.carry_from_router(place, output);
                }
            }
        }
        self.servers.iter().for_each(|(_, _, server)| server.assert_consistent());
    }

    fn carry_from_server(&mut self, place: usize, output: server::Output) {
        let (to, message) = match output {
            server::Output::Send { to, message } => (to, *message),
            server::Output::UseCached { to, request_id, by, inner_id, tag } => {
                let frame = use_cached_frame(request_id, by, inner_id, &tag);
                (to, Message::decode(&frame).expect("a message"))
            }
            server::Output::Reply { to, request_id, assignment, by, reply } => {
                let fill = |out: &mut Gather| {
                    gather_reply(out, request_id, assignment.as_deref(), by, &reply);
                };
                (to, written(fill))
            }
            server::Output::Retrieve { ticket, .. } => {
                let (now, server) = (self.now, &mut self.servers[place].2);
                let (answer, freshness) = (Retrieved::NotFound, Freshness::default());
                return server.handle_retrieved(now, ticket, answer, freshness);
            }
            _ => return,
        };
        match to {
            Link::Router(_) if self.withheld && matches!(message, Message::Status(_)) => {}
            Link::Router(at) => {
                let (router, indices) = &mut self.routers[at as usize];
                router.handle_server_message(self.now, indices[place], 0, message);
            }
            Link::Server(to, _) => {
                let from = Link::Server(self.servers[place].0.clone(), 0);
                let to = self.servers.iter_mut().find(|(name, ..)| *name == to);
                let (_, _, server) = to.expect("all are here");
                server.handle_message(self.now, &from, message);
            }
        }
    }

    fn carry_from_router(&mut self, place: usize, output: router::Output) {
        match output {
            router::Output::ToServer { server, frame, .. } => {
                let at = self.routers[place].1.iter().position(|index| *index == server);
                let (_, _, server) = &mut self.servers[at.expect("all are here")];
                let message = Message::decode(&frame).expect("a message");
                server.handle_message(self.now, &Link::Router(place as u64), message);
            }
            router::Output::ToLane { frame, .. } if frame.kind() != FrameType::Assigned => {
                self.answers.push(frame.kind());
            }
            _ => {}
        }
    }

    /// A client comes to a router and asks for something; returns what it was answered. Statuses
    /// have time to arrive.
    fn arrive(&mut self, place: usize) -> FrameType {
        let (now, router) = (self.now, &mut self.routers[place].0);
        let session = router.handle_connected();
        let hello = Hello { oldest: OLDEST_VERSION, newest: VERSION, token: None, pool: None };
        router.handle_session_frame(now, session, &hello.encode());
        let key = Some("/key".parse().expect("a key"));
        let get = Get { request_id: 1, slot: 0, key, validator: Validator::None };
        router.handle_lane_frame(now, session, LANE, get.encode());
        self.settle();
        self.now += Duration::from_millis(30);
        let now = self.now;
        self.servers.iter_mut().for_each(|(_, _, server)| server.handle_timeout(now));
        self.settle();
        self.answers.pop().expect("an answer")
    }

    /// How many clients each server services; the count that it tells must be that of its list.
    fn primaries(&self) -> Vec<usize> {
        let count = |(_, tally, server): &(Name, Arc<Tally>, Server)| {
            let views = server.client_views(None, usize::MAX);
            let listed = |role| views.iter().filter(|view| view.role == role).count();
            assert_eq!(listed(ClientRole::Primary) as u64, tally.read(Count::Primary));
            assert_eq!(listed(ClientRole::Alternate) as u64, tally.read(Count::Alternate));
            listed(ClientRole::Primary)
        };
        self.servers.iter().map(count).collect()
    }

    fn sum(&self, count: Count) -> u64 {
        self.servers.iter().map(|(_, tally, _)| tally.read(count)).sum()
    }
}

const ANSWERED: FrameType = FrameType::NotFound;

#[test]
fn as_many_clients_as_thresholds_allow_land_evenly_and_the_next_must_be_served_and_spread() {
    let mut world = World::new(1, &[(3, 10); 4], Policy::Next);
    for _ in 0..12 {
        assert_eq!(world.arrive(0), ANSWERED);
    }
    assert_eq!(world.primaries(), [3; 4], "T x N clients land T each");
    assert_eq!(world.sum(Count::HandedOn), 0, "the router alone saw to that");
    for _ in 0..8 {
        assert_eq!(world.arrive(0), ANSWERED);
    }
    assert_eq!(world.primaries(), [5; 4]);
    assert_eq!((world.sum(Count::HandedOn), world.sum(Count::MustServed)), (8, 8));
    for _ in 0..20 {
        assert_eq!(world.arrive(0), ANSWERED);
    }
    assert_eq!(world.primaries(), [10; 4]);
    assert_eq!(world.arrive(0), FrameType::Busy, "all are at their capacity");
    assert_eq!(world.primaries(), [10; 4]);
}

#[test]
fn with_statuses_withheld_from_routers_the_servers_alone_spread_clients() {
    let mut world = World::new(3, &[(2, 20); 4], Policy::Next);
    world.withheld = true;
    for client in 0..24 {
        assert_eq!(world.arrive(client % 3), ANSWERED);
    }
    // Each router believes that nobody comes but by itself.
    assert_eq!(world.primaries(), [6; 4]);
    let handed_on = world.sum(Count::HandedOn);
    assert!(handed_on >= 8, "{handed_on}");
    assert_eq!(world.sum(Count::MustServed), handed_on);
}

#[test]
fn the_less_loaded_policy_fills_servers_by_their_capacity() {
    let mut world = World::new(2, &[(50, 50), (100, 100), (150, 150)], Policy::LeastLoaded);
    for client in 0..240 {
        assert_eq!(world.arrive(client % 2), ANSWERED);
    }
    for (clients, fair) in world.primaries().iter().zip([40, 80, 120_usize]) {
        assert!(clients.abs_diff(fair) <= 4, "{:?}", world.primaries());
    }
}
