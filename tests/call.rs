//! `understudy call`, against a cluster of processes. What happens when servers fail meanwhile is
//! in `tests/promises`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{Cluster, understudy};

#[test]
fn what_goes_to_the_echo_comes_back() {
    let cluster = Cluster::start(&["--servers", "1"]);
    let place = tempfile::tempdir().unwrap();
    let (body, output) = (place.path().join("body"), place.path().join("output"));
    std::fs::write(&body, vec![7; 16_384]).unwrap();
    let [body, output] = [&body, &output].map(|path| path.to_str().unwrap());

    let plain = cluster.call(&["--body", body, "/echo"]);
    assert_eq!((plain.code, plain.stderr.as_str()), (Some(0), ""));
    assert_eq!(plain.stdout, std::fs::read(body).unwrap());

    let json = cluster.call(&["--body", body, "--output", output, "--json", "/echo"]);
    assert_eq!(std::fs::read(output).unwrap(), std::fs::read(body).unwrap());
    let line = json.json();
    assert_eq!((&line["reply"], &line["status"]), (&"called".into(), &200.into()), "{line}");
    assert_eq!((&line["bytes"], &line["attempts"]), (&16_384.into(), &1.into()), "{line}");
    assert_eq!(line["server"], "server-1");
    let status = cluster.json("server-1", "/status");
    assert_eq!((&status["calls"], &status["retrievals"]), (&2.into(), &0.into()), "{status}");
}

#[test]
fn every_call_is_executed_once_and_none_is_cached() {
    let cluster = Cluster::start(&["--servers", "1"]);
    let counts: Vec<_> = (0..3).map(|_| cluster.call(&["/count"]).text().to_owned()).collect();
    assert_eq!(counts, ["1\n", "2\n", "3\n"]);
}

#[test]
fn what_does_not_work_is_one_clear_line() {
    let cluster = Cluster::start(&["--servers", "1"]);
    let none = cluster.call(&["/none"]);
    assert!(none.error(1).contains("/none: the source answered with status 404"));
    assert!(none.text().contains("/echo"), "what the source says is shown all the same");
    let wrong = cluster.call(&["none"]);
    assert!(wrong.error(2).contains("try '/none'"));

    let directory = tempfile::tempdir().unwrap();
    let directory =
        Cluster::start(&["--servers", "1", "--dir", directory.path().to_str().unwrap()]);
    let refused = directory.call(&["--json", "/echo"]);
    assert!(refused.error(1).contains("refused: this source takes no calls"));
    assert_eq!(refused.json()["reply"], "error");

    let nobody = understudy(["call", "--router", "127.0.0.1:1", "/echo"]);
    assert!(nobody.error(1).contains("nobody listens there"), "{nobody:?}");
}
