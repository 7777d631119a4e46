//! Whole files: what is read from them, and what is said of their faults.

use super::load::{load_located, parse};
use super::*;
use crate::cluster::Policy;
use crate::http::routes::Rule;
use crate::wire::Name;
use crate::wire::backplane::Role;
use crate::wire::session::{Limits, Versions};
use proptest::prelude::*;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const ROUTER_EXAMPLE: &str = include_str!("example-router.toml");
const SERVER_EXAMPLE: &str = include_str!("example-server.toml");

/// A directory with everything that the examples name. The certificates are of nobody's making:
/// what is in them is for [`crate::net`] to judge.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let own = ["server.pem", "server.key", "backplane-ca.pem"];
    let members = ["backplane-router.pem", "backplane-router.key"];
    let servers = ["backplane-server.pem", "backplane-server.key"];
    for name in own.into_iter().chain(members).chain(servers) {
        std::fs::write(directory.path().join(name), "somebody's").unwrap();
    }
    let keys = format!("# the new one\n{}\n\n{}\n", "Ab".repeat(32), "00".repeat(32));
    std::fs::write(directory.path().join("token.keys"), keys).unwrap();
    std::fs::create_dir(directory.path().join("www")).unwrap();
    directory
}

/// Loads a text as `x.toml` in a directory.
fn load_text(directory: &Path, text: &str) -> Result<Config, ConfigErrors> {
    let path = directory.join("x.toml");
    std::fs::write(&path, text).unwrap();
    load(&path)
}

/// What is said of a text, without the directory.
fn said(text: &str) -> Vec<String> {
    let directory = directory();
    said_in(directory.path(), text)
}

fn said_in(directory: &Path, text: &str) -> Vec<String> {
    let errors = load_text(directory, text).expect_err("the text has faults");
    let prefix = format!("{}/", directory.display());
    errors.to_string().replace(&prefix, "").lines().map(str::to_owned).collect()
}

const ROUTER: &str = r#"
listen = "127.0.0.1:4433"
seeds = ["127.0.0.1:4443"]
[tls]
cert = "server.pem"
key = "server.key"
[backplane]
ca = "backplane-ca.pem"
cert = "backplane-router.pem"
key = "backplane-router.key"
"#;

const SERVER: &str = r#"
name = "server-1"
listen = "127.0.0.1:4443"
[backplane]
ca = "backplane-ca.pem"
cert = "backplane-server.pem"
key = "backplane-server.key"
[[pool]]
source = { sample = true }
"#;

/// A text with another line in front of it.
fn with(line: &str, text: &str) -> String {
    format!("{line}{text}")
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn default_pool() -> RouterPool {
    RouterPool {
        name: name("default"),
        policy: Policy::Next,
        rule: Rule::default(),
        limits: Limits { slots: 65_536, in_flight: 256, max_item: 64 << 20 },
        request_timeout: None,
    }
}

#[test]
fn the_router_example_is_read_in_full() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let Ok(Config::Router(router)) = load_text(directory.path(), ROUTER_EXAMPLE) else {
        panic!("{:?}", load_text(directory.path(), ROUTER_EXAMPLE));
    };
    assert_eq!(router.token_keys.as_ref().map(|keys| format!("{keys:?}")).unwrap(), {
        "TokenKeyBytes(2 keys)"
    });
    let expected = RouterConfig {
        name: name("router-1"),
        listen: "0.0.0.0:4433".parse().unwrap(),
        tcp: true,
        cookies: true,
        admin: Some("127.0.0.1:4480".parse().unwrap()),
        workers: 0,
        tls: TlsFiles { cert: at("server.pem"), key: at("server.key") },
        backplane: BackplaneFiles {
            ca: at("backplane-ca.pem"),
            cert: at("backplane-router.pem"),
            key: at("backplane-router.key"),
        },
        versions: Versions::ALL,
        backplane_listen: Some("10.0.0.2:4444".parse().unwrap()),
        advertise: Some("192.0.2.2:4444".parse().unwrap()),
        seeds: vec!["10.0.0.11:4443".parse().unwrap(), "server-2.internal:4443".parse().unwrap()],
        pools: vec![default_pool()],
        token_keys: router.token_keys.clone(),
        token_keys_file: Some(at("token.keys")),
        limits: RouterLimits {
            slots: 65_536,
            in_flight: 256,
            max_item: 64 << 20,
            clients: 100_000,
        },
        request_timeout: Duration::from_secs(10),
        access_log: Some(AccessLogConfig { path: at("access.log"), format: AccessLogFormat::Json }),
    };
    assert_eq!(router, expected);
}

