//! The command line by itself: help, mistakes, and commands that find nobody.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{Output, page, understudy};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};

const FREE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// Serves one page, once, from a thread.
fn serve(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = BufReader::new(stream.try_clone().unwrap());
        request.lines().map(Result::unwrap).find(String::is_empty);
        stream.write_all(answer.as_bytes()).unwrap();
    });
    address
}

fn status(admin: SocketAddr) -> Output {
    understudy(["status", "--admin", &admin.to_string()])
}

#[test]
fn help_says_what_it_is_and_what_to_try_first() {
    let help = understudy(["--help"]);
    assert_eq!(help.code, Some(0));
    let expected = "Understudy: a QUIC edge router whose backup servers already know";
    assert!(help.text().starts_with(expected), "{}", help.text());
    assert!(help.text().contains("\n  understudy up  "), "{}", help.text());
    assert_eq!(understudy(["--version"]).text(), "understudy 0.1.0\n");
    let nothing = understudy::<&str>([]);
    assert_eq!((nothing.code, nothing.text()), (Some(2), ""));
    assert!(nothing.stderr.contains("understudy up"), "{}", nothing.stderr);
}

#[test]
fn mistakes_are_one_line_that_says_which() {
    for (arguments, says) in [
        (&["upp"][..], "unrecognized subcommand 'upp'"),
        (&["up", "--server", "2"], "unexpected argument '--server' found"),
        (&["up", "--servers", "65"], "65 is not in 1..=64"),
        (&["up", "--listen", "0.0.0.0:4433"], "listens on loopback addresses only"),
        (&["up", "--freshness", "ttl"], "expected 'always', 'watch' or 'ttl=MS'"),
        (&["up", "--freshness", "watch"], "--freshness is for --dir"),
        (&["up", "--threshold", "3", "--capacity", "2"], "--capacity 2 is below --threshold 3"),
        (&["up", "--log", "lod"], "--log: 'lod' is no log level"),
        (&["status", "--admin", "nowhere"], "invalid value 'nowhere' for '--admin <ADDR>'"),
    ] {
        let output = understudy(arguments);
        assert!(output.error(2).contains(says), "{output:?}");
        assert_eq!(output.text(), "");
    }
}

#[test]
fn what_is_missing_or_in_the_way_is_one_line_that_says_what_to_do() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp_address = udp.local_addr().unwrap().to_string();
    let tcp_address = tcp.local_addr().unwrap().to_string();
    let [_, free, admin, _] = FREE;

    let listen = understudy(["up", "--listen", &udp_address, admin, free]);
    let line = listen.error(1);
    assert!(line.starts_with(&format!("error: {udp_address} (UDP) is in use")), "{line}");
    assert!(line.ends_with("or choose another address with --listen"), "{line}");

    let admin = understudy(["up", "--listen", free, "--admin", &tcp_address]);
    let line = admin.error(1);
    assert!(line.starts_with(&format!("error: {tcp_address} (TCP) is in use")), "{line}");
    assert!(line.ends_with("or choose another address with --admin"), "{line}");

    let missing = understudy([&["up", "--dir", "/nowhere/at/all"][..], &FREE].concat());
    assert!(missing.error(1).contains("--dir /nowhere/at/all: No such file"), "{missing:?}");
}

#[test]
fn status_prints_a_table_or_what_the_router_answered() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\n\r\n{\"servers\":[{\"name\":\"server-1\",\"pool\":\"shop\",\
        \"state\":\"healthy\",\"pid\":42,\"primary_clients\":7}],\"clients\":7,\"takeovers\":0,\
        \"replies\":{\"use_cached\":1,\"full\":2,\"delta\":0,\"not_found\":0,\"busy\":0,\
        \"error\":0},\"use_cached_by\":{\"mirror\":1,\"crc\":0,\"strong\":0}}";
    let table = status(serve(ANSWER));
    assert_eq!(table.code, Some(0), "{table:?}");
    let row = table.text().lines().nth(1).unwrap().split_whitespace();
    assert_eq!(row.take(5).collect::<Vec<_>>(), ["server-1", "shop", "healthy", "42", "7"]);
    assert!(table.text().contains("\nclients 7, takeovers 0, hedges "), "{}", table.text());

    let json = understudy(["status", "--json", "--admin", &serve(ANSWER).to_string()]);
    assert_eq!(json.text(), ANSWER.split_once("\r\n\r\n").unwrap().1.to_owned() + "\n");
}

#[test]
fn status_says_when_nothing_answers_or_something_else_does() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(page(address, "/").is_err(), "somebody took the port that was free");
    let line = status(address).error(1).to_owned();
    assert!(line.starts_with(&format!("error: nothing runs at {address}: ")), "{line}");
    for (answer, says) in [
        ("HTTP/1.1 200 OK\r\n\r\n<html>", "is not an Understudy router"),
        (
            "HTTP/1.1 500 Oh\r\n\r\n",
            "is not an Understudy router of this version (HTTP status 500)",
        ),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "has no status"),
        ("SSH-2.0-x\r\n", "is not an Understudy router"),
    ] {
        let address = serve(answer);
        let line = status(address).error(1).to_owned();
        assert!(line.contains(&format!("what answers at {address} {says}")), "{line}");
    }
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("certs");
    let certs = ["certs", "new", "--out", out.to_str().unwrap()];
    for arguments in [&["--help"][..], &["up", "--help"], &["--version"], &certs] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        let output =
            command.args(arguments).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let output = output.spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}
