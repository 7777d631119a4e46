//! Items of a directory that are compressed on the way, over all three versions.

use super::clients::{Ask, all_versions};
use super::common::Cluster;
use std::io::Read;
use std::path::Path;

const CODINGS: [&str; 2] = ["zstd", "gzip"];

fn decode(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "zstd" => zstd::stream::decode_all(bytes).expect("it is Zstandard"),
        _ => {
            let mut decoded = Vec::new();
            flate2::read::GzDecoder::new(bytes).read_to_end(&mut decoded).expect("it is gzip");
            decoded
        }
    }
}

fn style(lines: u32) -> Vec<u8> {
    let lines = (0..lines).map(|at| format!(".a{at} {{ width: {}px }}\n", at * at % 977));
    lines.collect::<String>().into_bytes()
}

/// A cluster that serves a short and a long style sheet, and what looks like one and is noise.
fn cluster(files: &Path) -> Cluster {
    for (name, bytes) in [
        ("short.css", style(100)),
        ("long.css", style(50_000)),
        ("noise.css", super::bytes(9000, 1)),
    ] {
        std::fs::write(files.join(name), bytes).expect("it can be written");
    }
    let dir = files.to_str().expect("temporary paths are text");
    Cluster::start(&["--servers", "2", "--dir", dir])
}

#[test]
fn what_is_compressed_is_the_item_over_all_versions() {
    let files = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(files.path());
    for (version, mut client) in all_versions(cluster.router()) {
        for (target, item) in [("/short.css", style(100)), ("/long.css", style(50_000))] {
            let plain = client.get(target);
            assert!(plain.must_be(200).body == item && plain.field("content-encoding").is_none());
            let mut tags = vec![plain.needed("etag").to_owned()];
            for coding in CODINGS {
                let ask = |method| Ask::new(method, target).with("accept-encoding", coding);
                let head = client.ask(&ask("HEAD"));
                assert_eq!(head.must_be(200).needed("content-encoding"), coding, "{version}");
                let coded = client.ask(&ask("GET"));
                assert_eq!(coded.must_be(200).needed("content-encoding"), coding, "{version}");
                assert_eq!(coded.needed("content-type"), "text/css; charset=utf-8");
                assert_eq!(coded.needed("content-length"), coded.body.len().to_string());
                assert!(coded.body.len() * 2 < item.len(), "{version} {}", coded.body.len());
                assert!(decode(coding, &coded.body) == item, "{version} {target} {coding}");
                let etag = coded.needed("etag").to_owned();
                assert_eq!(head.needed("etag"), etag);
                // Nothing is compressed to tell a length.
                if let Some(length) = head.field("content-length") {
                    assert_eq!(length, coded.needed("content-length"), "{version}");
                }
                let head = client.ask(&ask("HEAD"));
                assert_eq!(head.needed("content-length"), coded.needed("content-length"));
                let same = client.ask(&ask("GET").with("if-none-match", &etag));
                assert_eq!(same.must_be(304).needed("etag"), etag, "{version}");
                assert_eq!(same.needed("vary"), "accept-encoding");
                let part = ask("GET").with("range", "bytes=7-99").with("if-range", &etag);
                let part = client.ask(&part);
                assert!(part.must_be(206).body == coded.body[7..100], "{version}");
                tags.push(etag);
            }
            tags.dedup();
            assert_eq!(tags.len(), 3, "{tags:?}");
        }
        let noise = client.ask(&Ask::get("/noise.css").with("accept-encoding", "zstd, gzip"));
        assert_eq!(noise.must_be(200).field("content-encoding"), None, "{version}");
        assert_eq!(noise.needed("vary"), "accept-encoding");
        assert!(noise.body == super::bytes(9000, 1), "{version}");
    }
}

#[test]
fn a_changed_item_is_compressed_anew() {
    let files = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(files.path());
    let ask = Ask::get("/short.css").with("accept-encoding", "gzip");
    for (version, mut client) in all_versions(cluster.router()) {
        for lines in [200, 300] {
            std::fs::write(files.path().join("short.css"), style(lines))
                .expect("it can be written");
            let coded = client.ask(&ask);
            assert!(decode("gzip", &coded.must_be(200).body) == style(lines), "{version}");
        }
    }
}