const POOLS: &str = r#"
[limits]
slots = 100
[[pool]]
name = "shop"
hosts = ["a.example", "*.b.Example"]
paths = ["/api/"]
in_flight = 7
max_item = "1MiB"
request_timeout_ms = 500
[[pool]]
name = "blog"
policy = "least-loaded"
"#;

#[test]
fn a_router_has_several_pools() {
    let directory = directory();
    let Ok(Config::Router(router)) = load_text(directory.path(), &format!("{ROUTER}{POOLS}"))
    else {
        panic!();
    };
    let rule = Rule {
        hosts: vec!["a.example".parse().unwrap(), "*.b.example".parse().unwrap()],
        paths: vec!["/api".parse().unwrap()],
    };
    let shop = RouterPool {
        name: name("shop"),
        rule,
        limits: Limits { slots: 100, in_flight: 7, max_item: 1 << 20 },
        request_timeout: Some(Duration::from_millis(500)),
        ..default_pool()
    };
    let blog = RouterPool {
        name: name("blog"),
        policy: Policy::LeastLoaded,
        limits: Limits { slots: 100, ..default_pool().limits },
        ..default_pool()
    };
    assert_eq!(router.pools, [shop, blog]);
    let routes = routes(&router.pools);
    assert_eq!(routes.find("x.b.example:4433", "/api/1"), Some(0));
    assert_eq!(routes.find("x.b.example:4433", "/"), Some(1));
}

#[test]
fn pools_do_not_collide() {
    let cases = [
        (
            "pool = [\n{ name = \"a\" },\n{ name = \"a\", paths = [\"/x\"] }]",
            "x.toml:3: there is a pool a already: give it another name",
        ),
        (
            "pool = [\n{ name = \"a\" },\n{ name = \"b\", paths = [\"/\"] }]",
            "x.toml:3: pool a serves / of all hosts already, so no request reaches b: give b other \
             hosts or paths",
        ),
        (
            "pool = [\n{ name = \"a\", hosts = [\"x.y\"], paths = [\"/a/\"] },\n\
             { name = \"b\", hosts = [\"X.Y.\",\n\"z\"], paths = [\n\"/a\"] }]",
            "x.toml:5: pool a serves /a of x.y already: give b other hosts or paths",
        ),
        (
            "pool = [{ hosts = [\"a:1\"] }]",
            "x.toml:1: pool.hosts has \"a:1\": a host has no port here: write it like \
             \"a.example\" or \"*.b.example\"",
        ),
        (
            "pool = [{ paths = [\"/a/%2e./b\"] }]",
            "x.toml:1: pool.paths has \"/a/%2e./b\": no path matches it, for they are normalized: \
             this is \"/b\": write it like \"/api/\"",
        ),
        (
            "pool = [{ paths = [] }]",
            "x.toml:1: pool.paths is empty: remove it, or write it like \"/api/\"",
        ),
        (
            "pool = [{ paths = [\"/a\", \"/a/\"] }]",
            "x.toml:1: pool.paths has /a/ twice: leave one of them",
        ),
        (
            "pool = [{ clients = 5 }]",
            "x.toml:1: pool.clients is unknown: it belongs in [limits]; remove it here",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(said(&with(text, ROUTER)), [expected], "{text}");
    }
}

#[test]
fn the_server_example_is_read_in_full() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let expected = ServerConfig {
        name: name("server-1"),
        listen: "10.0.0.11:4443".parse().unwrap(),
        advertise: Some("192.0.2.11:4443".parse().unwrap()),
        admin: Some("127.0.0.1:4481".parse().unwrap()),
        zone: Some(name("a")),
        seeds: vec!["dns:servers.internal:4443".parse().unwrap()],
        threshold: 10_000,
        capacity: 20_000,
        workers: 0,
        backplane: BackplaneFiles {
            ca: at("backplane-ca.pem"),
            cert: at("backplane-server.pem"),
            key: at("backplane-server.key"),
        },
        versions: Versions::ALL,
        pool: ServerPool {
            name: name("default"),
            source: SourceConfig::Directory { dir: at("www"), freshness: Freshness::Always },
        },
        memory: 256 << 20,
        max_item: 64 << 20,
        client_idle_timeout: Duration::from_secs(3600),
        drain_timeout: Duration::from_secs(30),
    };
    assert_eq!(load_text(directory.path(), SERVER_EXAMPLE), Ok(Config::Server(expected)));
}

