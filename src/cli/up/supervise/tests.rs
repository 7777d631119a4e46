//! Real child processes: shells, and this test program itself in the part of a server.

use super::*;
use crate::cli::part;
use crate::cli::up::Part;
use crate::cli::up::ports::Reservations;
use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use tokio::sync::mpsc::UnboundedReceiver;

/// Long enough for any machine; a test that passes does not wait for it.
const PATIENCE: Duration = Duration::from_secs(120);
/// A test program that finds arguments here, one a line, does what they say.
const ARGUMENTS: &str = "UNDERSTUDY_TEST_CHILD";
/// The helper test below, by its full name.
const HELPER: &str = "cli::up::supervise::tests::helper";

#[derive(clap::Parser)]
enum Role {
    /// Answers `GET /ready` at the address that its configuration file is.
    Server(part::Arguments),
    /// Starts a server as `up` does, prints its process id, and waits.
    Parent { arguments: Vec<OsString> },
}

/// Not a test by itself: what a child process of the tests below does.
#[test]
#[ignore = "it is run by other tests"]
fn helper() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let words = std::iter::once("helper").chain(arguments.lines());
    match Role::try_parse_from(words).unwrap() {
        Role::Server(arguments) => {
            let code = part::run(&arguments, |path| std::fs::read_to_string(path), run_server);
            std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
        }
        Role::Parent { arguments } => {
            let mut config = arguments;
            config.extend(["--parent".into(), std::process::id().to_string().into()]);
            runtime().block_on(async {
                let child = Running::start(&helper_launch(server(0), &config)).unwrap();
                println!("child {}", child.pid());
                pending::<()>().await;
            });
        }
    }
}

fn run_server(address: String) -> Result<(), std::io::Error> {
    runtime().block_on(async {
        let mut stop = Box::pin(part::told_to_stop());
        // Once before anything else, so that it is in place when the server is ready.
        if tokio::time::timeout(Duration::ZERO, &mut stop).await.is_ok() {
            return Ok(());
        }
        let listener = TcpListener::bind(address)?;
        println!("serves on {}", part::shown(listener.local_addr().ok()));
        std::thread::spawn(|| serve(listener));
        stop.await;
        Ok(())
    })
}

