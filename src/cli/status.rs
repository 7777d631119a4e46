//! `understudy status`: what a router says of itself and its servers.

use super::http::{self, Page};
use super::report::{self, Failure};
use super::table::{self, Align};
use serde::Deserialize;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// How long a router has to answer. It takes microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Show the servers of a router, their clients and states.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The router's admin address.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4480")]
    admin: SocketAddr,
    /// Prints what the router answers, which is JSON.
    #[arg(long)]
    json: bool,
}

/// What a router answers to `GET /status`. Of a server that was never reached, little is known.
#[derive(Debug, Deserialize)]
struct Status {
    servers: Vec<Server>,
    /// A router of an earlier version names none.
    #[serde(default)]
    members: Vec<Member>,
    clients: u64,
    takeovers: u64,
    #[serde(default)]
    hedges: u64,
    #[serde(default)]
    resumed_bodies: u64,
    replies: Replies,
    use_cached_by: UseCachedBy,
}

#[derive(Debug, Deserialize)]
struct Server {
    name: String,
    /// A router of an earlier version has one, and does not say which.
    #[serde(default)]
    pool: Option<String>,
    state: String,
    pid: Option<u64>,
    primary_clients: Option<u64>,
    alternate_clients: Option<u64>,
    threshold: Option<u64>,
    capacity: Option<u64>,
    handed_on_clients: Option<u64>,
    must_served_clients: Option<u64>,
    released_clients: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Member {
    role: String,
    name: String,
    address: String,
    state: String,
}

#[derive(Debug, Deserialize)]
struct Replies {
    use_cached: u64,
    full: u64,
    delta: u64,
    not_found: u64,
    busy: u64,
    /// Routers that are older than calls do not count them.
    #[serde(default)]
    called: u64,
    #[serde(default)]
    fate_unknown: u64,
    error: u64,
}

#[derive(Debug, Deserialize)]
struct UseCachedBy {
    mirror: u64,
    crc: u64,
    strong: u64,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let text = ask(arguments.admin).and_then(|body| {
        let status = parse(arguments.admin, &body)?;
        Ok(if arguments.json { passed_through(&body) } else { render(&status) })
    });
    match text.and_then(|text| report::print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Gets the page.
fn ask(admin: SocketAddr) -> Result<Vec<u8>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let page = runtime.and_then(|it| it.block_on(http::get(admin, "/status", PATIENCE)));
    match page {
        Ok(Page { status: 200, body }) => Ok(body),
        Ok(Page { status: 404, .. }) => Err(Failure::Failed(format!(
            "what answers at {admin} has no status: name the admin address of a router with \
             --admin"
        ))),
        Ok(Page { status, .. }) => Err(stranger(admin, &format!("HTTP status {status}"))),
        Err(error) => Err(unanswered(admin, &error)),
    }
}

fn unanswered(admin: SocketAddr, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::InvalidData => stranger(admin, &error.to_string()),
        ErrorKind::ConnectionRefused => Failure::Failed(format!(
            "nothing runs at {admin}: start a cluster with 'understudy up', or name the admin \
             address of a router with --admin"
        )),
        ErrorKind::TimedOut => Failure::Failed(format!(
            "no answer came from {admin} within {} s: is the process there frozen or overloaded?",
            PATIENCE.as_secs()
        )),
        _ => Failure::Failed(format!("{admin} cannot be asked: {error}")),
    }
}

fn stranger(admin: SocketAddr, why: &str) -> Failure {
    Failure::Failed(format!(
        "what answers at {admin} is not an Understudy router of this version ({why}): name the \
         admin address of one with --admin"
    ))
}

fn parse(admin: SocketAddr, body: &[u8]) -> Result<Status, Failure> {
    serde_json::from_slice(body).map_err(|error| stranger(admin, &error.to_string()))
}

/// As it came, and a line.
fn passed_through(body: &[u8]) -> String {
    // It was parsed as JSON, which is UTF-8.
    String::from_utf8_lossy(body).trim_end().to_owned() + "\n"
}

fn render(status: &Status) -> String {
    let headings = [
        ("SERVER", Align::Left),
        ("POOL", Align::Left),
        ("STATE", Align::Left),
        ("PID", Align::Right),
        ("PRIMARY", Align::Right),
        ("ALTERNATE", Align::Right),
        ("THRESHOLD", Align::Right),
        ("CAPACITY", Align::Right),
        ("HANDED ON", Align::Right),
        ("MUST-SERVED", Align::Right),
        ("RELEASED", Align::Right),
    ];
    let rows: Vec<_> = status.servers.iter().map(row).collect();
    let Status { clients, takeovers, hedges, resumed_bodies, replies, .. } = status;
    let by = &status.use_cached_by;
    let totals = format!(
        "{}\n\
         clients {clients}, takeovers {takeovers}, hedges {hedges}, \
         resumed bodies {resumed_bodies}\n\
         replies: use_cached {}, full {}, delta {}, not_found {}, busy {}, called {}, \
         fate_unknown {}, error {}\n\
         use_cached by: mirror {}, crc {}, strong {}\n",
        table::render(&headings, &rows),
        replies.use_cached,
        replies.full,
        replies.delta,
        replies.not_found,
        replies.busy,
        replies.called,
        replies.fate_unknown,
        replies.error,
        by.mirror,
        by.crc,
        by.strong,
    );
    if status.members.is_empty() {
        return totals;
    }
    format!("{totals}\n{}", render_members(&status.members))
}

fn render_members(members: &[Member]) -> String {
    let headings = ["MEMBER", "ROLE", "ADDRESS", "STATE"].map(|heading| (heading, Align::Left));
    let row = |Member { role, name, address, state }: &Member| {
        let address = if address.is_empty() { "-" } else { address };
        vec![name.clone(), role.clone(), address.to_owned(), state.clone()]
    };
    table::render(&headings, &members.iter().map(row).collect::<Vec<_>>())
}

fn row(server: &Server) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    vec![
        server.name.clone(),
        server.pool.clone().unwrap_or_else(|| "-".to_owned()),
        server.state.clone(),
        number(server.pid.filter(|pid| *pid > 0)),
        number(server.primary_clients),
        number(server.alternate_clients),
        number(server.threshold),
        number(server.capacity),
        number(server.handed_on_clients),
        number(server.must_served_clients),
        number(server.released_clients),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &str = r#"{
        "servers": [
            {"name": "server-1", "pool": "shop", "pid": 4712, "address": "127.0.0.1:20000",
             "admin": "127.0.0.1:20000", "state": "healthy", "primary_clients": 12,
             "alternate_clients": 7, "threshold": 10000, "capacity": 20000,
             "handed_on_clients": 1, "must_served_clients": 2, "released_clients": 3},
            {"name": "server-2", "state": "down", "pid": 0}
        ],
        "clients": 19, "takeovers": 4, "hedges": 12, "resumed_bodies": 13,
        "replies": {"use_cached": 1, "full": 2, "delta": 3, "not_found": 4, "busy": 5,
            "called": 10, "fate_unknown": 11, "error": 6},
        "use_cached_by": {"mirror": 7, "crc": 8, "strong": 9}
    }"#;