#[test]
fn a_member_can_be_told_to_speak_no_newer_version() {
    let directory = directory();
    let speaks = |version: &str| {
        let newest = format!("newest_version = {version}");
        let text = SERVER_EXAMPLE.replace("newest_version = 4", &newest);
        assert_ne!(version == "4", text != SERVER_EXAMPLE, "the example has the line");
        load_text(directory.path(), &text)
    };
    for newest in [1, 2, 3] {
        let Ok(Config::Server(server)) = speaks(&newest.to_string()) else { panic!() };
        assert_eq!(server.versions, Versions { oldest: 1, newest });
    }
    assert!(speaks("5").is_err() && speaks("0").is_err());
}

#[test]
fn what_the_examples_call_defaults_is_what_is_left_out() {
    let directory = directory();
    let Ok(Config::Router(router)) = load_text(directory.path(), ROUTER) else { panic!() };
    assert_eq!(router.name, name("router-1"));
    assert_eq!((router.admin, router.workers), (None, 0));
    assert_eq!((router.backplane_listen, router.token_keys), (None, None));
    assert_eq!(router.pools, [default_pool()]);
    let Ok(Config::Router(full)) = load_text(directory.path(), ROUTER_EXAMPLE) else { panic!() };
    assert_eq!((router.limits, router.request_timeout), (full.limits, full.request_timeout));
    assert_eq!(router.access_log, None);
    let Ok(Config::Server(server)) = load_text(directory.path(), SERVER) else { panic!() };
    assert_eq!((server.threshold, server.capacity), (10_000, 20_000));
    assert_eq!((server.memory, server.max_item), (256 << 20, 64 << 20));
    assert_eq!((server.zone, server.seeds.len()), (None, 0));
    assert_eq!(server.pool.source, SourceConfig::Sample);
}

