//! Deliberate mistakes, by which the simulator proves that its checks would find real ones.
//!
//! They exist in test builds only: elsewhere [`Planted::is`] is `false` and compiles to nothing.

/// A mistake that a machine can be told to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody compares epochs: the last one heard wins.
    NoEpochCheck,
    /// The client takes every "use cached" at its word.
    NoTagCheck,
    /// A new primary forgets to release the former one.
    LostRelease,
    /// The mirror keeps the old version when a slot gets another key.
    StaleSlot,
    /// A call is sent again when its server is lost.
    ResentCall,
    /// A router leaves PINGs of its clients unanswered.
    NoPong,
    /// A server's worker serves clients that another one owns.
    WrongOwner,
    /// A call that may not be repeated is hedged.
    HedgedCall,
    /// A server goes on with a body although it has another version of the item.
    ResumesAnyVersion,
    /// A server that drains drops its clients instead of handing them over.
    DrainForgetsClient,
    /// A primary keeps an alternate that drains.
    KeepsDrained,
    /// A server calls all slots of a batch unchanged.
    BlindBatch,
    /// The client does not look at the hash of a batch.
    NoHashCheck,
    /// The client does not check the tag of what a difference leads to.
    NoDeltaCheck,
    /// A server sends differences to what the mirror says, whatever the client says it holds.
    DeltaFromMirror,
    /// A primary keeps an inventory from the alternate.
    UntoldInventory,
    /// A router goes on with a request that was taken back.
    KeepsCancelled,
    /// A server answers any condition with 304.
    BlindCondition,
    /// A POST is sent again when its server is lost.
    ResentPost,
}

/// Which mistake to make, if any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planted {
    #[cfg(test)]
    fault: Option<Fault>,
}

impl Planted {
    /// Makes one mistake.
    #[cfg(test)]
    pub fn new(fault: Fault) -> Self {
        Self { fault: Some(fault) }
    }

    /// Whether to make this mistake.
    #[cfg(test)]
    pub fn is(self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Whether to make this mistake: never.
    #[cfg(not(test))]
    pub const fn is(self, _: Fault) -> bool {
        false
    }
}
