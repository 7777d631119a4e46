//! Seeds that once showed a mistake, each with what it was.

/// Told again by the tests.
pub(super) const SEEDS: [(u64, &str); 26] = [
    (0, "an alternate that was out of reach when it was replaced stayed one for ever"),
    (5, "the same, with its server back before anything else happened"),
    (13, "the same, after a takeover"),
    (28, "a release that crossed MIRROR_BEGIN took the mirror away from the new alternate"),
    (77, "a slot's new key was not mirrored where the source failed"),
    (213, "a stalled forward of a fresh client came after its takeover"),
    (274, "a refused mirror of a lower epoch disowned the alternate of the higher one"),
    (276, "two servers that did not know each other took over one client"),
    (1344, "a server that restarted was outranked by what its earlier run had left behind"),
    (1775, "an alternate first heard of by its status was not released"),
    (4573, "a stalled forward came while the release was owed by a server that had died"),
    (4715, "the same as 1775, with the alternate frozen"),
    (72, "a released server told of an epoch without its alternate, and that was believed"),
    (331, "a client was not told of an assignment that another worker of its router had learned"),
    (389, "the same, with one router"),
    (7965, "a refused mirror was not heard of, since the link back was down"),
    (25813, "a client was assigned afresh below an epoch in which every server had let go of it"),
    (268, "a server that was back after a pause held reads back until all others had answered"),
    (25733, "a request to a server that had handed its client over waited for that server"),
    (33403, "the same, with the server stopped before it could say so"),
    (100396, "gets waited for ever behind calls, of which there always was another one"),
    (965, "clients that asked for nothing had no place in the rest's checks"),
    (145722, "a router that heard nobody took that for nobody holding the client"),
    (155630, "the same"),
    (198915, "a router that had lost its own links took that for the loss of the servers"),
    (
        603_810,
        "gets for a batch that was too small to be sent kept their slots, and all others waited",
    ),
];