#[test]
fn numbers_follow_each_other_where_only_one_is_given() {
    let directory = directory();
    let server = |line: &str| match load_text(directory.path(), &with(line, SERVER)) {
        Ok(Config::Server(server)) => server,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(server("threshold = 7").capacity, 14);
    assert_eq!(server("threshold = 10_000_000").capacity, 10_000_000);
    assert_eq!(server("memory = \"1MiB\"").max_item, 1 << 20);
    assert_eq!(server("memory = 0x200000").memory, 2 << 20);
    let none = server("threshold = 0\ncapacity = 1");
    assert_eq!((none.threshold, none.capacity), (0, 1));
}

#[test]
fn a_kind_is_told_by_its_keys_or_by_the_caller() {
    let directory = directory();
    let path = directory.path().join("x.toml");
    load_text(directory.path(), ROUTER).unwrap();
    assert_eq!(load(&path).unwrap().role(), Role::Router);
    assert_eq!(load(&path).unwrap().name(), &name("router-1"));
    assert!(load_router(&path).is_ok());
    let errors = load_server(&path).unwrap_err();
    let tls = errors.problems.iter().find(|problem| problem.what == "tls is unknown").unwrap();
    assert_eq!(tls.fix, "it belongs in a router's configuration; remove it here");
    let said = said("name = \"a\"\nlisten = \"127.0.0.1:1\"");
    assert_eq!(
        said,
        ["x.toml: this could be a router's configuration or a server's: add [tls] for \
                       a router, or [[pool]] with a source for a server"]
    );
}

#[test]
fn the_lines_of_all_paths_are_kept() {
    let directory = directory();
    load_text(directory.path(), ROUTER).unwrap();
    let located = load_located(&directory.path().join("x.toml")).unwrap();
    assert_eq!(located.path_lines[&directory.path().join("server.key")], 6);
    assert_eq!(located.path_lines.len(), 5);
}

#[test]
fn one_look_finds_every_problem_with_its_line_and_fix() {
    let text = r#"name = "Server 1"
listen = "localhost:4443"
admin = "0.0.0.0:4481"
treshold = 5
threshold = 30_000
capacity = 20_000
workers = 257
zone = 5
memory = "64MB"
max_item = "2GiB"
tls = {}
seeds = ["10.0.0.1", "a:1", 7, "a:1"]
[backplane]
ca = "nowhere.pem"
cert = "www"
password = "x"
[[pool]]
name = "default"
source = { dir = "server.pem", freshness = "watched" }
[[pool]]
"#;
    let directory = directory();
    let expected = [
        "x.toml:1: name is \"Server 1\": only a-z, 0-9 and '-' are allowed: use a-z, 0-9 and '-', \
         such as \"north-1\"",
        "x.toml:2: listen is \"localhost:4443\": this is not an IP address and a port: write it \
         like \"0.0.0.0:4443\"",
        "x.toml:3: admin is 0.0.0.0:4481, which other machines can reach without a password: use \
         127.0.0.1, or add admin_allow_remote = true",
        "x.toml:4: treshold is unknown: did you mean threshold?",
        "x.toml:5: threshold is 30000, above the capacity of 20000: lower threshold or raise \
         capacity",
        "x.toml:7: workers is 257: make it a whole number from 0 to 256",
        "x.toml:8: zone is an integer: make it a text in quotes",
        "x.toml:9: memory is \"64MB\": make it a number of bytes from 1MiB to 64TiB, such as \
         \"64MiB\"",
        "x.toml:10: max_item is 2147483648: make it a number of bytes from 1B to 1GiB, such as \
         \"64MiB\"",
        "x.toml:11: tls is unknown: it belongs in a router's configuration; remove it here",
        "x.toml:12: seeds has \"10.0.0.1\": it has no port: write it like \"10.0.0.11:4443\", \
         \"server-1.internal:4443\" or, for all addresses of a name, \
         \"dns:servers.internal:4443\"",
        "x.toml:12: seeds has a:1 twice: leave one of them",
        "x.toml:12: seeds[2] is an integer: make it a text in quotes",
        "x.toml:13: backplane.key is missing: add key, the path of the key of that certificate",
        "x.toml:14: backplane.ca is nowhere.pem, which does not exist: correct the path, which is \
         relative to this file, or put it there",
        "x.toml:15: backplane.cert is www, not a file: name another",
        "x.toml:16: backplane.password is unknown: remove it; known here are ca, cert, key, \
         newest_version, seeds",
        "x.toml:19: pool.source.dir is server.pem, not a directory: name another",
        "x.toml:19: pool.source.freshness is \"watched\": this is not a freshness: use \"always\", \
         \"watch\" or \"ttl\"",
        "x.toml:20: there can be no more than one [[pool]] here: leave only one",
    ];
    assert_eq!(said_in(directory.path(), text), expected);
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        said("threshold = 1"),
        [
            "x.toml: backplane is missing: add [backplane] with ca, cert and key, as 'understudy \
             certs new --out certs' makes them",
            "x.toml: listen is missing: add listen = \"0.0.0.0:4443\"",
            "x.toml: name is missing: add name = \"server-1\", another for each server",
            "x.toml: pool is missing: add [[pool]] with name = \"default\" and source = { dir = \
             \"/srv/www\" }",
        ]
    );
    assert_eq!(
        said("[tls]"),
        [
            "x.toml: backplane is missing: add [backplane] with ca, cert and key, as 'understudy \
             certs new --out certs' makes them",
            "x.toml: listen is missing: add listen = \"0.0.0.0:4433\"",
            "x.toml: seeds is missing: list backplane addresses of servers: seeds = \
             [\"127.0.0.1:4443\"]",
            "x.toml:1: tls.cert is missing: add cert = \"server.pem\"",
            "x.toml:1: tls.key is missing: add key = \"server.key\"",
        ]
    );
}

#[test]
fn relations_between_values_are_checked() {
    let cases = [
        (SERVER, "threshold = 0", "x.toml:1: threshold is 0, so capacity would be 0 too"),
        (SERVER, "capacity = 9_999", "x.toml:1: threshold is 10000, above the capacity of 9999"),
        (SERVER, "capacity = 0", "x.toml:1: capacity is 0: make it a whole number from 1 to"),
        (SERVER, "threshold = -5", "x.toml:1: threshold is -5: make it a whole number from 0 to"),
        (
            SERVER,
            "max_item = \"512MiB\"",
            "x.toml:1: max_item is 512MiB, above the memory of 256MiB",
        ),
        (ROUTER, "request_timeout_ms = 9", "x.toml:1: request_timeout_ms is 9: make it a whole"),
        (ROUTER, "limits = { slots = 1048577 }", "x.toml:1: limits.slots is 1048577: make it a"),
        (ROUTER, "slots = 1", "x.toml:1: slots is unknown: it belongs in [limits]; remove it here"),
        (ROUTER, "capacity = 1", "x.toml:1: capacity is unknown: it belongs in a server's"),
        (ROUTER, "backplane.seeds = []", "x.toml:7: this is not valid TOML: duplicate key"),
        (ROUTER, "seeds = []", "x.toml:3: this is not valid TOML: duplicate key"),
        (
            ROUTER,
            "token_keys = \"server.pem\"",
            "x.toml:1: token_keys is server.pem: line 1 is not",
        ),
        (ROUTER, "pool = [{ policy = \"random\" }]", "x.toml:1: pool.policy is \"random\""),
        (ROUTER, "pool = []", "x.toml:1: pool has no table in it: write it as [[pool]]"),
        (ROUTER, "pool = {}", "x.toml:1: pool is a table: make it a list of tables: [[pool]]"),
        (ROUTER, "limits = 1979-05-27", "x.toml:1: limits is a datetime: make it a table"),
        (ROUTER, "admin = \"[::]:1\"", "x.toml:1: admin is [::]:1, which other machines can reach"),
    ];
    for (text, line, expected) in cases {
        let said = said(&with(line, text));
        assert_eq!(said.len(), 1, "{line}: {said:?}");
        assert!(said[0].starts_with(expected), "{line}: {said:?}");
    }
}

