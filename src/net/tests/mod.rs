//! Routers and servers with several workers, in this process, asked by hand.

mod allocations;
mod calls;
mod cluster;
mod lane;
mod membership;
mod workers;
