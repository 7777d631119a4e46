//! A cache directory that is not as it should be: the disk is full, nobody may write there, other
//! versions wrote it. The items come all the same, and one line says what is wrong.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{Cluster, Output};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const SMALL: &str = "/items/1k.bin";
const LARGE: &str = "/items/64k.bin";

/// Gets both items with a limit on the length of files, in blocks of at least 512 bytes. What goes
/// beyond it fails as on a full disk; without the trap it would also kill.
fn get_on_full_disk(cluster: &Cluster, cache: &Path, blocks: u32) -> Output {
    let shell = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let program = env!("CARGO_BIN_EXE_understudy");
    let router = cluster.router().to_string();
    let output = Command::new("sh")
        .args(["-c", &shell, program, "get", "--json", "--router", &router, "--cache"])
        .args([cache.as_os_str(), OsStr::new(SMALL), OsStr::new(LARGE)])
        .env_remove("UNDERSTUDY_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    Output { code: output.status.code(), stdout: output.stdout, stderr }
}

fn get(cluster: &Cluster, cache: &Path) -> Output {
    cluster.get(&["--json", "--cache", cache.to_str().unwrap(), SMALL, LARGE])
}

/// Checks how both items came, and that one line was said with these words in it, or none.
fn check(output: &Output, replies: [&str; 2], said: &[&str]) {
    assert_eq!(output.code, Some(0), "{output:?}");
    let lines = output.json_lines();
    let found: Vec<_> = lines.iter().map(|line| line["reply"].as_str().unwrap()).collect();
    assert_eq!(found, replies, "{output:?}");
    let sizes: Vec<_> = lines.iter().map(|line| line["bytes"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [1_024, 65_536]);
    assert_eq!(output.stderr.lines().count(), usize::from(!said.is_empty()), "{output:?}");
    assert!(said.iter().all(|words| output.stderr.contains(words)), "{output:?}");
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn on_a_full_disk_it_goes_on_in_memory_and_keeps_what_fits() {
    let cluster = Cluster::start(&["--servers", "1"]);
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    let warning = ["WARN", "the cache cannot be written", "going on in memory"];
    check(&get_on_full_disk(&cluster, &cache, 0), ["full", "full"], &warning);
    assert_eq!(
        (names(&cache), names(&cache.join("items")).len()),
        (vec!["items".into(), "lock".into()], 0)
    );
    // Room for the small one, a whole one; of the large one nothing is left.
    check(&get_on_full_disk(&cluster, &cache, 20), ["full", "full"], &warning);
    assert_eq!((names(&cache).len(), names(&cache.join("items")).len()), (3, 1));
    check(&get(&cluster, &cache), ["use_cached", "full"], &[]);
    // A disk that has become full does not cost what is there.
    check(&get_on_full_disk(&cluster, &cache, 0), ["use_cached", "use_cached"], &warning);
    check(&get(&cluster, &cache), ["use_cached", "use_cached"], &[]);
}

#[test]
fn where_nobody_may_write_it_goes_on_in_memory() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::start(&["--servers", "1"]);
    let place = tempfile::tempdir().unwrap();
    let mut cache = place.path().to_owned();
    if rustix::process::geteuid().is_root() {
        // Root may write everywhere but here.
        cache = "/proc/tty".into();
    } else {
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let warning = ["WARN", cache.to_str().unwrap(), "cannot be used", "in memory"];
    check(&get(&cluster, &cache), ["full", "full"], &warning);
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = place.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    check(&get(&cluster, &file), ["full", "full"], &["WARN", "cannot be used", "in memory"]);
    assert_eq!(fs::read(file).unwrap(), b"not a directory");
}

#[test]
fn what_another_version_wrote_is_replaced_and_said_once() {
    let cluster = Cluster::start(&["--servers", "1"]);
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    check(&get(&cluster, &cache), ["full", "full"], &[]);
    check(&get(&cluster, &cache), ["use_cached", "use_cached"], &[]);
    let items = cache.join("items");
    let mut files: Vec<_> = names(&items).iter().map(|name| items.join(name)).collect();
    files.push(cache.join("token"));
    assert_eq!(files.len(), 3);
    for file in files {
        let mut bytes = fs::read(&file).unwrap();
        // The version of the format stands at the end of the first sixteen bytes.
        bytes[15] += 1;
        fs::write(file, bytes).unwrap();
    }
    let warning = ["WARN", "3 files", cache.to_str().unwrap(), "another format or version"];
    check(&get(&cluster, &cache), ["full", "full"], &warning);
    check(&get(&cluster, &cache), ["use_cached", "use_cached"], &[]);
}