#[test]
fn sources_are_one_thing_or_the_other() {
    let cases = [
        ("{}", "x.toml:9: source has neither dir, http nor sample = true: add dir = \"/srv/www\""),
        ("{ sample = false }", "x.toml:9: source has neither dir, http nor sample = true: add dir"),
        ("{ sample = true, dir = \"www\" }", "x.toml:9: source has more than one of dir, http"),
        (
            "{ sample = true, freshness = \"always\" }",
            "x.toml:9: source has a freshness, which only",
        ),
        (
            "{ dir = \"www\", freshness = \"ttl\" }",
            "x.toml:9: pool.source.ttl_ms is missing: add ttl_ms = 1000",
        ),
        (
            "{ dir = \"www\", freshness = \"ttl\", ttl_ms = 0 }",
            "x.toml:9: pool.source.ttl_ms is 0: make it a whole number from 1 to 86400000",
        ),
        (
            "{ dir = \"www\", freshness = \"ttl\", ttl_ms = 86_400_001 }",
            "x.toml:9: pool.source.ttl_ms is 86400001: make it",
        ),
        (
            "{ dir = \"www\", freshness = \"ttl\", ttl_ms = \"1s\" }",
            "x.toml:9: pool.source.ttl_ms is a string: make it a whole number",
        ),
        (
            "{ dir = \"www\", ttl_ms = 5 }",
            "x.toml:9: pool.source.ttl_ms is only for freshness = \"ttl\": remove it, or set",
        ),
        (
            "{ dir = \"www\", freshness = \"watch\", ttl_ms = 5 }",
            "x.toml:9: pool.source.ttl_ms is only for freshness = \"ttl\"",
        ),
        (
            "{ dir = \"www\", freshness = \"always\", verify_ms = 5 }",
            "x.toml:9: pool.source.verify_ms is only for freshness = \"watch\"",
        ),
        (
            "{ dir = \"www\", freshness = \"watch\", verify_ms = 0 }",
            "x.toml:9: pool.source.verify_ms is 0: make it a whole number from 1 to 3600000",
        ),
        (
            "{ sample = true, ttl_ms = 5 }",
            "x.toml:9: source has a ttl_ms, which only a dir has: remove ttl_ms",
        ),
        (
            "{ dir = \"www\", freshness = \"x\" }",
            "x.toml:9: pool.source.freshness is \"x\": this is",
        ),
        ("{ dir = \"nowhere\" }", "x.toml:9: pool.source.dir is nowhere, which does not exist"),
        ("\"www\"", "x.toml:9: pool.source is a string: make it a table"),
    ];
    said_of_sources(&cases);
}

#[test]
fn what_is_wrong_with_an_origin_is_said() {
    let cases = [
        (
            "{ http = \"http://a\", ttl_ms = 5 }",
            "x.toml:9: source has a ttl_ms, which only a dir has: remove ttl_ms",
        ),
        (
            "{ http = \"http://a\", sample = true }",
            "x.toml:9: source has more than one of dir, http, sample and program: leave one",
        ),
        (
            "{ sample = true, timeout_ms = 5 }",
            "x.toml:9: source has a timeout_ms, which only an http has: remove timeout_ms",
        ),
        (
            "{ http = \"127.0.0.1:8080\" }",
            "x.toml:9: pool.source.http is \"127.0.0.1:8080\": it does not start with http://: \
             write it like \"http://127.0.0.1:8080\"",
        ),
        (
            "{ http = \"https://a\" }",
            "x.toml:9: pool.source.http is \"https://a\": https to an origin is not available yet",
        ),
        (
            "{ http = \"http://a\", timeout_ms = 0 }",
            "x.toml:9: pool.source.timeout_ms is 0: make it a whole number from 1 to 600000",
        ),
        (
            "{ http = \"http://a\", stale_if_error_s = -1 }",
            "x.toml:9: pool.source.stale_if_error_s is -1: make it a whole number from 0 to 604800",
        ),
        ("{ http = 8080 }", "x.toml:9: pool.source.http is an integer: make it a text in quotes"),
    ];
    said_of_sources(&cases);
}

