//! What happens in a cluster, and how it is shown: as text for people, or as lines of JSON.

use super::{Layout, Part, Role, Settings};
use crate::cli::report;
use crate::cli::table::{self, Align};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

/// How deep below the directory a file is looked for, to have a key to try.
const MAX_DEPTH: usize = 2;
/// And among how many entries of each folder.
const MAX_ENTRIES: usize = 1_000;

/// What happened. In JSON, an object whose `event` is the name, as in `child_exited`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// A child was started for the first time.
    Started(Process),
    /// All children answer: the cluster is up. Once.
    Ready {
        /// The first router, where clients come in...
        router: SocketAddr,
        /// ...and where it shows its status.
        admin: SocketAddr,
        /// All of them, the first one included: where clients come in.
        routers: Vec<SocketAddr>,
        processes: Vec<Process>,
    },
    /// A child ended without having been asked to.
    ChildExited {
        name: String,
        pid: u32,
        /// The code it ended with, unless a signal ended it.
        code: Option<i32>,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
        /// When it will be started again; `null`: it will not.
        restart_after_ms: Option<u64>,
        /// The same in words.
        #[serde(skip)]
        how: String,
    },
    /// A child that had ended runs again, and answers.
    Restarted(Process),
    /// All children have ended, as asked. The last event.
    Stopped,
}

/// A child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Process {
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
}

impl Process {
    pub(super) fn new(part: &Part, pid: u32) -> Self {
        Self {
            role: part.role,
            name: part.name.clone(),
            pid,
            address: part.address,
            admin: part.admin,
        }
    }
}

impl Event {
    pub(super) fn child_exited(
        name: &str,
        pid: u32,
        status: ExitStatus,
        restart_after: Option<Duration>,
    ) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self::ChildExited {
            name: name.to_owned(),
            pid,
            code: status.code(),
            signal: status.signal(),
            restart_after_ms: restart_after.map(milliseconds),
            how: status.to_string(),
        }
    }
}

/// Shows events on standard output.
pub(super) struct Output {
    json: bool,
    /// What is served, in words.
    serves: String,
    /// This program, as it was called.
    program: String,
    /// Keys to try: one to look at, and one that is worth a cache.
    keys: [String; 2],
    cache: String,
    admin: SocketAddr,
}

impl Output {
    pub(super) fn new(json: bool, layout: &Layout, settings: &Settings) -> Self {
        let program = std::env::args_os().next().unwrap_or_else(|| "understudy".into());
        let (dir, origin) = (settings.dir.as_deref(), settings.origin.as_ref());
        let origin_text = origin.map(|origin| origin.to_string());
        let serves = dir.map(str::to_owned).or(origin_text);
        Self {
            json,
            serves: serves.unwrap_or_else(|| "the built-in sample".to_owned()),
            program: quoted(&program.to_string_lossy()),
            keys: match dir {
                Some(dir) => [(); 2].map(|()| key_in(Path::new(dir))),
                None if origin.is_some() => [(); 2].map(|()| "/".to_owned()),
                None => ["/", "/items/1m.bin"].map(str::to_owned),
            },
            cache: quoted(&std::env::temp_dir().join("understudy-cache").to_string_lossy()),
            admin: layout.routers[0].admin,
        }
    }

    /// Shows one. Standard output may be closed: the cluster runs on.
    pub(super) fn show(&mut self, event: &Event) {
        let text = if self.json { json(event) } else { self.text(event) };
        if let Err(failure) = report::print(&text) {
            report::line(&format!("warning: {failure}"));
        }
    }

    fn text(&self, event: &Event) -> String {
        match event {
            Event::Started(_) => String::new(),
            Event::Ready { routers, processes, .. } => {
                let servers = processes.len() - routers.len();
                let plural = if servers == 1 { "server" } else { "servers" };
                let routers_in_words = match routers.len() {
                    1 => "a router".to_owned(),
                    several => format!("{several} routers"),
                };
                let serves = &self.serves;
                format!(
                    "Understudy is up: {routers_in_words} and {servers} {plural}, serving {serves}.\
                     \n\n{}\n{}\nCtrl-C stops everything.\n",
                    table(processes),
                    self.lines_to_try(routers, processes)
                )
            }
            Event::ChildExited { name, pid, how, restart_after_ms, .. } => {
                let next = match restart_after_ms {
                    Some(milliseconds) => {
                        let seconds = Duration::from_millis(*milliseconds).as_secs_f32();
                        format!("it starts again in {seconds} s")
                    }
                    None => "it stays down".to_owned(),
                };
                format!("{name} (process {pid}) ended, {how}; {next}\n")
            }
            Event::Restarted(process) => {
                format!("{} is up again, as process {}\n", process.name, process.pid)
            }
            Event::Stopped => "All stopped.\n".to_owned(),
        }
    }

