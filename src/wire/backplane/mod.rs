//! Frames of the backplane: between routers and servers, and among servers.

mod forward;
mod gossip;
mod hello;
mod holds;
mod message;
mod payload;
mod status;

pub use forward::{Forward, How, MAX_FORMER, Resume, UseCachedBy};
pub use gossip::{
    GOSSIP_SINCE, Gossip, GossipKind, GossipState, MAX_GOSSIP, MAX_GOSSIP_UPDATES, MemberId,
    MemberUpdate,
};
pub use hello::{POOL_SINCE, Purpose, Role, ServerHello};
pub use holds::{Holding, Holds};
pub use message::{MAX_PULLED, Message, PULL_VERSION};
pub use payload::{gather_reply, use_cached_frame};
pub use status::{MAX_ADDRESS, SelfState, Status};

/// The ALPN of the backplane.
pub const ALPN: &[u8] = b"understudy-backplane/1";