/// Each source has one problem, whose text starts so.
fn said_of_sources(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        let said = said(&SERVER.replace("{ sample = true }", source));
        assert_eq!(said.len(), 1, "{source}: {said:?}");
        assert!(said[0].starts_with(expected), "{source}: {said:?}");
    }
}

#[test]
fn an_origin_has_a_url_and_times() {
    let directory = directory();
    let source = |text: &str| {
        let text = SERVER.replace("{ sample = true }", text);
        let Ok(Config::Server(server)) = load_text(directory.path(), &text) else { panic!() };
        server.pool.source
    };
    let url: OriginUrl = "http://127.0.0.1:8080".parse().unwrap();
    let http = |timeout, stale_if_error| SourceConfig::Http {
        url: url.clone(),
        timeout: Duration::from_millis(timeout),
        stale_if_error: Duration::from_secs(stale_if_error),
    };
    assert_eq!(source("{ http = \"http://127.0.0.1:8080/\" }"), http(10_000, 0));
    let all = "{ http = \"http://127.0.0.1:8080\", timeout_ms = 1, stale_if_error_s = 60 }";
    assert_eq!(source(all), http(1, 60));
}

#[test]
fn a_directory_is_asked_every_time_watched_or_asked_now_and_then() {
    let directory = directory();
    let freshness = |text: &str| {
        let source = format!("{{ dir = \"www\"{text} }}");
        let text = SERVER.replace("{ sample = true }", &source);
        let Ok(Config::Server(server)) = load_text(directory.path(), &text) else { panic!() };
        match server.pool.source {
            SourceConfig::Directory { freshness, .. } => freshness,
            other => panic!("{other:?} is no directory"),
        }
    };
    let millis = Duration::from_millis;
    assert_eq!(freshness(""), Freshness::Always);
    assert_eq!(freshness(", freshness = \"always\""), Freshness::Always);
    let watch = |verify| Freshness::Watch { verify: millis(verify) };
    assert_eq!(freshness(", freshness = \"watch\""), watch(10_000));
    assert_eq!(freshness(", freshness = \"watch\", verify_ms = 500"), watch(500));
    let ttl = Freshness::Ttl { ttl: millis(1000) };
    assert_eq!(freshness(", freshness = \"ttl\", ttl_ms = 1000"), ttl);
}

#[test]
fn token_keys_are_one_or_two_lines_of_hex() {
    let directory = directory();
    let text = with("token_keys = \"token.keys\"", ROUTER);
    let (one, two, three) = ("11".repeat(32), "22".repeat(32), "33".repeat(32));
    let check = |contents: &str, expected: Option<&str>| {
        std::fs::write(directory.path().join("token.keys"), contents).unwrap();
        match expected {
            None => assert!(load_text(directory.path(), &text).is_ok(), "{contents}"),
            Some(expected) => {
                let said = said_in(directory.path(), &text);
                assert!(said[0].contains(expected), "{contents}: {said:?}");
                assert!(!said[0].contains("1111"), "keys are never shown");
            }
        }
    };
    check(&one, None);
    check(&format!("\r\n {one} \r\n# old\r\n{two}\r\n"), None);
    check("", Some("it has no key"));
    check(&one[1..], Some("line 1 is not 64 hex digits"));
    check(&format!("{one}\n{}g", &two[1..]), Some("line 2 is not 64 hex digits"));
    check(&format!("{one}\n{one}"), Some("line 2 repeats the key before it"));
    check(&format!("{one}\n{two}\n{three}"), Some("it has 3 keys"));
    check(&"#".repeat(5_000), Some("more than 4096 bytes"));
    check("é", Some("line 1 is not 64 hex digits"));
}

