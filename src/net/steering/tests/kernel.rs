//! The kernel does what the model says, and what the module relies on.

use super::model::{packets, place};
use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::io::ErrorKind;
use std::time::Instant;

/// Takes one datagram from whichever socket has it.
fn receive(sockets: &[UdpSocket]) -> (usize, Vec<u8>) {
    let start = Instant::now();
    let mut buffer = [0; 2048];
    while start.elapsed() < PATIENCE {
        for (worker, socket) in sockets.iter().enumerate() {
            match socket.recv(&mut buffer) {
                Ok(length) => return (worker, buffer[..length].to_vec()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        std::thread::yield_now();
    }
    panic!("the datagram arrived nowhere");
}

fn sockets(group: &PortGroup) -> Vec<UdpSocket> {
    (0..WORKERS).map(|worker| group.socket(worker).unwrap()).collect()
}

#[test]
fn each_packet_arrives_where_the_rules_say() {
    for steering in [Steering::Public, Steering::Backplane] {
        let group = PortGroup::bind(loopback(), usize::from(WORKERS), steering).unwrap();
        let sockets = sockets(&group);
        let sender = UdpSocket::bind(loopback()).unwrap();
        sender.connect(group.local_address().unwrap()).unwrap();
        let send = |packet: &[u8]| {
            sender.send(packet).unwrap();
            let (worker, received) = receive(&sockets);
            assert_eq!(received, packet);
            worker
        };
        // What goes by address goes to one worker, for it all comes from one address.
        let by_address = send(&[]);
        let mut runner = TestRunner::new(Config::with_cases(500));
        let result = runner.run(&packets(), |packet| {
            let expected = place(&packet, usize::from(WORKERS), steering);
            prop_assert_eq!(send(&packet), expected.unwrap_or(by_address));
            Ok(())
        });
        result.unwrap();
    }
}

#[test]
fn a_port_belongs_to_one_group() {
    let in_use = |result: io::Result<PortGroup>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::AddrInUse);
    };
    let group = PortGroup::bind(loopback(), 4, Steering::Public).unwrap();
    let address = group.local_address().unwrap();
    in_use(PortGroup::bind(address, 4, Steering::Public));
    in_use(PortGroup::bind(address, 2, Steering::Backplane));
    in_use(PortGroup::bind(address, 1, Steering::Public));
    in_use(PortGroup::bind((Ipv4Addr::UNSPECIFIED, address.port()).into(), 4, Steering::Public));
    drop(group);
    let alone = PortGroup::bind(address, 1, Steering::Public).unwrap();
    in_use(PortGroup::bind(address, 4, Steering::Public));
    drop(alone);
    PortGroup::bind(address, 4, Steering::Public).unwrap();
}

#[test]
fn a_worker_that_dies_moves_nobody() {
    let group = PortGroup::bind(loopback(), usize::from(WORKERS), Steering::Public).unwrap();
    let mut taken = sockets(&group);
    drop(taken.remove(0));
    let sender = UdpSocket::bind(loopback()).unwrap();
    for worker in 1..WORKERS {
        let packet = [0x40, worker, 0, 0, 0, 0, 0, 0, 0];
        sender.send_to(&packet, group.local_address().unwrap()).unwrap();
        assert_eq!(receive(&taken).0 + 1, usize::from(worker));
    }
    // The dead worker's packets wait for whoever takes its place.
    sender.send_to(&[0x40, 0, 0, 0, 0, 0, 0, 0], group.local_address().unwrap()).unwrap();
    assert_eq!(receive(&[group.socket(0).unwrap()]).0, 0);
}

#[test]
fn groups_have_one_to_256_workers() {
    for workers in [0, MAX_WORKERS + 1] {
        let refused = PortGroup::bind(loopback(), workers, Steering::Public).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
    let most = PortGroup::bind(loopback(), MAX_WORKERS, Steering::Public).unwrap();
    assert_eq!(most.workers(), MAX_WORKERS);
    let last = most.socket(255).unwrap();
    let sender = UdpSocket::bind(loopback()).unwrap();
    let packet = [0x40, 255, 0, 0, 0, 0, 0, 0, 0];
    sender.send_to(&packet, most.local_address().unwrap()).unwrap();
    assert_eq!(receive(&[last]).1, packet);
}
