//! What tests of whole processes have in common: a cluster that `understudy up` runs, and the
//! program's other commands.
//!
//! Nothing here waits for a fixed time, and nothing outlives a test: a cluster ends when it is
//! dropped, and also when the test program is killed, as it ends with its standard input.

// Each test program uses its own part of this.
#![allow(dead_code)]
// The rules of the pure core are not for tests of processes.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Long enough for any machine. A test that passes does not wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How long is waited between two looks at something.
const PERIOD: Duration = Duration::from_millis(5);
const PROGRAM: &str = env!("CARGO_BIN_EXE_understudy");

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Output {
    /// Standard output as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("standard output is text")
    }

    /// Standard output as one JSON value a line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{error} in {line:?}; {}", self.stderr))
        };
        self.text().lines().map(parse).collect()
    }

    /// The only line of JSON on standard output.
    pub(crate) fn json(&self) -> Value {
        let mut lines = self.json_lines();
        assert_eq!(lines.len(), 1, "one line was expected: {self:?}");
        lines.remove(0)
    }

    /// Checks that the command failed with this code and one line, and returns the line.
    pub(crate) fn error(&self, code: i32) -> &str {
        let line = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(line.starts_with("error: ") && !line.contains('\n'), "{self:?}");
        line
    }
}

/// Runs the program to its end.
pub(crate) fn understudy<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(PROGRAM);
    let output = command.args(arguments).env_remove("UNDERSTUDY_LOG").stdin(Stdio::null()).output();
    let output = output.expect("the program runs");
    Output {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Looks again and again until there is something to see, and returns that.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < PATIENCE, "it never came about: {what}");
        std::thread::sleep(PERIOD);
    }
}

/// Looks again and again until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(()));
}

/// Sends a signal to a process of ours.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("the process is there and ours");
}

/// Whether a process is there, and more than an entry that nobody has collected yet.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}

/// Gets a page of a process's admin address: the HTTP status code, and what was answered.
pub(crate) fn page(admin: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.expect("an HTTP status code"), body.to_owned()))
}

/// A process of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Of the router, where clients come in; of a server, its backplane. UDP.
    pub(crate) address: SocketAddr,
    /// HTTP.
    pub(crate) admin: SocketAddr,
}