#[test]
fn an_access_log_is_a_file_in_a_directory() {
    let directory = directory();
    let read = |lines: &str| {
        let text = format!("{ROUTER}[access_log]\n{lines}");
        let Ok(Config::Router(router)) = load_text(directory.path(), &text) else { panic!() };
        router.access_log.unwrap()
    };
    let path = directory.path().join("www/a.log");
    let (json, common) = (AccessLogFormat::Json, AccessLogFormat::Common);
    let expected = |format| AccessLogConfig { path: path.clone(), format };
    assert_eq!(read("path = \"www/a.log\""), expected(json));
    assert_eq!(read("path = \"www/a.log\"\nformat = \"common\""), expected(common));
    for (lines, complaint) in [
        ("", "11: access_log.path is missing: add path = \"/var/log/understudy/access.log\""),
        ("path = \"www\"", "12: access_log.path is www, which is a directory: name a file in it"),
        (
            "path = \"a/b.log\"",
            "12: access_log.path is in a, which does not exist: make the directory, or correct the \
             path, which is relative to this file",
        ),
        (
            "path = \"server.pem/b.log\"",
            "12: access_log.path is in server.pem, not a directory: name a file in a directory",
        ),
        (
            "path = \"a.log\"\nformat = \"xml\"",
            "13: access_log.format is \"xml\": this is not a format: use \"json\" or \"common\"",
        ),
        (
            "path = \"a.log\"\nfromat = \"json\"",
            "13: access_log.fromat is unknown: did you mean format?",
        ),
    ] {
        let said = said_in(directory.path(), &format!("{ROUTER}[access_log]\n{lines}"));
        assert_eq!(said, [format!("x.toml:{complaint}")]);
    }
    let said = said(&format!("{SERVER}\n[access_log]\npath = \"a.log\""));
    assert!(said[0].contains("access_log is unknown: it belongs in a router's"), "{said:?}");
}

#[test]
fn seeds_stand_at_the_top_or_in_the_backplane() {
    let directory = directory();
    let moved = ROUTER.replace("seeds = [\"127.0.0.1:4443\"]\n", "") + "seeds = [\"[::1]:1\"]\n";
    let Ok(Config::Router(router)) = load_text(directory.path(), &moved) else { panic!() };
    assert_eq!(router.seeds, ["[::1]:1".parse().unwrap()]);
    let both = format!("{ROUTER}seeds = [\"[::1]:1\"]\n");
    assert_eq!(
        said(&both),
        ["x.toml:11: seeds is given twice, here and above: leave one of the \
                              lists"]
    );
}

#[test]
fn one_port_is_not_shared() {
    let listen = |address: &str| format!("{ROUTER}listen = \"{address}\"\n");
    let said = said(&listen("127.0.0.1:4433"));
    assert!(said[0].starts_with("x.toml:11: backplane.listen is 127.0.0.1:4433, on the same port"));
    let directory = directory();
    for fine in ["127.0.0.1:4434", "127.0.0.2:4433"] {
        assert!(load_text(directory.path(), &listen(fine)).is_ok(), "{fine}");
    }
}

#[test]
fn bundled_certificates_stay_on_this_machine() {
    let directory = tempfile::tempdir().unwrap();
    bundled::write_to(directory.path()).unwrap();
    for text in [ROUTER, SERVER] {
        assert!(load_text(directory.path(), text).is_ok());
    }
    let refused = |text: &str, expected: &[&str]| {
        let said = said_in(directory.path(), text);
        assert_eq!(said, expected, "{text}");
    };
    refused(
        &ROUTER.replace("\"127.0.0.1:4433\"", "\"0.0.0.0:4433\""),
        &["x.toml:2: listen is 0.0.0.0:4433, beyond this machine, but server.pem is a bundled \
           development file, whose key everybody has: make your own by 'understudy certs new --out \
           certs --name \"$(hostname)\"' and name them in [tls]"],
    );
    refused(
        &ROUTER.replace("\"127.0.0.1:4433\"", "\"192.0.2.1:4433\""),
        &["x.toml:2: listen is 192.0.2.1:4433, beyond this machine, but server.pem is a bundled \
           development file, whose key everybody has: make your own by 'understudy certs new --out \
           certs --name 192.0.2.1' and name them in [tls]"],
    );
    let backplane = |line: &str, what: &str| {
        format!(
            "x.toml:{line}: the backplane {what}, beyond this machine, but backplane-ca.pem is a \
             bundled development file, whose key everybody has: make your own by 'understudy certs \
             new --out certs', once for all routers and servers, and name them in [backplane]"
        )
    };
    refused(
        &ROUTER.replace("\"127.0.0.1:4443\"", "\"192.0.2.1:4443\""),
        &[&backplane("3", "dials 192.0.2.1:4443")],
    );
    refused(
        &SERVER.replace("\"127.0.0.1:4443\"", "\"[::]:4443\""),
        &[&backplane("3", "listens on [::]:4443")],
    );
    refused(
        &with("seeds = [\"localhost:1\", \"far:1\"]", SERVER),
        &[&backplane("1", "dials far:1")],
    );
    // Any one of the files is enough: here only the key, under another name.
    let own = ["server.pem", "backplane-ca.pem", "backplane-server.pem"];
    for name in own {
        std::fs::write(directory.path().join(name), "somebody's").unwrap();
    }
    let key_only = SERVER.replace("\"127.0.0.1:4443\"", "\"[::]:4443\"");
    assert!(
        said_in(directory.path(), &key_only)[0].contains("but backplane-server.key is a bundled")
    );
}

