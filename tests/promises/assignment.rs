//! Promises 1 to 4: who gets which server.

use super::{get_afresh, listed, number, text, wait_for_clients, wait_for_state};
use crate::common::{Cluster, wait_until};

#[test]
fn promise_01_new_clients_go_to_the_next_server_in_order() {
    let cluster = Cluster::start(&["--servers", "3"]);
    // A router takes clients when it has met one server: which one is first is chance. What it says
    // of a server is what all its workers know.
    for server in cluster.servers() {
        wait_for_state(&cluster, &server, "healthy");
        wait_until("the router has its status", || {
            cluster.server_status(&server)["capacity"].as_u64() > Some(0)
        });
    }
    let servers: Vec<_> =
        (0..6).map(|_| text(&get_afresh(&cluster, "/")["server"]).to_owned()).collect();
    let order = ["server-1", "server-2", "server-3", "server-1", "server-2", "server-3"];
    assert_eq!(servers, order);
}

#[test]
fn promise_02_beyond_the_threshold_a_second_server_must_serve_and_beyond_capacity_nobody() {
    let cluster = Cluster::start(&["--servers", "2", "--threshold", "2", "--capacity", "4"]);
    for count in 1..=4 {
        get_afresh(&cluster, "/");
        wait_for_clients(&cluster, count);
    }
    for server in cluster.servers() {
        assert_eq!(listed(&cluster, &server, "primary").len(), 2, "{server}: the threshold");
        assert_eq!(cluster.server_status(&server)["handed_on_clients"], 0);
    }
    // Both are at their threshold: whoever is asked hands on, and the other one must serve.
    for count in 5..=8 {
        get_afresh(&cluster, "/");
        wait_for_clients(&cluster, count);
    }
    let sum = |field: &str| -> u64 {
        let servers = cluster.servers();
        servers.iter().map(|server| number(&cluster.json(server, "/status")[field])).sum()
    };
    // The last one came to the only server with room: nobody could relieve it.
    assert_eq!((sum("handed_on_clients"), sum("must_served_clients")), (3, 3));
    assert_eq!(sum("primary_clients"), 8);
    let ninth = cluster.get(&["--json", "/"]);
    assert_eq!(ninth.code, Some(1), "{ninth:?}");
    assert_eq!(ninth.json()["reply"], "busy");
    assert_eq!(sum("primary_clients"), 8, "counts equal lists, and nobody was squeezed in");
}

#[test]
fn promise_03_statuses_are_pushed_to_the_router_and_to_every_server() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let first = get_afresh(&cluster, "/");
    wait_for_clients(&cluster, 1);
    let alternate = text(&first["alternate"]);
    wait_until("the alternate's own count reaches the router", || {
        cluster.server_status(alternate)["alternate_clients"] == 1
    });
    // The servers know it too: the next primary weighs what the others have pushed to it.
    let second = get_afresh(&cluster, "/");
    let server = text(&second["server"]).to_owned();
    let clients = listed(&cluster, &server, "primary");
    let weighed = clients[0]["why_alternate"]["weighed"].as_array().expect("what was weighed");
    let of = |name: &str| weighed.iter().find(|weighed| weighed["server"] == name).cloned();
    let seen = of(text(&first["server"])).expect("the first primary was weighed");
    assert_eq!(seen["primary_clients"], 1, "{weighed:?}");
}

#[test]
fn promise_04_the_primary_picks_the_least_loaded_alternate_and_shows_why() {
    let cluster = Cluster::start(&["--servers", "3"]);
    let reply = get_afresh(&cluster, "/");
    let (server, alternate) = (text(&reply["server"]), text(&reply["alternate"]));
    let clients = listed(&cluster, server, "primary");
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0]["alternate"], alternate);
    let why = &clients[0]["why_alternate"];
    assert_eq!(why["chosen"], alternate);
    let weighed = why["weighed"].as_array().expect("what was weighed");
    assert_eq!(weighed.len(), 2, "both other servers: {weighed:?}");
    assert_eq!(weighed[0]["server"], alternate, "the best comes first");
    let mirrors = listed(&cluster, alternate, "alternate");
    assert_eq!(mirrors[0]["client"], reply["client"]);
    assert_eq!(mirrors[0]["primary"], server);
}
