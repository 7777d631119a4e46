//! The items of a failover run, whose bytes are known, and who is asked for which.

use crate::net::client::ValidatorKind;
use bytes::Bytes;
use std::io;
use std::path::Path;

/// Items that a client holds, for each kind of validator: as many keys of their own for each kind,
/// as gets for one key share an answer.
const HELD_ITEMS: usize = 16;
const HELD_BYTES: usize = 4 << 10;
const SMALL_BYTES: usize = 1 << 10;
const LARGE_ITEMS: usize = 4;
const LARGE_BYTES: usize = 1 << 20;
const HUGE_ITEMS: usize = 2;
const HUGE_BYTES: usize = 10 << 20;

/// Of a thousand requests, so many are for what the client holds, for 1 KiB, and for 1 MiB; the
/// rest is for 10 MiB.
pub(crate) const PER_MILLE: [u64; 3] = [900, 90, 8];

/// What all cached items of a client may cost: enough for those that it is to hold, and too little
/// for a large one, which so comes whole each time.
pub(super) const CACHE_BYTES: u64 = 512 << 10;

const _: () = assert!(3 * HELD_ITEMS * HELD_BYTES < CACHE_BYTES as usize / 2);
const _: () = assert!(LARGE_BYTES > CACHE_BYTES as usize);

/// What kind of answer a request is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// The client holds it, and says so, or leaves it to the mirror.
    Held(ValidatorKind),
    /// 1 KiB that the client never saw.
    Small,
    /// 1 MiB.
    Large,
    /// 10 MiB.
    Huge,
}

impl Class {
    /// Whether the answer fits into a frame.
    pub(crate) fn is_small(self) -> bool {
        matches!(self, Self::Held(_) | Self::Small)
    }
}

/// The kinds in the order in which they take turns.
pub(crate) const KINDS: [ValidatorKind; 3] =
    [ValidatorKind::None, ValidatorKind::Crc, ValidatorKind::Strong];

/// What is asked for: a key, and the bytes that it must bring.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(super) class: Class,
    pub(super) key: String,
    pub(super) bytes: Bytes,
}

/// All items.
#[derive(Debug)]
pub(crate) struct Items {
    /// For each of [`KINDS`], in turn.
    held: Vec<Item>,
    small: Vec<Item>,
    large: Vec<Item>,
    huge: Vec<Item>,
}

/// Its key, and its bytes.
type Item = (String, Bytes);

impl Items {
    /// Makes them up, and writes them to files of a directory.
    pub(crate) fn write(directory: &Path) -> io::Result<Self> {
        let mut number = 0;
        let mut items = |name: &str, count: usize, length: usize| -> io::Result<Vec<Item>> {
            let one = |place| {
                number += 1;
                let (name, bytes) = (format!("{name}-{place}.bin"), bytes(number, length));
                std::fs::write(directory.join(&name), &bytes)?;
                Ok((format!("/{name}"), bytes))
            };
            (0..count).map(one).collect()
        };
        let held = items("held", HELD_ITEMS * KINDS.len(), HELD_BYTES)?;
        let small = items("small", 1, SMALL_BYTES)?;
        let large = items("large", LARGE_ITEMS, LARGE_BYTES)?;
        let huge = items("huge", HUGE_ITEMS, HUGE_BYTES)?;
        Ok(Self { held, small, large, huge })
    }

    /// What each client holds before the load begins.
    pub(super) fn held(&self) -> impl Iterator<Item = Wanted> {
        (0..self.held.len()).map(|place| self.held_at(place))
    }

    /// What takes longest to come.
    pub(super) fn longest(&self) -> Wanted {
        let (key, bytes) = &self.huge[0];
        Wanted { class: Class::Huge, key: key.clone(), bytes: bytes.clone() }
    }

    fn held_at(&self, place: usize) -> Wanted {
        let (key, bytes) = &self.held[place];
        let class = Class::Held(KINDS[place % KINDS.len()]);
        Wanted { class, key: key.clone(), bytes: bytes.clone() }
    }

    /// What request `number` of all asks for, which is request `turn` of its client.
    pub(super) fn pick(&self, number: u64, turn: u64) -> Wanted {
        let dice = mixed(number) % 1_000;
        let [held, small, large] = PER_MILLE;
        let of = |class, items: &[Item]| {
            let (key, bytes) = &items[turn as usize % items.len()];
            Wanted { class, key: key.clone(), bytes: bytes.clone() }
        };
        match dice {
            _ if dice < held => self.held_at(turn as usize % self.held.len()),
            _ if dice < held + small => {
                // The source ignores the query: the same bytes by a key that nobody asked for yet.
                let (key, bytes) = &self.small[0];
                let key = format!("{key}?{number}");
                Wanted { class: Class::Small, key, bytes: bytes.clone() }
            }
            _ if dice < held + small + large => of(Class::Large, &self.large),
            _ => of(Class::Huge, &self.huge),
        }
    }
}

/// Bytes in which no two places look alike, so that none can be taken for another.
fn bytes(seed: u64, length: usize) -> Bytes {
    let words = (0..length as u64 / 8).map(|place| mixed(seed << 32 | place).to_le_bytes());
    words.flatten().collect::<Vec<_>>().into()
}

/// A number that looks like any other (SplitMix64, Steele et al., OOPSLA 2014).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_mix_is_what_is_said_and_each_item_has_bytes_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let items = Items::write(directory.path()).unwrap();
        let mut counts = HashMap::<_, u64>::new();
        let mut bytes = HashMap::new();
        for number in 0..100_000 {
            let wanted = items.pick(number, number / 32);
            *counts.entry(wanted.class).or_default() += 1;
            let name = wanted.key.split('?').next().unwrap()[1..].to_owned();
            bytes.insert(name, wanted.bytes);
        }
        let of = |class| counts[&class] as f64 / 100_000.0;
        for (class, share) in [(Class::Small, 0.09), (Class::Large, 0.008), (Class::Huge, 0.002)] {
            assert!((of(class) / share - 1.0).abs() < 0.2, "{class:?}: {}", of(class));
        }
        for kind in KINDS {
            assert!((of(Class::Held(kind)) - 0.3).abs() < 0.01, "{kind:?}");
        }
        for (name, wanted) in &bytes {
            assert_eq!(&std::fs::read(directory.path().join(name)).unwrap(), wanted, "{name}");
        }
        let mut distinct: Vec<_> = bytes.values().map(|bytes| &bytes[..32]).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), bytes.len());
        assert_eq!(items.held().count(), 3 * HELD_ITEMS);
    }
}
