//! The members of the cluster, as a process knows them.

use crate::net::membership::Mesh;
use crate::wire::backplane::MemberId;
use serde::Serialize;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct MemberEntry {
    role: &'static str,
    name: String,
    /// Where it can be dialled; empty for a router that only dials.
    address: String,
    /// `self` for this process; `alive`, `suspect` or `down`.
    state: &'static str,
}

/// All of them, this process first.
pub(super) fn entries(mesh: Option<&Mesh>) -> Vec<MemberEntry> {
    let Some((own, others)) = mesh.map(Mesh::members) else {
        return Vec::new();
    };
    let others = others.iter().map(|known| entry(&known.member, known.state_word()));
    [entry(&own, "self")].into_iter().chain(others).collect()
}

fn entry(member: &MemberId, state: &'static str) -> MemberEntry {
    MemberEntry {
        role: member.role.as_str(),
        name: member.name.to_string(),
        address: member.address.map_or_else(String::new, |address| address.to_string()),
        state,
    }
}
