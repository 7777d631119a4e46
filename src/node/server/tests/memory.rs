//! Mirrors that take more memory than they may.

use super::*;
use crate::wire::lane::{Inventory, InventoryEntry};
use crate::wire::types::fingerprint;

fn list(server: &mut Server, number: u32, at: u64) {
    let mut id = [0; 16];
    id[12..].copy_from_slice(&number.to_be_bytes());
    let key = |slot| format!("/{number}/{slot}").parse().expect("a key");
    let entries = (0..100).map(|slot| InventoryEntry {
        slot,
        key: key(slot),
        version: fingerprint(b"", &number.to_be_bytes()),
    });
    let inner = Inventory { request_id: 5, entries: entries.collect() }.encode();
    let Message::Forward(forward) = get(ClientId(id), How::Assign, epoch(1)) else {
        unreachable!("it is a FORWARD");
    };
    server.handle_message(now(at), &ROUTER, Message::Forward(Forward { inner, ..forward }));
    sent_unchecked(server);
}

#[test]
fn cold_mirrors_are_emptied_and_others_stay() {
    let config = ServerConfig {
        threshold: 1 << 20,
        capacity: 1 << 20,
        slots: 100,
        passes_http: false,
        memory: 8 << 20,
        ..config(0, 1)
    };
    let mut server = Server::new(config, Arc::default());
    server.handle_router_up(now(0), &ROUTER, VERSION);
    for number in 0..1000 {
        list(&mut server, number, u64::from(number));
        // One of them asks all the time.
        list(&mut server, 0, u64::from(number));
        assert!(server.store.bytes() <= (4 << 20) + 20_000, "a turn's growth more than half");
    }
    let mut first = [0; 16];
    first[15] = 0;
    assert_eq!(server.mirror_entries(&ClientId(first)).count(), 100, "it is not cold");
    let view = server.view();
    assert!(view.counters.emptied_mirrors > 400, "{:?}", view.counters);
    assert_eq!(view.primary_clients, 1000, "nobody was forgotten");
}