    fn admin() -> SocketAddr {
        ([127, 0, 0, 1], 4480).into()
    }

    #[test]
    fn a_status_is_a_table_and_totals() {
        let text = render(&parse(admin(), ANSWER.as_bytes()).unwrap());
        let table = [
            "SERVER    POOL  STATE     PID  PRIMARY  ALTERNATE  THRESHOLD  CAPACITY",
            "server-1  shop  healthy  4712       12          7      10000     20000",
            "server-2  -     down        -        -          -          -         -",
        ];
        let rest = [
            "  HANDED ON  MUST-SERVED  RELEASED\n",
            "          1            2         3\n",
            "          -            -         -\n",
        ];
        let totals = "
clients 19, takeovers 4, hedges 12, resumed bodies 13
replies: use_cached 1, full 2, delta 3, not_found 4, busy 5, called 10, fate_unknown 11, error 6
use_cached by: mirror 7, crc 8, strong 9
";
        let lines = table.iter().zip(rest).map(|(left, right)| format!("{left}{right}"));
        assert_eq!(text, lines.collect::<String>() + totals);
        assert_eq!(passed_through(ANSWER.as_bytes()), ANSWER.to_owned() + "\n");
    }

    #[test]
    fn members_have_a_table_of_their_own() {
        let members = r#""members": [
            {"role": "router", "name": "router-1", "address": "", "state": "self"},
            {"role": "server", "name": "server-1", "address": "10.0.0.11:4443", "state": "alive"}
        ], "clients":"#;
        let answer = ANSWER.replace("\"clients\":", members);
        let text = render(&parse(admin(), answer.as_bytes()).unwrap());
        let table = "
MEMBER    ROLE    ADDRESS         STATE
router-1  router  -               self
server-1  server  10.0.0.11:4443  alive
";
        assert!(text.ends_with(table), "{text}");
    }

    #[test]
    fn an_answer_of_another_program_is_no_status() {
        let failure = parse(admin(), b"{\"servers\": []}").unwrap_err().to_string();
        assert!(failure.contains("127.0.0.1:4480 is not an Understudy router"), "{failure}");
        assert!(failure.contains("missing field `clients`"), "{failure}");
    }

    proptest! {
        #[test]
        fn any_answer_is_taken_or_refused(body: Vec<u8>, at in 0..ANSWER.len(), byte: u8) {
            let _ = parse(admin(), &body);
            let mut damaged = ANSWER.as_bytes().to_vec();
            damaged[at] = byte;
            if let Ok(status) = parse(admin(), &damaged) {
                assert!(!render(&status).is_empty());
            }
        }
    }
}
