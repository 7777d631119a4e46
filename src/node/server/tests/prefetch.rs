//! An alternate that gets the payloads it lacks.

use super::bench::{Bench, version};
use super::*;
use crate::mirror::Version;
use crate::wire::Fingerprint;
use crate::wire::backplane::MAX_PULLED;

/// An alternate that was told of a version which a client holds, and its question to the source.
fn told(of: &Fingerprint) -> (Server, u64) {
    let mut server = server();
    let (client, theirs) = (client(1), Epoch { change: 1, ..Epoch::new(1, name("b")) });
    let begin = Message::MirrorBegin { client, epoch: theirs.clone(), former: Vec::new() };
    server.handle_message(now(0), &peer("b"), begin);
    let key = "/item".parse().expect("a key");
    let (slot, version) = (0, Some(*of));
    let entry = Message::Mirror { client, epoch: theirs, sequence: 1, slot, key, version };
    server.handle_message(now(0), &peer("b"), entry);
    server.handle_timeout(now(20));
    let mut tickets = Vec::new();
    while let Some(output) = server.poll_output() {
        if let Output::Retrieve { ticket, .. } = output {
            tickets.push(ticket);
        }
    }
    assert_eq!(tickets.len(), 1, "the source is asked");
    (server, tickets[0])
}

/// The bytes that the alternate pulls now.
fn pull(server: &mut Server) -> Option<(u64, crate::wire::Digest, u64)> {
    let mut pulls = sent_unchecked(server).into_iter().filter_map(|(to, message)| match message {
        Message::Pull { number, digest, offset } => {
            assert_eq!(to, peer("b"));
            Some((number, digest, offset))
        }
        _ => None,
    });
    let pull = pulls.next();
    assert_eq!(pulls.next(), None);
    pull
}

fn has(server: &Server, version: &Version) -> bool {
    server.items.has_payload(&version.fingerprint().digest)
}

#[test]
fn what_its_own_source_has_is_not_pulled() {
    let held = version(1, 40_000);
    let (mut server, ticket) = told(held.fingerprint());
    let answer = Retrieved::Version(held.clone());
    server.handle_retrieved(now(21), ticket, answer, Freshness::default());
    assert!(has(&server, &held) && pull(&mut server).is_none());
    assert_eq!(server.view().counters.prefetched, 1);
}

#[test]
fn what_the_source_has_no_more_is_pulled_piece_by_piece() {
    let (held, newer) = (version(1, 40_000), version(2, 40_000));
    let (mut server, ticket) = told(held.fingerprint());
    server.handle_retrieved(now(21), ticket, Retrieved::Version(newer), Freshness::default());
    let mut pieces = 0;
    // The primary is the same code: what it would answer.
    let mut primary = Bench::with_memory(8 << 20);
    primary.server.items.keep_payload(&held.fingerprint().digest, held.body());
    while let Some((number, digest, offset)) = pull(&mut server) {
        primary.server.handle_message(
            now(22),
            &peer("b"),
            Message::Pull { number, digest, offset },
        );
        let mut answers = sent_unchecked(&mut primary.server);
        let (_, answer) = answers.remove(0);
        assert!(matches!(&answer, Message::Pulled { bytes: Some(bytes), .. }
            if bytes.len() <= MAX_PULLED));
        server.handle_message(now(22), &peer("b"), answer);
        pieces += 1;
    }
    assert_eq!(pieces, 3);
    let digest = held.fingerprint().digest;
    assert_eq!(server.items.payload(&digest).as_ref(), Some(held.body()));
    assert_eq!(server.view().counters.pulled, 1);
}

#[test]
fn what_comes_otherwise_than_asked_for_is_not_kept() {
    let (held, newer) = (version(1, 20_000), version(2, 20_000));
    let wrong = |offset, bytes: Option<Bytes>| (offset, bytes);
    let too_long = Bytes::from(vec![0; MAX_PULLED]);
    for (offset, bytes) in [
        wrong(0, None),
        wrong(7, Some(held.body().slice(..MAX_PULLED))),
        wrong(0, Some(Bytes::new())),
        wrong(0, Some(Bytes::from_static(b"short, and the last piece"))),
    ] {
        let (mut server, ticket) = told(held.fingerprint());
        let answer = Retrieved::Version(newer.clone());
        server.handle_retrieved(now(21), ticket, answer, Freshness::default());
        let (number, ..) = pull(&mut server).expect("it is pulled");
        let pulled = Message::Pulled { number, offset, bytes };
        server.handle_message(now(22), &peer("b"), pulled);
        assert!(pull(&mut server).is_none() && !has(&server, &held));
    }
    // More than it has, and other bytes of its length.
    let (mut server, ticket) = told(held.fingerprint());
    server.handle_retrieved(now(21), ticket, Retrieved::Version(newer), Freshness::default());
    for offset in [0, MAX_PULLED as u64] {
        let (number, ..) = pull(&mut server).expect("it is pulled");
        let pulled = Message::Pulled { number, offset, bytes: Some(too_long.clone()) };
        server.handle_message(now(22), &peer("b"), pulled);
    }
    assert!(pull(&mut server).is_none() && !has(&server, &held));
}

#[test]
fn a_primary_that_is_lost_is_not_waited_for() {
    let (held, newer) = (version(1, 20_000), version(2, 20_000));
    let (mut server, ticket) = told(held.fingerprint());
    server.handle_retrieved(now(21), ticket, Retrieved::Version(newer), Freshness::default());
    let (number, ..) = pull(&mut server).expect("it is pulled");
    server.handle_peer_down(now(22), &name("b"));
    let bytes = Some(held.body().slice(..MAX_PULLED));
    server.handle_message(now(23), &peer("b"), Message::Pulled { number, offset: 0, bytes });
    assert!(pull(&mut server).is_none());
}
