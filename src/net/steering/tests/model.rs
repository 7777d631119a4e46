//! The program does what the module says: compared with the same rules in Rust.

use super::super::program::*;
use super::*;
use proptest::prelude::*;

/// Where a packet goes, in words: `None` is by address.
pub(super) fn place(packet: &[u8], workers: usize, steering: Steering) -> Option<usize> {
    if packet.len() < 7 {
        return None;
    }
    let is_long = packet[0] >= 0x80;
    if !is_long {
        return Some(usize::from(packet[1]) % workers);
    }
    if steering == Steering::Public {
        let version = u32::from_be_bytes([packet[1], packet[2], packet[3], packet[4]]);
        // Types of version 1: 0 is Initial, 1 is 0-RTT.
        let kind = packet[0] >> 4 & 3;
        if version != 1 || kind <= 1 {
            return None;
        }
    }
    (packet[5] > 0).then(|| usize::from(packet[6]) % workers)
}

/// What the kernel makes of a program, and of reads past the end: place 0.
fn interpret(program: &[Instruction], packet: &[u8]) -> u32 {
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let Instruction { code, if_true, if_false, operand } = program[at];
        at += 1;
        let start = operand as usize;
        let branch = |holds: bool| usize::from(if holds { if_true } else { if_false });
        match code {
            LOAD_LENGTH => accumulator = packet.len() as u32,
            LOAD_BYTE => match packet.get(start) {
                Some(byte) => accumulator = u32::from(*byte),
                None => return 0,
            },
            LOAD_WORD => match packet.get(start..start + 4) {
                Some(word) => accumulator = u32::from_be_bytes(word.try_into().unwrap()),
                None => return 0,
            },
            MODULO => accumulator %= operand,
            JUMP_IF_EQUAL => at += branch(accumulator == operand),
            JUMP_IF_AT_LEAST => at += branch(accumulator >= operand),
            JUMP_IF_ANY_BIT => at += branch(accumulator & operand != 0),
            RETURN_ACCUMULATOR => return accumulator,
            RETURN_OPERAND => return operand,
            other => panic!("code {other:#x} is none that the module uses"),
        }
    }
}

/// Packets that look like QUIC more often than chance has it.
pub(super) fn packets() -> impl Strategy<Value = Vec<u8>> {
    let version = prop_oneof![3 => Just(1_u32), 1 => Just(0x6b33_43cf), 1 => any::<u32>()];
    let long = (0x80..=0xff_u8, version, 0..=3_u8, prop::collection::vec(any::<u8>(), 0..40));
    let long = long.prop_map(|(first, version, length, rest)| {
        let mut packet = vec![first];
        packet.extend(version.to_be_bytes());
        packet.push(length);
        packet.extend(rest);
        packet
    });
    prop_oneof![3 => long, 2 => prop::collection::vec(any::<u8>(), 0..40)]
}

proptest! {
    #[test]
    fn the_program_does_what_the_rules_say(
        packet in packets(),
        length in 0..48_usize,
        workers in 1..=MAX_WORKERS,
        public in any::<bool>(),
    ) {
        let steering = if public { Steering::Public } else { Steering::Backplane };
        let packet = &packet[..length.min(packet.len())];
        let expected = place(packet, workers, steering).map_or(BY_ADDRESS, |place| place as u32);
        prop_assert_eq!(interpret(&steer(workers, steering), packet), expected);
    }

    #[test]
    fn a_worker_accepts_its_own_ids_and_no_others(
        worker in any::<u8>(),
        generation in any::<u8>(),
        other in prop::collection::vec(any::<u8>(), 0..=20),
    ) {
        use quinn::ConnectionIdGenerator;
        let mut ids = WorkerIds::new(worker, generation);
        let own = ids.generate_cid();
        prop_assert_eq!(own.len(), ids.cid_len());
        prop_assert!(ids.validate(&own).is_ok());
        for elsewhere in [
            WorkerIds::new(worker.wrapping_add(1), generation),
            WorkerIds::new(worker.wrapping_add(WORKERS), generation),
            WorkerIds::new(worker, generation.wrapping_add(1)),
        ] {
            prop_assert!(elsewhere.validate(&own).is_err());
        }
        let fits = other.len() == ids.cid_len() && other.starts_with(&[worker, generation]);
        prop_assert_eq!(ids.validate(&quinn::ConnectionId::new(&other)).is_ok(), fits);
    }
}