fn serve(listener: TcpListener) -> Result<(), std::io::Error> {
    loop {
        let (mut stream, _) = listener.accept()?;
        let mut request = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        while request.read_line(&mut line)? > 2 {
            line.clear();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn server(port: u16) -> Part {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    Part { role: super::Role::Server, name: "server-1".to_owned(), address, admin: address }
}

/// Has this test program do the helper's part, with these arguments.
fn helper_words(arguments: &[OsString]) -> Vec<OsString> {
    let arguments: Vec<_> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
    let program = std::env::current_exe().unwrap();
    let mut words: Vec<OsString> = vec![format!("{ARGUMENTS}={}", arguments.join("\n")).into()];
    words.push(program.into());
    words.extend(["--ignored", "--exact", HELPER, "--nocapture"].map(Into::into));
    words
}

fn helper_launch(part: Part, arguments: &[OsString]) -> Launch {
    Launch { part, program: "/usr/bin/env".into(), arguments: helper_words(arguments) }
}

fn shell(part: Part, script: &str) -> Launch {
    Launch { part, program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] }
}

/// A server that is ready as soon as it runs, and the directory with its configuration.
fn helper_server(reservations: &mut Reservations) -> (Launch, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let part = server(reservations.pick(Ipv4Addr::LOCALHOST.into()).unwrap());
    let config = directory.path().join("server.toml");
    std::fs::write(&config, part.admin.to_string()).unwrap();
    let mut arguments: Vec<OsString> = vec!["server".into(), "--config".into(), config.into()];
    arguments.extend(["--parent".into(), std::process::id().to_string().into()]);
    (helper_launch(part, &arguments), directory)
}

/// A part whose admin address this test answers for.
fn ready_anyway() -> Part {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || serve(listener));
    server(port)
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// Whether a process is there, and more than an entry that nobody has collected yet.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it never came about that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A cluster that is supervised while a test looks at its events.
struct Watched {
    events: UnboundedReceiver<Event>,
    stop: StopHandle,
    result: tokio::task::JoinHandle<Result<(), Failure>>,
}

fn watch(launches: Vec<Launch>, restart: Restart) -> Watched {
    let (sender, events) = mpsc::unbounded_channel();
    let (stop, handle) = Stop::new();
    let show = move |event: &Event| drop(sender.send(event.clone()));
    let result = tokio::spawn(supervise(launches, restart, stop, show));
    Watched { events, stop: handle, result }
}

impl Watched {
    async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("no event came").expect("there are no more events")
    }

    async fn started(&mut self) -> u32 {
        match self.event().await {
            Event::Started(process) => process.pid,
            other => panic!("{other:?} instead of a start"),
        }
    }

    async fn ready(&mut self) {
        let event = self.event().await;
        assert!(matches!(event, Event::Ready { .. }), "{event:?} instead of ready");
    }

    async fn ended(mut self) -> Result<(), Failure> {
        assert_eq!(self.event().await, Event::Stopped);
        self.result.await.unwrap()
    }
}

#[tokio::test]
async fn a_child_that_dies_is_started_again_under_the_same_name_and_address() {
    let mut reservations = Reservations::default();
    let (launch, _directory) = helper_server(&mut reservations);
    let (other, _other_directory) = helper_server(&mut reservations);
    let process = Process::new(&launch.part, 0);
    let mut cluster = watch(vec![launch, other], Restart::After(Duration::from_millis(1)));
    let (first, _) = (cluster.started().await, cluster.started().await);
    cluster.ready().await;
    signal(first, Signal::KILL);
    match cluster.event().await {
        Event::ChildExited { name, pid, code: None, signal: Some(9), restart_after_ms, .. } => {
            assert_eq!((name, pid, restart_after_ms), (process.name.clone(), first, Some(1)));
        }
        other => panic!("{other:?} instead of a death"),
    }
    let second = match cluster.event().await {
        Event::Restarted(again) => {
            assert_ne!(again.pid, first);
            assert_eq!(Process { pid: 0, ..again.clone() }, process);
            again.pid
        }
        other => panic!("{other:?} instead of a new life"),
    };
    assert!(lives(second));
    cluster.stop.stop();
    assert_eq!(cluster.ended().await, Ok(()));
    assert!(!lives(second));
}

#[tokio::test]
async fn a_child_that_is_never_ready_ends_everything_and_says_why() {
    let mut reservations = Reservations::default();
    let (good, _directory) = helper_server(&mut reservations);
    let script = "echo context >&2; echo 'error: no such file: x.toml' >&2; exit 3";
    let bad = shell(server(1), script);
    let mut cluster = watch(vec![good, bad], Restart::After(Duration::ZERO));
    let (good, _) = (cluster.started().await, cluster.started().await);
    let failure = cluster.ended().await.unwrap_err().to_string();
    assert_eq!(failure, "server-1 ended before it was ready, exit status: 3: no such file: x.toml");
    assert!(!lives(good));
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    let launch = Launch { program: "/nowhere/understudy".into(), ..shell(server(1), "") };
    let failure = watch(vec![launch], Restart::Never).ended().await.unwrap_err().to_string();
    let expected = "server-1 could not be started from /nowhere/understudy: ";
    assert!(failure.starts_with(expected), "{failure}");
}

#[tokio::test]
async fn without_restart_the_dead_stay_dead_and_nothing_runs_on_without_children() {
    let launches = vec![shell(ready_anyway(), "read line"), shell(ready_anyway(), "read line")];
    let mut cluster = watch(launches, Restart::Never);
    let (one, two) = (cluster.started().await, cluster.started().await);
    cluster.ready().await;
    for pid in [one, two] {
        signal(pid, Signal::KILL);
        let event = cluster.event().await;
        assert!(
            matches!(event, Event::ChildExited { restart_after_ms: None, .. }),
            "{event:?} instead of a death for good"
        );
    }
    assert_eq!(cluster.ended().await, Err(Failure::Failed("all children have ended".to_owned())));
}

/// Runs a shell that does something when it is asked to stop, and waits until it is set to do it.
async fn watch_trap(directory: &tempfile::TempDir, at_stop: &str) -> (Watched, u32) {
    let set = directory.path().join("set");
    let script =
        format!("trap {at_stop} TERM; echo > {}; while :; do sleep 0.01; done", set.display());
    let mut cluster = watch(vec![shell(ready_anyway(), &script)], Restart::Never);
    let pid = cluster.started().await;
    cluster.ready().await;
    wait_until("the trap is set", || set.exists());
    (cluster, pid)
}

#[tokio::test]
async fn a_frozen_child_is_asked_to_stop_too() {
    // It stops in an orderly way, and leaves a trace of that, only if it is woken up.
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let at_stop = format!("'echo stopped > {}; exit'", trace.display());
    let (cluster, pid) = watch_trap(&directory, &at_stop).await;
    signal(pid, Signal::STOP);
    cluster.stop.stop();
    assert_eq!(cluster.ended().await, Ok(()));
    assert!(!lives(pid));
    assert_eq!(std::fs::read_to_string(trace).unwrap(), "stopped\n");
}

#[tokio::test]
async fn who_asks_twice_does_not_wait_for_a_stubborn_child() {
    let directory = tempfile::tempdir().unwrap();
    let (cluster, pid) = watch_trap(&directory, "''").await;
    cluster.stop.stop();
    cluster.stop.stop();
    assert_eq!(cluster.ended().await, Ok(()));
    assert!(!lives(pid));
}

/// Starts a helper whose standard input we hold.
fn start_helper(arguments: &[OsString]) -> std::process::Child {
    let mut command = Command::new("/usr/bin/env");
    command.args(helper_words(arguments)).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn config(directory: &tempfile::TempDir) -> OsString {
    let file = directory.path().join("server.toml");
    std::fs::write(&file, "127.0.0.1:0").unwrap();
    file.into()
}

#[test]
fn no_child_survives_its_parent_not_even_a_frozen_one() {
    let directory = tempfile::tempdir().unwrap();
    let child = ["server".into(), "--config".into(), config(&directory)];
    for frozen in [false, true] {
        let arguments = [&["parent".into(), "--".into()], &child[..]].concat();
        let mut parent = start_helper(&arguments);
        let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut told = lines.filter_map(|line| Some(line.split_once("child ")?.1.parse().unwrap()));
        let pid: u32 = told.next().unwrap();
        assert!(lives(pid));
        if frozen {
            // Once it runs it has seen to it that it dies with its parent; only the kernel can
            // then kill it, as it does nothing itself.
            wait_until("the child watches its parent", || {
                let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
                tasks.flatten().any(|task| {
                    let name = std::fs::read_to_string(task.path().join("comm"));
                    name.unwrap_or_default().trim() == "stdin"
                })
            });
            signal(pid, Signal::STOP);
        }
        parent.kill().unwrap();
        parent.wait().unwrap();
        wait_until("the child has died", || !lives(pid));
    }
}

#[test]
fn a_child_dies_when_its_standard_input_ends() {
    let directory = tempfile::tempdir().unwrap();
    let own = std::process::id().to_string().into();
    let arguments =
        ["server".into(), "--config".into(), config(&directory), "--parent".into(), own];
    let mut child = start_helper(&arguments);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"whatever is sent is ignored").unwrap();
    assert!(child.try_wait().unwrap().is_none());
    drop(stdin);
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_part_that_is_told_to_stop_ends_well() {
    for number in [Signal::TERM, Signal::INT] {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["server".into(), "--config".into(), config(&directory)];
        let mut child = start_helper(&arguments);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut lines = lines.skip_while(|line| !line.contains("serves on 127.0.0.1:"));
        assert!(lines.next().is_some());
        signal(child.id(), number);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{number:?}");
    }
}

#[test]
fn a_crash_loop_slows_down_and_a_long_life_forgives() {
    let mut delays = Delays::default();
    let delay = Duration::from_secs(3);
    let quick: Vec<_> = (0..10).map(|_| delays.after(Duration::ZERO, delay).as_secs()).collect();
    assert_eq!(quick, [3, 3, 3, 6, 12, 24, 48, 48, 48, 48]);
    assert_eq!(delays.after(QUICK, delay).as_secs(), 3);
    assert_eq!(delays.after(Duration::ZERO, delay).as_secs(), 3);
}
