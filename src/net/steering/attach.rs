//! Giving the program to the kernel.
#![allow(unsafe_code)]

use super::program::Instruction;
use std::io;
use std::os::fd::AsRawFd;

/// Makes a program decide which socket of the group of `socket` gets a packet. The socket must be
/// allowed to share its port.
pub(super) fn attach(socket: &socket2::Socket, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program.iter().map(encoded).collect();
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("the program has a few instructions"),
        filter: filter.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&program)).expect("it is a few bytes long");
    // SAFETY: `program` is of the type that this option takes, `length` is its size, and the
    // instructions that it points to live in `filter` until after the call, which copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn encoded(instruction: &Instruction) -> libc::sock_filter {
    libc::sock_filter {
        code: instruction.code,
        jt: instruction.if_true,
        jf: instruction.if_false,
        k: instruction.operand,
    }
}
