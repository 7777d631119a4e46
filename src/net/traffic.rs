//! How much went over connections, and in how many pieces: what coalescing is judged by.

use quinn::{ConnectionStats, UdpStats};

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// UDP datagrams.
    pub(crate) datagrams: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
    /// System calls; one may carry many datagrams.
    pub(crate) system_calls: u64,
}

/// What went over some connections since they began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) sent: Way,
    pub(crate) received: Way,
}

impl Way {
    fn add_udp(&mut self, udp: &UdpStats) {
        self.datagrams += udp.datagrams;
        self.bytes += udp.bytes;
        self.system_calls += udp.ios;
    }

    fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.system_calls += other.system_calls;
    }
}

impl Traffic {
    /// Adds what went over one connection.
    pub(crate) fn add_connection(&mut self, statistics: &ConnectionStats) {
        self.sent.add_udp(&statistics.udp_tx);
        self.received.add_udp(&statistics.udp_rx);
    }

    /// Adds what went over others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent.add(&other.sent);
        self.received.add(&other.received);
    }
}
