//! The examples, run as programs against real routers and servers.

mod common;

use common::{Cluster, understudy, wait_for};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// An example's program. Cargo builds examples with all tests, but not with this one alone.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test is a program");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in deps");
    let target = profile.parent().expect("a profile lies in the target directory");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", name, "--target-dir"]).arg(target);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "the example {name} builds");
    profile.join("examples").join(name)
}

/// A process that ends with the test, however that ends.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_client_example_gets_items_and_then_uses_its_copies() {
    let cluster = Cluster::start(&["--servers", "2"]);
    let router = cluster.router().to_string();
    let output = Command::new(example("client"))
        .args([router.as_str(), "/items/1k.bin", "/items/64k.bin"])
        .output()
        .expect("the example runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let kinds: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(": ")?.1.split_once(','))
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds, ["full", "full", "use_cached", "use_cached"], "{text}");
    assert!(text.ends_with("serviced by server-1\n"), "{text}");
}

#[test]
fn the_source_example_serves_from_its_own_code() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let backplane = |role: &str| {
        let file = |name: String| certs.join(name).display().to_string();
        let (ca, cert) = (file("backplane-ca.pem".into()), file(format!("backplane-{role}.pem")));
        let key = file(format!("backplane-{role}.key"));
        format!("[backplane]\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n")
    };
    let write = |name: &str, text: String| {
        let path = home.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        path
    };
    let server = write(
        "server.toml",
        format!(
            "name = \"server-1\"\nlisten = \"127.0.0.1:0\"\n{}\
             [[pool]]\nname = \"default\"\nsource = {{ program = true }}\n",
            backplane("server")
        ),
    );
    let mut source = Guard(
        Command::new(example("source"))
            .arg(&server)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts"),
    );
    let mut line = String::new();
    let stdout = source.0.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("it says where it serves");
    let seed = line.trim().strip_prefix("serving on ").expect("an address").to_owned();

    // A port that is free now; nobody else on this machine asks for this very one.
    let listen = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let listen = listen.expect("a free port").to_string();
    let tls = ["server.pem", "server.key"].map(|name| certs.join(name).display().to_string());
    let router = write(
        "router.toml",
        format!(
            "name = \"router-1\"\nlisten = {listen:?}\nseeds = [{seed:?}]\n\
             [tls]\ncert = {:?}\nkey = {:?}\n{}[[pool]]\nname = \"default\"\npolicy = \"next\"\n",
            tls[0],
            tls[1],
            backplane("router")
        ),
    );
    for config in [&server, &router] {
        let checked = understudy(["check", "--config", config.to_str().expect("text")]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
    let _router = Guard(
        Command::new(env!("CARGO_BIN_EXE_understudy"))
            .args(["--log", "off", "router", "--config"])
            .arg(&router)
            .spawn()
            .expect("the router starts"),
    );
    let output = wait_for("the router answers", || {
        let output = understudy(["get", "--router", &listen, "/hello/world"]);
        (output.code == Some(0)).then_some(output)
    });
    assert_eq!(output.text(), "Hello, world!\n");
    let twice = understudy(["get", "--router", &listen, "--json", "--repeat", "2", "/hello/you"]);
    let replies: Vec<_> =
        twice.json_lines().iter().map(|line| line["reply"].as_str().map(str::to_owned)).collect();
    assert_eq!(replies, [Some("full".into()), Some("use_cached".into())], "{twice:?}");
    let guest = home.path().join("guest");
    std::fs::write(&guest, "Ada").expect("it can be written");
    let guest = guest.to_str().expect("text");
    let signed = understudy(["call", "--router", &listen, "--body", guest, "/guests"]);
    assert_eq!((signed.code, signed.text()), (Some(0), "Welcome!\n"), "{signed:?}");
    let guests = understudy(["get", "--router", &listen, "/guests"]);
    assert_eq!(guests.text(), "Ada\n");
    let nobody = understudy(["call", "--router", &listen, "/time"]);
    assert!(nobody.error(1).contains("refused: only /guests can be called"), "{nobody:?}");
    let missing = understudy(["get", "--router", &listen, "--json", "/nothing"]);
    assert_eq!((missing.code, &missing.json()["reply"]), (Some(1), &"not_found".into()));
}
