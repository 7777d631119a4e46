//! The processes of one run, and what can befall them.

use super::counters::Counters;
use super::namespace;
use crate::cli::http;
use crate::cli::report::Failure;
use crate::cli::up::{self, Launch, Prepared, Role, Running};
use clap::Parser;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const SERVERS: &str = "3";
/// How long a process may take to be ready, or to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an admin page may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether something has come about.
const PERIOD: Duration = Duration::from_millis(20);

/// A cluster of processes. They are killed when it is dropped.
pub(super) struct Cluster {
    members: Vec<Member>,
    _prepared: Prepared,
}

struct Member {
    launch: Launch,
    /// `None` once it was killed, or has ended.
    running: Option<Running>,
    /// What it counted, as far as is known.
    counters: Counters,
    /// What it counted in earlier lives.
    earlier: Counters,
}

/// What `understudy up` would be told.
#[derive(Parser)]
struct Up {
    #[command(flatten)]
    arguments: up::Arguments,
}

impl Cluster {
    /// Starts servers that serve a directory, and as many routers, and waits until all are ready.
    /// Call it from the main thread, as for `understudy up`.
    pub(super) async fn start(directory: &Path, routers: &str) -> Result<Self, Failure> {
        let directory = directory.to_str().expect("temporary paths are text");
        let any = "127.0.0.1:0";
        let mut told = vec!["up", "--listen", any, "--admin", any, "--dir", directory];
        told.extend(["--servers", SERVERS, "--routers", routers, "--workers", "1"]);
        if cfg!(target_os = "linux") {
            told.push("--apart");
        }
        let up = Up::try_parse_from(told).expect("these arguments are right");
        let prepared = Prepared::new(&up.arguments, "error")?;
        let mut members = Vec::new();
        for launch in &prepared.launches {
            let (running, launch) = (Some(launch.start()?), launch.clone());
            let (counters, earlier) = (Counters::default(), Counters::default());
            members.push(Member { launch, running, counters, earlier });
        }
        for member in &members {
            member.ready().await?;
        }
        let cluster = Self { members, _prepared: prepared };
        cluster.wait_until_all_are_healthy().await?;
        Ok(cluster)
    }

    /// Where clients come in.
    pub(super) fn routers(&self) -> Vec<SocketAddr> {
        self.of(Role::Router).map(|member| member.launch.part.address).collect()
    }

    /// The names of the servers.
    pub(super) fn servers(&self) -> Vec<String> {
        self.of(Role::Server).map(|member| member.launch.part.name.clone()).collect()
    }

    /// The name of the first router.
    pub(super) fn first_router(&self) -> String {
        self.members[0].launch.part.name.clone()
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.launch.part.role == role)
    }

    fn member(&mut self, name: &str) -> &mut Member {
        let member = self.members.iter_mut().find(|member| member.launch.part.name == name);
        member.expect("only members are named")
    }

    /// Ends a process as a crash would.
    pub(super) async fn kill(&mut self, name: &str) {
        let member = self.member(name);
        if let Some(mut running) = member.running.take() {
            running.signal(Signal::KILL);
            // It has ended, or will be killed when it is dropped here.
            let _ = timeout(PATIENCE, running.ended()).await;
        }
    }

    /// Lets a process stand still, and go on.
    pub(super) async fn freeze(&mut self, name: &str, pause: Duration) {
        if let Some(running) = &self.member(name).running {
            running.signal(Signal::STOP);
            sleep(pause).await;
            running.signal(Signal::CONT);
        }
    }

    /// Drops the packets to and from a server for a while.
    pub(super) async fn cut(&mut self, name: &str, pause: Duration) -> Result<(), Failure> {
        let address = self.member(name).launch.part.address.ip();
        namespace::cut(address)?;
        sleep(pause).await;
        namespace::heal()
    }

    /// Has a server hand its clients over.
    pub(super) async fn drain(&mut self, name: &str) -> Result<(), Failure> {
        let admin = self.members[0].launch.part.admin.to_string();
        let failed = |why: String| Failure::Failed(format!("understudy drain {name}: {why}"));
        let program = std::env::current_exe().map_err(|why| failed(why.to_string()))?;
        let mut command = tokio::process::Command::new(program);
        command.args(["drain", name, "--admin", &admin, "--wait"]).kill_on_drop(true);
        let ended = timeout(PATIENCE, command.output()).await;
        let output = ended.map_err(|_| failed("it does not end".to_owned()))?;
        let output = output.map_err(|why| failed(why.to_string()))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    /// Has one server after the other stop, as SIGTERM asks it to, and starts it again.
    pub(super) async fn roll(&mut self) -> Result<(), Failure> {
        for name in self.servers() {
            let member = self.member(&name);
            // What it counts from here on is not known, as it ends with it.
            member.count().await;
            let counted = std::mem::take(&mut member.counters);
            member.earlier.add(&counted);
            if let Some(mut running) = member.running.take() {
                running.signal(Signal::TERM);
                let ended = timeout(PATIENCE, running.ended()).await;
                ended.map_err(|_| Failure::Failed(format!("{name} does not stop")))?.ok();
            }
            member.running = Some(member.launch.start()?);
            member.ready().await?;
            self.wait_until_all_are_healthy().await?;
        }
        Ok(())
    }

    async fn wait_until_all_are_healthy(&self) -> Result<(), Failure> {
        let all = async {
            for router in self.of(Role::Router).filter(|member| member.running.is_some()) {
                while !all_healthy(router.launch.part.admin).await {
                    sleep(PERIOD).await;
                }
            }
        };
        let why = "the routers do not find all servers healthy";
        timeout(PATIENCE, all).await.map_err(|_| Failure::Failed(why.to_owned()))
    }

    /// What all members have counted, those included that are gone, as far as it is known of them.
    pub(super) async fn count(&mut self) -> Counters {
        let mut sum = Counters::default();
        for member in &mut self.members {
            member.count().await;
            sum.add(&member.counters);
            sum.add(&member.earlier);
        }
        sum
    }
}

impl Member {
    async fn count(&mut self) {
        if self.running.is_some() {
            let page = http::get(self.launch.part.admin, "/metrics", PAGE_PATIENCE).await;
            if let Ok(page) = page {
                self.counters = Counters::read(&String::from_utf8_lossy(&page.body));
            }
        }
    }

    async fn ready(&self) -> Result<(), Failure> {
        let part = &self.launch.part;
        let ready = timeout(PATIENCE, up::ready(part)).await;
        ready.map_err(|_| Failure::Failed(format!("{} is not ready in time", part.name)))
    }
}

/// Whether a router can ask all servers, and has heard of their numbers.
async fn all_healthy(router: SocketAddr) -> bool {
    let Ok(page) = http::get(router, "/status", PAGE_PATIENCE).await else {
        return false;
    };
    let status: serde_json::Value = serde_json::from_slice(&page.body).unwrap_or_default();
    let servers = status["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let healthy = servers.iter().filter(|it| it["state"] == "healthy" && it["capacity"] != 0);
    healthy.count().to_string() == SERVERS
}
