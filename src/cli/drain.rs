//! `understudy drain` and `undrain`: have a server hand its clients over, or take clients again.

use super::http::{self, Page};
use super::report::{self, Failure};
use serde::Deserialize;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a process has to answer. It takes microseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the server is asked how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Whom to ask.
#[derive(clap::Args)]
pub(super) struct Whom {
    /// The server's name
    name: String,
    /// The admin address of the server itself, or of a router that knows it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4480")]
    admin: SocketAddr,
    /// Prints what the server says of itself afterwards, as JSON
    #[arg(long)]
    json: bool,
}

/// Have a server hand its clients over to others, so that it can be stopped and nobody notices
///
/// It takes no new clients until it is told to `undrain`, or starts anew.
#[derive(clap::Args)]
pub(super) struct Drain {
    #[command(flatten)]
    whom: Whom,
    /// Returns only when the server has no clients left
    #[arg(long)]
    wait: bool,
}

/// Have a server that drains take clients again
#[derive(clap::Args)]
pub(super) struct Undrain {
    #[command(flatten)]
    whom: Whom,
}

/// What a router answers to `GET /status`, or a server.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Router { servers: Vec<Listed> },
    Server(Server),
}

/// A server that a router knows.
#[derive(Deserialize)]
struct Listed {
    name: String,
    admin: String,
}

/// A server, as it says itself.
#[derive(Deserialize)]
struct Server {
    name: String,
    state: String,
    primary_clients: u64,
    alternate_clients: u64,
    ready_servers: u64,
}

impl Server {
    fn is_drained(&self) -> bool {
        self.primary_clients == 0 && self.alternate_clients == 0
    }
}

/// Runs `drain`.
pub(super) fn drain(arguments: &Drain) -> ExitCode {
    run(&arguments.whom, "/drain", async |admin, server, body| {
        if arguments.wait { wait(admin, server, body).await } else { Ok((server, body)) }
    })
}

/// Runs `undrain`.
pub(super) fn undrain(arguments: &Undrain) -> ExitCode {
    run(&arguments.whom, "/undrain", async |_, server, body| Ok((server, body)))
}

fn run(
    whom: &Whom,
    order: &str,
    then: impl AsyncFnOnce(SocketAddr, Server, Vec<u8>) -> Result<(Server, Vec<u8>), Failure>,
) -> ExitCode {
    let told = async {
        let admin = find(whom).await?;
        let body = answer(admin, http::post(admin, order, PATIENCE).await)?;
        let (server, body) = then(admin, parse(admin, &body)?, body).await?;
        report::print(&if whom.json { passed_through(&body) } else { words(&server) })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(error.to_string()));
    match runtime.and_then(|runtime| runtime.block_on(told)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The admin address of the server that is meant.
async fn find(whom: &Whom) -> Result<SocketAddr, Failure> {
    let Whom { name, admin, .. } = whom;
    let body = answer(*admin, http::get(*admin, "/status", PATIENCE).await)?;
    let stranger = |error| stranger(*admin, &error);
    match serde_json::from_slice(&body).map_err(stranger)? {
        Answer::Server(server) if server.name == *name => Ok(*admin),
        Answer::Server(server) => {
            let text = format!("what answers at {admin} is {}, not {name}", server.name);
            Err(Failure::Failed(text))
        }
        Answer::Router { servers } => {
            let Some(listed) = servers.iter().find(|listed| listed.name == *name) else {
                let names: Vec<_> = servers.iter().map(|listed| listed.name.as_str()).collect();
                let known = names.join(", ");
                let text = format!("the router at {admin} knows no server {name}, but {known}");
                return Err(Failure::Failed(text));
            };
            listed.admin.parse().map_err(|_| {
                let text = format!(
                    "{name} has told the router at {admin} of no admin address: give it one, and \
                     name it with --admin"
                );
                Failure::Failed(text)
            })
        }
    }
}

/// Asks again and again until the server lists nobody.
async fn wait(
    admin: SocketAddr,
    mut server: Server,
    mut body: Vec<u8>,
) -> Result<(Server, Vec<u8>), Failure> {
    let (begun, shows) = (Instant::now(), io::stderr().is_terminal());
    let show = |text: &str| {
        if shows {
            // Where standard error is gone there is nobody left to show it to.
            let _ = write!(io::stderr().lock(), "\r{text:<76}");
        }
    };
    while !server.is_drained() {
        let Server { name, primary_clients, alternate_clients, .. } = &server;
        show(&format!(
            "{name} drains: {primary_clients} clients as primary, {alternate_clients} as \
             alternate, {:.1} s",
            begun.elapsed().as_secs_f64()
        ));
        let text = if server.state != "draining" {
            format!("{name} does not drain any more: somebody else has ended it")
        } else if *primary_clients > 0 && server.ready_servers == 0 {
            format!("no other server is ready to take the {primary_clients} clients of {name}")
        } else {
            tokio::time::sleep(LOOK_INTERVAL).await;
            body = answer(admin, http::get(admin, "/status", PATIENCE).await)?;
            server = parse(admin, &body)?;
            continue;
        };
        show("");
        return Err(Failure::Failed(text));
    }
    show("");
    if shows {
        let _ = write!(io::stderr().lock(), "\r");
    }
    Ok((server, body))
}

fn answer(admin: SocketAddr, page: io::Result<Page>) -> Result<Vec<u8>, Failure> {
    match page {
        Ok(Page { status: 200, body }) => Ok(body),
        Ok(Page { status, .. }) => Err(stranger(admin, &format!("HTTP status {status}"))),
        Err(error) => Err(Failure::Failed(format!("{admin} cannot be asked: {error}"))),
    }
}

fn parse(admin: SocketAddr, body: &[u8]) -> Result<Server, Failure> {
    serde_json::from_slice(body).map_err(|error| stranger(admin, &error))
}

fn stranger(admin: SocketAddr, why: &dyn std::fmt::Display) -> Failure {
    let text = format!("what answers at {admin} is no Understudy of this version ({why})");
    Failure::Failed(text)
}

/// As it came, and a line.
fn passed_through(body: &[u8]) -> String {
    // It was parsed as JSON, which is UTF-8.
    String::from_utf8_lossy(body).trim_end().to_owned() + "\n"
}

fn words(server: &Server) -> String {
    let Server { name, state, primary_clients, alternate_clients, .. } = server;
    match (state.as_str(), server.is_drained()) {
        ("draining", true) => format!("{name} has drained: it can be stopped\n"),
        ("draining", false) => format!(
            "{name} drains: {primary_clients} clients as primary, {alternate_clients} as \
             alternate\n"
        ),
        _ => format!("{name} takes clients\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_and_servers_are_told_apart() {
        let router = br#"{"servers": [{"name": "server-1", "admin": "127.0.0.1:1", "pid": 2}]}"#;
        let read = serde_json::from_slice(router).unwrap();
        assert!(matches!(read, Answer::Router { servers } if servers[0].name == "server-1"));
        let server = br#"{"name": "server-1", "state": "draining", "primary_clients": 1,
            "alternate_clients": 2, "ready_servers": 3, "pid": 4}"#;
        let Answer::Server(server) = serde_json::from_slice(server).unwrap() else { panic!() };
        assert!(!server.is_drained());
        assert_eq!(words(&server), "server-1 drains: 1 clients as primary, 2 as alternate\n");
        assert!(serde_json::from_slice::<Answer>(b"{}").is_err());
    }
}
