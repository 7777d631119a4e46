//! A router with two pools of one server each, started as processes: each pool answers for its hosts
//! and paths, and never for the other.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{Output, PATIENCE, page, understudy, wait_until};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

const HOST: &str = "shop.example";
/// Of the router.
const POOLS: &str = r#"
[[pool]]
name = "shop"
hosts = ["shop.example", "*.shop.example"]

[[pool]]
name = "blog"
hosts = ["shop.example"]
paths = ["/blog/"]
request_timeout_ms = 500
"#;

/// A directory with the files of a router, of a server for each of three pools, of which the router
/// does not have the last, and the processes. They end with it.
struct Place {
    directory: TempDir,
    network: String,
    /// The last number of its first address: another one for each test.
    first: usize,
    processes: Vec<Child>,
}

impl Drop for Place {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may be gone already, which is no matter.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Place {
    fn new(first: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let id = std::process::id();
        // Not where `tests/cluster.rs` is.
        let network = format!("127.{}.{}.", 1 + id / 250 % 250, 1 + id % 250);
        let place = Self { directory, network, first, processes: Vec::new() };
        let certs = place.path("certs").display().to_string();
        let made = understudy([
            "certs",
            "new",
            "--out",
            &certs,
            "--name",
            HOST,
            "--name",
            "www.shop.example",
            "--name",
            "other.example",
            "--router",
            "router",
            "--server",
            "shop",
            "--server",
            "blog",
            "--server",
            "other",
        ]);
        assert_eq!(made.code, Some(0), "{made:?}");
        let router = format!(
            "name = \"router\"\nlisten = \"{0}\"\nadmin = \"{1}\"\nadmin_allow_remote = true\n\
             workers = 2\nseeds = [\"{2}\", \"{3}\", \"{4}\"]\n\
             [tls]\ncert = \"certs/server.pem\"\nkey = \"certs/server.key\"\n{5}{POOLS}",
            place.public(),
            place.admin("router"),
            place.backplane("shop"),
            place.backplane("blog"),
            place.backplane("other"),
            backplane("router-router"),
        );
        fs::write(place.path("router.toml"), router).unwrap();
        for (pool, key) in [("shop", "name.txt"), ("blog", "blog/name.txt"), ("other", "x")] {
            let root = place.path(&format!("www-{pool}"));
            fs::create_dir_all(root.join(key).parent().unwrap()).unwrap();
            fs::write(root.join(key), pool).unwrap();
            // The same name in both pools, which is not the same item.
            fs::write(root.join("both.txt"), pool).unwrap();
            let server = format!(
                "name = \"{pool}\"\nlisten = \"{}\"\nadmin = \"{}\"\nadmin_allow_remote = true\n\
                 workers = 1\nseeds = [\"{}\"]\n{}[[pool]]\nname = \"{pool}\"\n\
                 source = {{ dir = \"www-{pool}\" }}\n",
                place.backplane(pool),
                place.admin(pool),
                place.backplane("shop"),
                backplane(&format!("server-{pool}")),
            );
            fs::write(place.path(&format!("{pool}.toml")), server).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn ip(&self, name: &str) -> String {
        let place = ["router", "shop", "blog", "other"].iter().position(|it| *it == name).unwrap();
        format!("{}{}", self.network, self.first + place)
    }

    fn public(&self) -> SocketAddr {
        format!("{}:4433", self.ip("router")).parse().unwrap()
    }

    fn backplane(&self, name: &str) -> SocketAddr {
        format!("{}:4443", self.ip(name)).parse().unwrap()
    }

    fn admin(&self, name: &str) -> SocketAddr {
        format!("{}:4480", self.ip(name)).parse().unwrap()
    }

    fn start(&mut self, name: &str) {
        let role = if name == "router" { "router" } else { "server" };
        let child = Command::new(env!("CARGO_BIN_EXE_understudy"))
            .args([role, "--config"])
            .arg(self.path(&format!("{name}.toml")))
            .stdin(Stdio::null())
            .stderr(fs::File::create(self.path(&format!("{name}.log"))).unwrap())
            .spawn();
        self.processes.push(child.unwrap());
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    fn status(&self, name: &str) -> Option<Value> {
        let (code, body) = page(self.admin(name), "/status").ok()?;
        (code == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    /// The servers that the router is linked to and has statuses of, with their pools.
    fn healthy(&self) -> Vec<(String, String)> {
        let status = self.status("router");
        let servers = status.as_ref().and_then(|status| status["servers"].as_array());
        let good = |server: &&Value| server["state"] == "healthy" && server["capacity"] != 0;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let pair = |server: &Value| (text(&server["name"]), text(&server["pool"]));
        servers.into_iter().flatten().filter(good).map(pair).collect()
    }

    /// Gets an item natively.
    fn get(&self, host: &str, more: &[&str]) -> Output {
        let (router, ca) = (self.public().to_string(), self.path("certs/ca.pem"));
        let ca = ca.display().to_string();
        let common = ["get", "--router", &router, "--ca", &ca, "--server-name", host];
        understudy(common.iter().chain(more))
    }

    /// A connection over TCP that speaks HTTP/1.1.
    fn connect(&self) -> Http {
        let mut roots = RootCertStore::empty();
        let pem = fs::read(self.path("certs/ca.pem")).unwrap();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(HOST).unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(self.public()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Http(BufReader::new(StreamOwned::new(tls, stream)))
    }
}

fn backplane(member: &str) -> String {
    format!(
        "[backplane]\nca = \"certs/backplane-ca.pem\"\ncert = \"certs/{member}.pem\"\n\
         key = \"certs/{member}.key\"\n"
    )
}

struct Http(BufReader<StreamOwned<ClientConnection, TcpStream>>);

/// The answer to an HTTP request.
#[derive(Debug)]
struct Answer {
    status: u16,
    cookie: Option<String>,
    body: String,
}

impl Http {
    fn get(&mut self, host: &str, path: &str, cookies: &str) -> Answer {
        let cookies = match cookies {
            "" => String::new(),
            cookies => format!("cookie: {cookies}\r\n"),
        };
        // What is for one client alone may carry a cookie.
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Basic eDp5\r\n{cookies}\r\n"
        );
        self.0.get_mut().write_all(head.as_bytes()).unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let field = |name: &str| {
            let value = |line: &String| {
                let (field, value) = line.split_once(": ")?;
                field.eq_ignore_ascii_case(name).then(|| value.to_owned())
            };
            lines.iter().find_map(value)
        };
        let length = field("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let cookie = field("set-cookie").map(|it| it.split(';').next().unwrap().to_owned());
        Answer { status, cookie, body: String::from_utf8(body).unwrap() }
    }
}

#[test]
fn each_pool_answers_for_its_hosts_and_paths_and_no_other() {
    let mut place = Place::new(101);
    ["router", "shop", "blog", "other"].into_iter().for_each(|name| place.start(name));
    let both = [("blog", "blog"), ("shop", "shop")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    wait_until("both pools have their server", || place.healthy() == both);
    wait_until("the third server is named", || {
        place.log("router").contains("of the pool other, which this router does not have")
    });

    // Natively: by name, by the host of the handshake, or the first one.
    let of = |output: Output| (output.code, output.text().to_owned());
    let shop = || (Some(0), "shop".to_owned());
    assert_eq!(of(place.get("www.shop.example", &["/both.txt"])), shop());
    assert_eq!(of(place.get("other.example", &["/both.txt"])), shop());
    let named = place.get(HOST, &["--pool", "blog", "/both.txt"]);
    assert_eq!(of(named), (Some(0), "blog".to_owned()));
    let missing = place.get(HOST, &["--pool", "other", "/x"]);
    assert!(missing.stderr.contains("there is no pool other"), "{missing:?}");
    assert_ne!(missing.code, Some(0));

    // By HTTP, each request on its own, and each pool with a client of its own.
    let mut http = place.connect();
    let answer = http.get(HOST, "/name.txt", "");
    assert_eq!((answer.status, &*answer.body), (200, "shop"), "{answer:?}");
    let in_shop = answer.cookie.unwrap();
    assert!(in_shop.starts_with("__Host-understudy-shop="), "{in_shop}");
    let answer = http.get(&format!("{}:4433", HOST.to_uppercase()), "/blog/name.txt", &in_shop);
    assert_eq!((answer.status, &*answer.body), (200, "blog"), "{answer:?}");
    let in_blog = answer.cookie.unwrap();
    assert!(in_blog.starts_with("__Host-understudy-blog="), "{in_blog}");
    let answer = http.get("www.shop.example", "/blog/name.txt", &in_shop);
    assert_eq!((answer.status, answer.cookie), (404, None), "the shop has no such item");
    let answer = http.get("other.example", "/both.txt", "");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("no pool serves this host and path"), "{answer:?}");
    let clients = || place.status("router").unwrap()["clients"].as_u64().unwrap();
    let before = clients();
    let mut http = place.connect();
    let cookies = format!("{in_blog}; a=b; {in_shop}");
    assert_eq!(http.get(HOST, "/both.txt", &cookies).body, "shop");
    assert_eq!(http.get(HOST, "/blog/name.txt", &cookies).body, "blog");
    assert_eq!(clients(), before, "each pool knows its client by its own cookie");

    let status = understudy(["status", "--admin", &place.admin("router").to_string()]);
    let row = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<_> = status.text().lines().map(row).collect();
    assert!(rows.contains(&vec!["blog".to_owned(), "blog".to_owned()]), "{status:?}");

    // A pool without servers takes none of another pool, and takes none of them down.
    let mut blog = place.processes.remove(2);
    blog.kill().unwrap();
    blog.wait().unwrap();
    wait_until("blog is given up", || {
        let status = place.status("router").unwrap();
        status["servers"][0]["name"] == "blog" && status["servers"][0]["state"] == "down"
    });
    let refused = place.connect().get(HOST, "/blog/name.txt", "");
    // One of the router's workers may know a moment later than the other.
    assert!(matches!(refused.status, 503 | 504), "{refused:?}");
    assert_eq!(of(place.get(HOST, &["/both.txt"])), shop());
}

#[test]
fn a_server_that_says_no_pool_counts_as_one_of_the_first() {
    let mut place = Place::new(111);
    // The version before pools. It is called by the name of the other pool, which means nothing.
    let file = place.path("blog.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[backplane]", "[backplane]\nnewest_version = 3")).unwrap();
    ["router", "blog"].into_iter().for_each(|name| place.start(name));
    let expected = [("blog".to_owned(), "shop".to_owned())];
    wait_until("the server is of the first pool", || place.healthy() == expected);
    assert_eq!(place.get(HOST, &["--pool", "shop", "/both.txt"]).text(), "blog");
    let (code, ready) = page(place.admin("router"), "/ready").unwrap();
    assert_eq!((code, &*ready), (200, "ready\nno server of pool blog can be reached\n"));
}
