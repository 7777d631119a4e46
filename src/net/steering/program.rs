//! The program that the kernel runs for each packet: it returns the place, in the group, of the
//! socket that gets it.
//!
//! Classic BPF, in the encoding of `<linux/filter.h>`. It sees the UDP payload from offset 0. A
//! place past the end makes the kernel choose by a hash of the addresses. A read past the end of
//! the packet would end the program with place 0, and is avoided: what is too short to be QUIC is
//! spread by address, like everything else that says nothing about its worker.

use super::Steering;

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    /// How many instructions to skip if the comparison holds, and if it does not.
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) operand: u32,
}

// The accumulator takes the packet's length, a byte or a big-endian word of it.
pub(super) const LOAD_LENGTH: u16 = 0x80;
pub(super) const LOAD_BYTE: u16 = 0x30;
pub(super) const LOAD_WORD: u16 = 0x20;
/// The remainder of the accumulator.
pub(super) const MODULO: u16 = 0x94;
pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
pub(super) const JUMP_IF_AT_LEAST: u16 = 0x35;
pub(super) const JUMP_IF_ANY_BIT: u16 = 0x45;
pub(super) const RETURN_ACCUMULATOR: u16 = 0x16;
pub(super) const RETURN_OPERAND: u16 = 0x06;

/// A place that is past the end of every group.
pub(super) const BY_ADDRESS: u32 = u32::MAX;

/// Bytes that the program reads of a packet: no QUIC packet is as short as that.
pub(super) const READ_BYTES: u32 = 7;
/// Set in the first byte of a packet with a long header (RFC 9000, section 17.2).
const LONG_HEADER: u32 = 0x80;
/// Clear in the first byte of Initial and 0-RTT packets, set in Handshake and Retry.
const LATER_TYPE: u32 = 0x20;
/// The version that we speak. Types and ids of others mean nothing to us.
pub(super) const QUIC_VERSION: u32 = 1;
/// Where long headers have the version, and the length and first byte of the destination id.
const VERSION_AT: u32 = 1;
const LONG_ID_LENGTH_AT: u32 = 5;
const LONG_ID_AT: u32 = 6;
/// Where short headers have the first byte of the destination id.
const SHORT_ID_AT: u32 = 1;

/// The program for a group of so many workers.
pub(super) fn steer(workers: usize, steering: Steering) -> Vec<Instruction> {
    let workers = u32::try_from(workers).expect("a group has at most 256 workers");
    let mut program = vec![
        // Too short for QUIC: by address.
        load(LOAD_LENGTH, 0),
        jump(JUMP_IF_AT_LEAST, READ_BYTES, 1, 0),
        RETURN_BY_ADDRESS,
        // A long header skips these three: a short one always carries an id of ours.
        load(LOAD_BYTE, 0),
        jump(JUMP_IF_ANY_BIT, LONG_HEADER, 3, 0),
        load(LOAD_BYTE, SHORT_ID_AT),
        load(MODULO, workers),
        RETURN_PLACE,
    ];
    if steering == Steering::Public {
        program.extend([
            // Another version: whichever worker it is answers which one we speak.
            load(LOAD_WORD, VERSION_AT),
            jump(JUMP_IF_EQUAL, QUIC_VERSION, 0, 7),
            // Initial and 0-RTT: the client chose the id.
            load(LOAD_BYTE, 0),
            jump(JUMP_IF_ANY_BIT, LATER_TYPE, 0, 5),
        ]);
    }
    program.extend([
        // An empty id names nobody.
        load(LOAD_BYTE, LONG_ID_LENGTH_AT),
        jump(JUMP_IF_EQUAL, 0, 3, 0),
        load(LOAD_BYTE, LONG_ID_AT),
        load(MODULO, workers),
        RETURN_PLACE,
        RETURN_BY_ADDRESS,
    ]);
    program
}

const RETURN_PLACE: Instruction = load(RETURN_ACCUMULATOR, 0);
const RETURN_BY_ADDRESS: Instruction = load(RETURN_OPERAND, BY_ADDRESS);

const fn load(code: u16, operand: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, operand }
}

const fn jump(code: u16, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, operand }
}