#[test]
fn files_that_are_not_toml_are_refused_by_line() {
    let directory = directory();
    let path = directory.path().join("x.toml");
    std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    assert_eq!(load(&path).unwrap_err().problems[0].line, Some(2));
    let said = said("listen = 127.0.0.1:4433\nname = \"a\nworkers = 1\n");
    assert!(
        said.iter().any(|line| line.starts_with("x.toml:1: this is not valid TOML: ")),
        "{said:?}"
    );
    assert!(
        said.iter().any(|line| line.starts_with("x.toml:2: this is not valid TOML: ")),
        "{said:?}"
    );
    assert!(said.iter().all(|line| line.contains("not valid TOML")), "nothing else: {said:?}");
    let missing = load(&directory.path().join("missing.toml")).unwrap_err();
    assert!(missing.to_string().contains("missing.toml: it cannot be read: "), "{missing}");
    std::fs::write(&path, "#".repeat(300 * 1024)).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("more than 262144 bytes"));
}

#[test]
fn lists_and_reports_are_bounded() {
    let directory = directory();
    let many = |count: usize, entry: &dyn Fn(usize) -> String| {
        (0..count).map(entry).collect::<Vec<_>>().join(", ")
    };
    let seeds = format!("seeds = [{}]", many(257, &|place| format!("\"a:{}\"", place + 1)));
    assert_eq!(
        said(&with(&seeds, SERVER)),
        ["x.toml:1: seeds has 257 elements: leave at most 256"]
    );
    let unknown: String = (0..200).map(|place| format!("unknown-{place} = 1\n")).collect();
    let errors = load_text(directory.path(), &with(&unknown, SERVER)).unwrap_err();
    assert_eq!(errors.problems.len(), 100);
}

/// Pieces that texts are made of: what is right, what is nearly right, and what is neither.
fn piece() -> impl Strategy<Value = String> {
    let lines: Vec<String> =
        ROUTER_EXAMPLE.lines().chain(SERVER_EXAMPLE.lines()).map(str::to_owned).collect();
    let keys =
        ["name", "listen", "seeds", "pool", "tls", "limits", "threshold", "source", "memory"];
    let values =
        ["1", "-1", "\"a\"", "[]", "{}", "[[]]", "[{}]", "true", "1.5", "nan", "0x7f", "\""];
    prop_oneof![
        4 => prop::sample::select(lines),
        4 => (prop::sample::select(keys.to_vec()), prop::sample::select(values.to_vec()))
            .prop_map(|(key, value)| format!("{key} = {value}")),
        1 => "[\\[\\]{}=\".,a-z0-9 \\n-]{0,20}",
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_a_configuration_or_a_list_of_problems(
        pieces in prop::collection::vec(piece(), 0..30),
        role in prop::option::of(prop::sample::select(&[Role::Router, Role::Server][..])),
    ) {
        let text = pieces.join("\n");
        let lines = text.matches('\n').count() + 1;
        if let Err(problems) = parse(&text, Path::new("/nowhere"), role) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)));
            }
        }
    }
}

#[test]
fn members_are_told_to_dial_only_what_can_be_dialled() {
    let said = said(&with("advertise = \"0.0.0.0:4443\"", SERVER));
    let expected = "x.toml:1: advertise is 0.0.0.0:4443, which nobody can dial: write the address \
                    that other members reach it by";
    assert_eq!(said, [expected]);
}

#[test]
fn a_router_that_can_be_dialled_needs_no_seeds() {
    let directory = directory();
    let text = ROUTER.replace("seeds = [\"127.0.0.1:4443\"]", "")
        + "listen = \"127.0.0.1:4444\"\nadvertise = \"127.0.0.1:4445\"\n";
    let Ok(Config::Router(router)) = load_text(directory.path(), &text) else { panic!("{text}") };
    assert_eq!(router.seeds, []);
    assert_eq!(router.advertise, Some("127.0.0.1:4445".parse().unwrap()));
}
