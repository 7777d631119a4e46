//! Where a client id belongs in the table.

use crate::wire::ClientId;

const SHARD_BITS: u32 = 9;
/// Shards of a table. One shard is rewritten at a time, so this bounds how long a writer is held
/// up; it is also what an empty table costs.
pub(super) const SHARDS: usize = 1 << SHARD_BITS;

/// Bits of the shard's number that come from the first half; one comes from the second.
const FIRST_BITS: u32 = SHARD_BITS - 1;
/// Set in both halves. The bits whose place it takes are the same in all ids of a shard, so no two
/// ids become one, and no half is zero: a shard tells by that which halves are taken.
const MARK: u64 = 1 << 63;

/// Odd numbers without a pattern in their bits.
const LOW_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const HIGH_FACTOR: u64 = 0xd6e8_feb8_6659_fd93;
const FOLD_FACTOR: u64 = 0xd1b5_4a32_d192_ed03;

/// A client id, mixed, and without what its shard says of it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    /// Never zero.
    pub(super) first: u64,
    /// Never zero.
    pub(super) second: u64,
}

impl Id {
    /// The number of the id's shard, and what the shard knows the id by.
    ///
    /// Routers draw ids at random, so nobody can aim at a shard or a slot; mixing is for ids that
    /// somebody counted up. It loses nothing: multiplying by an odd number can be undone, and so
    /// can mixing one half into the other. The products do not wait for each other.
    #[inline]
    pub(super) fn new(client: &ClientId) -> (usize, Self) {
        let whole = u128::from_le_bytes(client.0);
        let (low, high) = (whole as u64, (whole >> 64) as u64);
        let first = low.wrapping_mul(LOW_FACTOR) ^ fold(high);
        let second = high.wrapping_mul(HIGH_FACTOR);
        let shard = (first >> (64 - FIRST_BITS) << 1) | (second >> 63);
        (shard as usize, Self { first: first | MARK, second: second | MARK })
    }

    /// The slot, of so many, at which a search for the id starts. It keeps the order of the first
    /// halves, so that rewriting an array reads and writes memory from one end to the other.
    pub(super) fn home(self, slots: usize) -> usize {
        let fraction = self.first << FIRST_BITS;
        ((u128::from(fraction) * slots as u128) >> 64) as usize
    }
}

/// Every bit of the result depends on many of `half`.
fn fold(half: u64) -> u64 {
    let product = u128::from(half) * u128::from(FOLD_FACTOR);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn counted_ids_spread_over_shards_and_slots() {
        const COUNT: usize = 64 * SHARDS;
        const SLOTS: usize = 1000;
        let low = |number: u128| number;
        let high = |number: u128| number << 64;
        let steps = |number: u128| number * 0x1_0001_0001_0001;
        let last_bytes = |number: u128| u128::from_be_bytes(number.to_le_bytes());
        let ways: [&dyn Fn(u128) -> u128; 4] = [&low, &high, &steps, &last_bytes];
        for (way, id_of) in ways.iter().enumerate() {
            let mut shards = vec![0; SHARDS];
            let mut homes = vec![0; SLOTS];
            let mut distinct = HashSet::new();
            for number in 0..COUNT {
                let (shard, id) = Id::new(&ClientId(id_of(number as u128).to_le_bytes()));
                shards[shard] += 1;
                homes[id.home(SLOTS)] += 1;
                assert!(distinct.insert((shard, id.first, id.second)));
                assert!(id.first != 0 && id.second != 0);
            }
            // On average 64 and 32.8. Where only the low half counts up, half of the shards do the
            // work: one bit of their number comes from the high half alone.
            let (shard_limit, home_limit) = (3 * 64, 3 * 33);
            assert!(shards.iter().max() < Some(&shard_limit), "way {way}: {shards:?}");
            assert!(homes.iter().max() < Some(&home_limit), "way {way}: {homes:?}");
        }
    }

    /// By Newton's method: each step doubles the bits that are right, of which the first has three.
    fn inverse(odd: u64) -> u64 {
        let step = |guess: u64, _| guess.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(guess)));
        (0..5).fold(odd, step)
    }

    proptest! {
        #[test]
        fn mixing_loses_nothing(client: [u8; 16]) {
            let (shard, id) = Id::new(&ClientId(client));
            let shard = shard as u64;
            let first_bits = shard >> 1 << (64 - FIRST_BITS);
            let first = (id.first & (u64::MAX >> FIRST_BITS)) | first_bits;
            let second = (id.second & !MARK) | ((shard & 1) << 63);
            prop_assert_eq!(first | MARK, id.first);
            let high = second.wrapping_mul(inverse(HIGH_FACTOR));
            let low = (first ^ fold(high)).wrapping_mul(inverse(LOW_FACTOR));
            let whole = u128::from(high) << 64 | u128::from(low);
            prop_assert_eq!(whole.to_le_bytes(), client);
        }
    }
}