    fn lines_to_try(&self, routers: &[SocketAddr], processes: &[Process]) -> String {
        let Self { program, keys: [key, large], cache, admin, .. } = self;
        let first = processes.iter().find(|process| process.role == Role::Server);
        let pid = first.map_or(0, |process| process.pid);
        let routers: Vec<_> = routers.iter().map(|router| format!("--router {router}")).collect();
        let routers = routers.join(" ");
        format!(
            "In another terminal, try:
  {program} get {routers} {key}
  {program} get {routers} --cache {cache} --json {large}
      twice: the second reply is \"use_cached\", and \"server\" names the primary
  kill -9 {pid}
      or whatever the PID of the primary is; then get it again: the alternate answers
  {program} status --admin {admin}
"
        )
    }
}

fn table(processes: &[Process]) -> String {
    let row = |process: &Process| {
        let page = if process.role == Role::Router { "status" } else { "clients" };
        let admin = format!("http://{}/{page}", process.admin);
        vec![process.name.clone(), process.pid.to_string(), process.address.to_string(), admin]
    };
    let headings = [
        ("NAME", Align::Left),
        ("PID", Align::Right),
        ("ADDRESS (UDP)", Align::Left),
        ("ADMIN", Align::Left),
    ];
    table::render(&headings, &processes.iter().map(row).collect::<Vec<_>>())
}

fn json(event: &Event) -> String {
    // Numbers, texts and lists of them: there is nothing in it that JSON cannot say.
    serde_json::to_string(event).map(|line| line + "\n").unwrap_or_default()
}

/// Whether a shell takes a word for what it is.
fn is_plain(word: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || "/._-+:".contains(char);
    !word.is_empty() && word.chars().all(plain)
}

