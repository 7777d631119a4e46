//! What one worker of a server counts.

/// Counts what one worker of a server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Mirror entries that a validator proved wrong.
    pub drifted_entries: u64,
    /// Requests answered by a difference.
    pub deltas: u64,
    /// Bytes of these differences.
    pub delta_bytes: u64,
    /// Bytes of what they stand for.
    pub delta_full_bytes: u64,
    /// Requests of HTTP clients that were answered by coded content, in part or whole.
    pub coded: u64,
    /// Bytes of it, whole.
    pub coded_bytes: u64,
    /// Bytes of what it stands for.
    pub coded_full_bytes: u64,
    /// Requests about many slots.
    pub batches: u64,
    /// Slots that they were told are unchanged.
    pub batched_unchanged: u64,
    /// Entries of mirrors that clients told of, because they were not known any more.
    pub listed_entries: u64,
    /// Mirrors that were emptied, because others needed the memory.
    pub emptied_mirrors: u64,
    /// Payloads of mirrored versions that this worker, as alternate, got from its source.
    pub prefetched: u64,
    /// The same from primaries.
    pub pulled: u64,
    /// Retrievals asked of the source.
    pub retrievals: u64,
    /// Calls that the source was given.
    pub calls: u64,
    /// HTTP requests that were passed to the origin.
    pub exchanges: u64,
    /// Requests of clients that another worker owns.
    pub misdirected_requests: u64,
}

impl Counters {
    /// Adds the counts of another worker.
    pub fn add(&mut self, other: &Self) {
        self.drifted_entries += other.drifted_entries;
        self.deltas += other.deltas;
        self.delta_bytes += other.delta_bytes;
        self.delta_full_bytes += other.delta_full_bytes;
        self.coded += other.coded;
        self.coded_bytes += other.coded_bytes;
        self.coded_full_bytes += other.coded_full_bytes;
        self.batches += other.batches;
        self.batched_unchanged += other.batched_unchanged;
        self.listed_entries += other.listed_entries;
        self.emptied_mirrors += other.emptied_mirrors;
        self.prefetched += other.prefetched;
        self.pulled += other.pulled;
        self.retrievals += other.retrievals;
        self.calls += other.calls;
        self.exchanges += other.exchanges;
        self.misdirected_requests += other.misdirected_requests;
    }
}
