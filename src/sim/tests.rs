use super::{Check, run};
use crate::node::{Fault, Planted};

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 0..5 {
        let told = run(seed, Planted::default()).unwrap();
        assert_eq!(run(seed, Planted::default()).unwrap(), told, "seed {seed}");
    }
}
