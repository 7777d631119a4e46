//! Replays the corpus of the fuzz targets through the functions that fuzzing calls, so that what
//! once was interesting is tried by every `cargo test`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use understudy::wire::fuzzing::{TARGETS, Target};
use understudy::{http, mirror};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The targets of all layers that there are with these features.
fn targets() -> impl Iterator<Item = (&'static str, Target)> {
    let inner = http::fuzzing::TARGETS.into_iter().chain(mirror::fuzzing::TARGETS);
    TARGETS.into_iter().chain(inner).chain(H3_TARGETS.iter().copied())
}

#[cfg(feature = "server")]
const H3_TARGETS: &[(&str, Target)] = &understudy::h3::fuzzing::TARGETS;
#[cfg(not(feature = "server"))]
const H3_TARGETS: &[(&str, Target)] = &[];

/// The names in a directory of `fuzz/`, without endings.
fn names(directory: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(fuzz().join(directory)).unwrap();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|entry| stem(entry.unwrap().path())).collect()
}

#[test]
fn the_corpus_passes() {
    for (name, target) in targets() {
        let mut replayed = 0;
        for entry in fs::read_dir(fuzz().join("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            // A failure prints which function gave up; this says on what.
            let outcome = std::panic::catch_unwind(|| target(&input));
            assert!(outcome.is_ok(), "{} makes {name} panic", path.display());
            replayed += 1;
        }
        assert!(replayed >= 2, "{name} has no corpus to speak of");
    }
}

#[test]
#[cfg_attr(not(feature = "server"), ignore = "targets of the server are missing")]
fn every_target_can_be_run_and_has_a_corpus() {
    let known: BTreeSet<_> = targets().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names("fuzz_targets"), known);
    assert_eq!(names("corpus"), known);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in known {
        let path = format!("fuzz_targets/{name}.rs");
        assert!(manifest.contains(&format!("path = \"{path}\"")), "Cargo.toml lacks {name}");
        let target = fs::read_to_string(fuzz().join(path)).unwrap();
        assert!(target.contains(&format!("fuzzing::{name}(bytes)")), "{name} runs another target");
    }
}