/// Routers and servers that `understudy up` runs on free ports.
pub(crate) struct Cluster {
    up: Child,
    stdin: Option<ChildStdin>,
    state: Mutex<State>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// What is known from the events so far.
struct State {
    events: Receiver<Value>,
    /// Those that nobody has waited for yet.
    unseen: Vec<Value>,
    processes: BTreeMap<String, Process>,
}

impl Cluster {
    /// Starts a cluster, with more arguments for `up` if need be, and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut up = Command::new(PROGRAM)
            .args(["up", "--json", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--until-stdin-ends")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (sender, events) = channel();
        let stdout = BufReader::new(up.stdout.take().expect("a pipe"));
        let parse =
            move |line: String| drop(sender.send(serde_json::from_str(&line).expect(&line)));
        let stderr = Arc::new(Mutex::new(String::new()));
        let (said, errors) = (stderr.clone(), BufReader::new(up.stderr.take().expect("a pipe")));
        let keep = move |line: String| *said.lock().unwrap() += &(line + "\n");
        let readers = vec![each_line(stdout, parse), each_line(errors, keep)];
        let state = State { events, unseen: Vec::new(), processes: BTreeMap::new() };
        let stdin = up.stdin.take();
        let cluster = Self { up, stdin, state: Mutex::new(state), stderr, readers };
        cluster.event("ready", None);
        cluster
    }

    /// Waits for the next event of a kind, and of a process if one is named, that was not returned
    /// before. Events of other kinds are left for later.
    pub(crate) fn event(&self, kind: &str, name: Option<&str>) -> Value {
        let is_wanted =
            |event: &Value| event["event"] == kind && name.is_none_or(|name| event["name"] == name);
        let start = Instant::now();
        loop {
            let mut state = self.state.lock().unwrap();
            state.take_all();
            if let Some(place) = state.unseen.iter().position(is_wanted) {
                return state.unseen.remove(place);
            }
            let unseen = state.unseen.clone();
            let missing = || format!("no {kind} {name:?}, but {unseen:?}; {}", self.stderr());
            assert!(start.elapsed() < PATIENCE, "{}", missing());
            match state.events.recv_timeout(PERIOD) {
                Ok(event) => state.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("{}", missing()),
            }
        }
    }

    /// A process as it is now, by its name: `router`, `server-1`…
    pub(crate) fn process(&self, name: &str) -> Process {
        let mut state = self.state.lock().unwrap();
        state.take_all();
        state.processes.get(name).unwrap_or_else(|| panic!("there is no {name}")).clone()
    }

    /// The names of the servers.
    pub(crate) fn servers(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.processes.keys().filter(|name| name.starts_with("server")).cloned().collect()
    }

    /// The names of the routers: `router`, and if there are more, `router-2`…
    pub(crate) fn routers(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.processes.keys().filter(|name| name.starts_with("router")).cloned().collect()
    }

    /// Where clients come in: the first router.
    pub(crate) fn router(&self) -> SocketAddr {
        self.process("router").address
    }

    /// The process id of `up` itself.
    pub(crate) fn pid(&self) -> u32 {
        self.up.id()
    }

    /// Sends a signal to a process by name.
    pub(crate) fn signal(&self, name: &str, number: Signal) {
        signal(self.process(name).pid, number);
    }

    /// Kills a process, and waits until `up` has noticed.
    pub(crate) fn kill(&self, name: &str) {
        self.signal(name, Signal::KILL);
        self.event("child_exited", Some(name));
    }

    /// Waits until a process that was killed runs again, and answers.
    pub(crate) fn wait_for_restart(&self, name: &str) {
        self.event("restarted", Some(name));
    }

    /// Runs `understudy get` against the router, with these arguments.
    pub(crate) fn get(&self, arguments: &[&str]) -> Output {
        let router = self.router().to_string();
        understudy(["get", "--router", &router].iter().chain(arguments))
    }

    /// Runs `understudy call` against the router, with these arguments.
    pub(crate) fn call(&self, arguments: &[&str]) -> Output {
        let router = self.router().to_string();
        understudy(["call", "--router", &router].iter().chain(arguments))
    }

    /// Gets an admin page of a process, which is to be there.
    pub(crate) fn page(&self, name: &str, path: &str) -> String {
        let admin = self.process(name).admin;
        let (status, body) = page(admin, path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(status, 200, "{name} {path}: {body}");
        body
    }

    /// An admin page of a process, as JSON.
    pub(crate) fn json(&self, name: &str, path: &str) -> Value {
        let body = self.page(name, path);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{name} {path}: {error}: {body}"))
    }

    /// What the router says of itself and the servers.
    pub(crate) fn status(&self) -> Value {
        self.json("router", "/status")
    }

    /// What the router says of one server: null, as is each of its fields, while they have not met.
    pub(crate) fn server_status(&self, name: &str) -> Value {
        let status = self.status();
        let servers = status["servers"].as_array().expect("a list of servers");
        servers.iter().find(|server| server["name"] == name).cloned().unwrap_or_default()
    }

    /// What `up` and its children said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Ends standard input, which asks `up` to stop.
    pub(crate) fn end_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end of `up`, however it comes about, and returns its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let status = wait_for("up ends", || self.up.try_wait().expect("up can be waited for"));
        for reader in self.readers.drain(..) {
            reader.join().expect("what up said can be read");
        }
        status.code()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let start = Instant::now();
        self.end_stdin();
        while matches!(self.up.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
            std::thread::sleep(PERIOD);
        }
        // It has ended, or else it is killed now, and its children with it.
        let _ = self.up.kill();
        let _ = self.up.wait();
        if std::thread::panicking() {
            eprintln!("what up and its children said:\n{}", self.stderr());
        }
    }
}

impl State {
    /// Takes the events that have come in.
    fn take_all(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
    }

    fn take(&mut self, event: Value) {
        if ["started", "restarted"].iter().any(|kind| event["event"] == *kind) {
            let text = |key: &str| event[key].as_str().expect("a text");
            let address = |key| text(key).parse().expect("an address");
            let pid = event["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            let process = Process {
                pid: pid.expect("a process id"),
                address: address("address"),
                admin: address("admin"),
            };
            self.processes.insert(text("name").to_owned(), process);
        }
        self.unseen.push(event);
    }
}

fn each_line(
    reader: impl BufRead + Send + 'static,
    mut take: impl FnMut(String) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in reader.split(b'\n').map_while(Result::ok) {
            take(String::from_utf8_lossy(&line).into_owned());
        }
    })
}
