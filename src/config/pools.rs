//! The pools of a router: which it serves, how, and to whom.

use super::router::{self, RouterLimits};
use super::section::{Located, Section};
use super::shared;
use crate::cluster::Policy;
use crate::http::routes::{HostPattern, PathPrefix, Routes, Rule};
use crate::node::router::MAX_POOLS;
use crate::wire::Name;
use crate::wire::session::Limits;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// Pairs of a host and a path that the pools of a router have: each is looked at for each request.
const MAX_ROUTES: usize = 1024;

/// A pool, as routers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterPool {
    /// What it is called; servers must call theirs the same.
    pub name: Name,
    /// How a new client gets its server.
    pub policy: Policy,
    /// The hosts and paths that it serves to clients that speak HTTP.
    pub rule: Rule,
    /// What its clients may do.
    pub limits: Limits,
    /// How long a request may take, where that is another time than in other pools.
    pub request_timeout: Option<Duration>,
}

/// The rules of some pools.
pub(crate) fn routes(pools: &[RouterPool]) -> Routes {
    Routes::new(pools.iter().map(|pool| pool.rule.clone()).collect())
}

/// A pool, and where it stands in the file.
struct Read {
    pool: RouterPool,
    line: Option<usize>,
    name_line: Option<usize>,
    hosts: Vec<Located<HostPattern>>,
    paths: Vec<Located<PathPrefix>>,
}

/// A host, or all hosts, and the path from which on it is served.
type Route = (Option<HostPattern>, PathPrefix);

impl Read {
    /// All hosts with all paths, and the line that says so.
    fn routes(&self) -> Vec<(Route, Option<usize>)> {
        let host = |host: &Located<HostPattern>| (Some(host.value.clone()), host.line);
        let mut hosts: Vec<_> = self.hosts.iter().map(host).collect();
        if hosts.is_empty() {
            hosts.push((None, None));
        }
        let path = |path: &Located<PathPrefix>| (path.value.clone(), path.line);
        let mut paths: Vec<_> = self.paths.iter().map(path).collect();
        if paths.is_empty() {
            paths.push((PathPrefix::default(), None));
        }
        let of_host = |(host, line): (Option<HostPattern>, Option<usize>)| {
            let route = move |(path, at): &(PathPrefix, Option<usize>)| {
                ((host.clone(), path.clone()), at.or(line))
            };
            paths.iter().map(route).collect::<Vec<_>>()
        };
        hosts.into_iter().flat_map(of_host).collect()
    }
}

/// Reads all pools; what is wrong is reported to the document.
pub(super) fn read(root: &Section<'_>, limits: &RouterLimits) -> Option<Vec<RouterPool>> {
    let sections = root.sections("pool", MAX_POOLS);
    if !root.has("pool") {
        let name = Name::new(super::load::DEFAULT_POOL).ok()?;
        let (policy, rule, limits) = (Policy::Next, Rule::default(), limits.of_clients());
        return Some(vec![RouterPool { name, policy, rule, limits, request_timeout: None }]);
    }
    let pools: Vec<_> = sections.iter().filter_map(|section| read_pool(section, limits)).collect();
    // What is missing was complained about; what it collides with is not known.
    if pools.len() < sections.len() || pools.is_empty() {
        return None;
    }
    check_names_differ(root, &pools);
    check_routes_differ(root, &pools);
    Some(pools.into_iter().map(|read| read.pool).collect())
}

fn read_pool(section: &Section<'_>, limits: &RouterLimits) -> Option<Read> {
    let default_name = || Name::new(super::load::DEFAULT_POOL).ok();
    let name = shared::name(section, "name", default_name);
    let policy = section.parsed("policy", "use \"next\" or \"least-loaded\"", |text| match text {
        "next" => Ok(Policy::Next),
        "least-loaded" => Ok(Policy::LeastLoaded),
        _ => Err("this is not a policy".to_owned()),
    });
    let hosts: Vec<Located<HostPattern>> =
        read_list(section, "hosts", "write it like \"a.example\" or \"*.b.example\"");
    let paths: Vec<Located<PathPrefix>> = read_list(section, "paths", "write it like \"/api/\"");
    let limits = router::read_client_limits(section, &limits.of_clients());
    let request_timeout = section.has("request_timeout_ms").then(|| {
        let timeout = router::request_timeout(section);
        Duration::from_millis(timeout.value)
    });
    section.finish(|key| {
        shared::foreign(key, &["source"], "a server's [[pool]]").or(shared::foreign(
            key,
            &["clients"],
            "[limits]",
        ))
    });
    let rule = Rule {
        hosts: hosts.iter().map(|host| host.value.clone()).collect(),
        paths: paths.iter().map(|path| path.value.clone()).collect(),
    };
    let policy = policy.map_or(Policy::Next, |policy| policy.value);
    let (line, name_line) = (section.line, section.line_of("name"));
    let pool = RouterPool { name: name?, policy, rule, limits, request_timeout };
    Some(Read { pool, line, name_line, hosts, paths })
}

/// Reads a list of hosts or paths. One that is there must name something: a pool with none is for
/// all of them.
fn read_list<T>(section: &Section<'_>, key: &'static str, fix: &str) -> Vec<Located<T>>
where
    T: FromStr<Err: ToString> + PartialEq,
{
    let mut list: Vec<Located<T>> = Vec::new();
    let (document, name) = (section.document, section.name_of(key));
    for Located { value: text, line } in section.texts(key) {
        match text.parse::<T>() {
            Ok(value) if list.iter().any(|known| known.value == value) => {
                document.problem(line, format!("{name} has {text} twice"), "leave one of them");
            }
            Ok(value) => list.push(Located { value, line }),
            Err(why) => {
                let what = format!("{name} has {text:?}: {}", why.to_string());
                document.problem(line, what, fix);
            }
        }
    }
    if section.has_empty_list(key) {
        let what = format!("{name} is empty");
        document.problem(section.line_of(key), what, format!("remove it, or {fix}"));
    }
    list
}

fn check_names_differ(root: &Section<'_>, pools: &[Read]) {
    for (place, read) in pools.iter().enumerate() {
        if pools[..place].iter().any(|before| before.pool.name == read.pool.name) {
            let what = format!("there is a pool {} already", read.pool.name);
            root.document.problem(read.name_line.or(read.line), what, "give it another name");
        }
    }
}

/// A host and a path that two pools have would be served by the first of them alone; and a pool of
/// which that is so for all that it has would never be reached.
fn check_routes_differ(root: &Section<'_>, pools: &[Read]) {
    let mut known: BTreeMap<Route, &Name> = BTreeMap::new();
    for read in pools {
        let (own, routes) = (&read.pool.name, read.routes());
        if known.len() + routes.len() > MAX_ROUTES {
            let what = format!("the pools have more than {MAX_ROUTES} hosts with their paths");
            return root.document.problem(read.line, what, "use wildcards and shorter paths");
        }
        let is_taken = |(route, _): &&(Route, Option<usize>)| known.contains_key(route);
        let taken: Vec<_> = routes.iter().filter(is_taken).collect();
        if let Some(((host, path), line)) = taken.first() {
            let first = known[&(host.clone(), path.clone())];
            let host = host.as_ref().map_or("all hosts".to_owned(), ToString::to_string);
            let mut what = format!("pool {first} serves {path} of {host} already");
            if taken.len() == routes.len() {
                what += &format!(", so no request reaches {own}");
            }
            let fix = format!("give {own} other hosts or paths");
            root.document.problem(line.or(read.line), what, fix);
        }
        for (route, _) in routes {
            known.entry(route).or_insert(own);
        }
    }
}