/// A word as it is typed into a shell.
fn quoted(word: &str) -> String {
    if is_plain(word) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The key of a file in the directory, or else below it: one that can be typed without quotes.
fn key_in(dir: &Path) -> String {
    if dir.join("index.html").is_file() {
        return "/".to_owned();
    }
    let path = file_below(dir, MAX_DEPTH).unwrap_or_default();
    format!("/{path}")
}

fn file_below(dir: &Path, depth: usize) -> Option<String> {
    let entries = dir.read_dir().ok()?.flatten().take(MAX_ENTRIES);
    let mut named: Vec<_> = entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.file_type().ok()?)))
        .filter(|(name, _)| is_plain(name) && !name.starts_with('.'))
        .collect();
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    let file = named.iter().find(|(_, kind)| kind.is_file()).map(|(name, _)| name.clone());
    let below = || {
        let mut folders = named.iter().filter(|(_, kind)| kind.is_dir());
        folders.find_map(|(name, _)| {
            file_below(&dir.join(name), depth.checked_sub(1)?).map(|rest| format!("{name}/{rest}"))
        })
    };
    file.or_else(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Freshness;
    use std::os::unix::process::ExitStatusExt;

    fn part(name: &str, port: u16) -> Part {
        let address = ([127, 0, 0, 1], port).into();
        let role = if name.starts_with("router") { Role::Router } else { Role::Server };
        let admin = ([127, 0, 0, 1], port + 1).into();
        Part { role, name: name.to_owned(), address, admin }
    }

    fn ready() -> Event {
        let router = part("router", 4433);
        Event::Ready {
            router: router.address,
            admin: router.admin,
            routers: vec![router.address],
            processes: vec![
                Process::new(&router, 100),
                Process::new(&part("server-1", 20_000), 1001),
            ],
        }
    }

    fn output(json: bool) -> Output {
        let layout = Layout { routers: vec![part("router", 4433)], servers: Vec::new() };
        let settings = Settings {
            servers: 1,
            dir: None,
            origin: None,
            freshness: Freshness::Always,
            threshold: None,
            workers: None,
            capacity: None,
            access_log: None,
        };
        Output { program: "./understudy".to_owned(), ..Output::new(json, &layout, &settings) }
    }

    #[test]
    fn people_are_shown_what_runs_and_what_to_try() {
        let text = output(false).text(&ready());
        let expected = "\
Understudy is up: a router and 1 server, serving the built-in sample.

NAME       PID  ADDRESS (UDP)    ADMIN
router     100  127.0.0.1:4433   http://127.0.0.1:4434/status
server-1  1001  127.0.0.1:20000  http://127.0.0.1:20001/clients

In another terminal, try:
  ./understudy get --router 127.0.0.1:4433 /
  ./understudy get --router 127.0.0.1:4433 --cache ";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("\n  kill -9 1001\n"), "{text}");
        let Event::Ready { router, admin, mut routers, processes } = ready() else { panic!() };
        routers.push(part("router-2", 4500).address);
        let text = output(false).text(&Event::Ready { router, admin, routers, processes });
        assert!(text.contains("get --router 127.0.0.1:4433 --router 127.0.0.1:4500 /\n"), "{text}");
        let text = output(false).text(&ready());
        assert!(text.contains("\n  ./understudy status --admin 127.0.0.1:4434\n"), "{text}");
    }

    #[test]
    fn people_are_told_how_a_child_ended_and_what_comes_next() {
        let killed = ExitStatus::from_raw(9);
        let text = |after| output(false).text(&Event::child_exited("server-1", 7, killed, after));
        assert_eq!(
            text(Some(Duration::from_secs(3))),
            "server-1 (process 7) ended, signal: 9 (SIGKILL); it starts again in 3 s\n"
        );
        assert!(text(None).ends_with("; it stays down\n"));
    }

    #[test]
    fn programs_are_given_one_object_a_line() {
        let part = part("server-1", 1);
        let exited = |raw, after| {
            json(&Event::child_exited("server-1", 7, ExitStatus::from_raw(raw), after))
        };
        assert_eq!(
            exited(9, Some(Duration::from_secs(3))),
            "{\"event\":\"child_exited\",\"name\":\"server-1\",\"pid\":7,\"code\":null,\
             \"signal\":9,\"restart_after_ms\":3000}\n"
        );
        assert!(
            exited(0x100, None).contains("\"code\":1,\"signal\":null,\"restart_after_ms\":null")
        );
        assert_eq!(json(&Event::Stopped), "{\"event\":\"stopped\"}\n");
        assert_eq!(
            json(&Event::Restarted(Process::new(&part, 8))),
            "{\"event\":\"restarted\",\"role\":\"server\",\"name\":\"server-1\",\"pid\":8,\
             \"address\":\"127.0.0.1:1\",\"admin\":\"127.0.0.1:2\"}\n"
        );
        let ready: serde_json::Value = serde_json::from_str(&json(&ready())).unwrap();
        assert_eq!(ready["router"], "127.0.0.1:4433");
        assert_eq!(ready["routers"], serde_json::json!(["127.0.0.1:4433"]));
        assert_eq!(ready["processes"][1]["pid"], 1001);
    }

    #[test]
    fn words_are_quoted_for_the_shell_where_they_must_be() {
        assert_eq!(quoted("./target/release/understudy"), "./target/release/understudy");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn the_key_to_try_is_a_file_that_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let write = |name: &str| std::fs::write(path.join(name), "").unwrap();
        assert_eq!(key_in(path), "/");
        std::fs::create_dir_all(path.join("a/b/c/d")).unwrap();
        write("a/b/c/d/too-deep");
        assert_eq!(key_in(path), "/");
        write("a/b/deep.txt");
        assert_eq!(key_in(path), "/a/b/deep.txt");
        for name in [".hidden", "a b", "readme.txt", "zebra"] {
            write(name);
        }
        assert_eq!(key_in(path), "/readme.txt");
        write("index.html");
        assert_eq!(key_in(path), "/");
    }
}
