//! Payloads on their way from the arena to the transport: never copied.

use super::bench::{Bench, forward, found, get, version};
use super::*;
use crate::wire::backplane::gather_reply;
use crate::wire::gather::Gather;

/// What the shell hands to the transport for a reply with bytes: the pieces that wait for the link,
/// or those for a stream of their own.
fn handed_over(bench: &mut Bench) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while let Some(output) = bench.server.poll_output() {
        match output {
            Output::Reply { request_id, assignment, by, reply, .. } => {
                let mut waiting = Gather::default();
                gather_reply(&mut waiting, request_id, assignment.as_deref(), by, &reply);
                waiting.take(&mut pieces);
            }
            Output::SendBody { pieces: body, .. } => pieces.extend(body),
            _ => {}
        }
    }
    pieces
}

#[test]
fn bytes_go_from_the_arena_to_the_transport_where_they_lie() {
    for (length, slot) in [(2_000, 0), (16_384, 1), (16_385, 2), (300_000, 3)] {
        let mut bench = Bench::with_memory(8 << 20);
        let item = version(3, length);
        bench.warm(1, slot, "/item", found(&item));
        // Nothing is held, so that it comes whole.
        let nothing = Validator::Strong { crc: 0, digest: crate::wire::Digest([0; 16]) };
        let inner = get(slot, Some("/item"), nothing);
        let message = Forward { inner, ..forward(1, How::Known) };
        bench.server.handle_message(bench.now, &ROUTER, Message::Forward(message));
        let ticket = match bench.server.poll_output() {
            Some(Output::Retrieve { ticket, .. }) => ticket,
            other => panic!("{other:?}"),
        };
        let unchanged = (Retrieved::Unchanged, Freshness::default());
        bench.server.handle_retrieved(bench.now, ticket, unchanged.0, unchanged.1);
        let kept = bench.server.items.payload(&item.fingerprint().digest).expect("it is kept");
        assert_ne!(kept.as_ptr(), item.body().as_ptr(), "it lies in the arena");
        let pieces = handed_over(&mut bench);
        let shared = pieces.iter().filter(|piece| piece.as_ptr() == kept.as_ptr());
        assert_eq!(shared.map(Bytes::len).sum::<usize>(), length, "of {length} bytes");
        let others: usize = pieces.iter().map(Bytes::len).sum::<usize>() - length;
        assert!(others < 200, "{others} bytes beside the payload");
    }
}
