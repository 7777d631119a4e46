//! `understudy call`: has a pool's source do something, as the client library does.

#[cfg(test)]
mod tests;

use super::connection::{Connection, unreachable};
use super::report::{self, Failure};
use super::target::key;
use crate::net::client::{CallAnswered, CallRequest, Client, ClientConfig, Error};
use crate::wire::frame::MAX_INLINE_BODY;
use crate::wire::{HeaderBlock, HeaderName, Key};
use bytes::Bytes;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The exit code where it is not known whether the call was executed.
const FATE_UNKNOWN: u8 = 3;
/// From this status on, an answer says that the call did not do what it should.
const FIRST_FAILURE: u16 = 400;

/// Have the source of a pool do something, and show its answer.
///
/// A call is sent at most once, unless --idempotent says that more does no harm. What came back
/// goes to standard output, and nothing else does. The directory source takes no calls.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  understudy call /count                             one more, at the sample of `understudy up`
  echo hello | understudy call --body - /echo        what goes there comes back
  understudy call --body order.json --header content-type=application/json /orders
  understudy call --idempotent --json /reindex       sent again where an answer is lost

Exit codes: 0 answered with a status below 400, 1 answered with another one or not executed or
failed, 2 asked wrongly, 3 the call was sent and its answer was lost: it was executed once, or not
at all.")]
pub(super) struct Arguments {
    /// What to call: a path such as `/orders`.
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    connection: Connection,
    /// What goes along: at most 16,384 bytes of this file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// It does no harm to execute this call more than once: it is sent again where an answer is
    /// lost.
    #[arg(long)]
    idempotent: bool,
    /// A header of the body: content-type, content-encoding, content-language, etag or
    /// last-modified.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// Writes what came back to this file.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prints a line of JSON that says how it went; what came back only goes where --output says.
    #[arg(long)]
    json: bool,
}

/// What is to be done.
#[derive(Debug)]
struct Plan {
    config: ClientConfig,
    key: Key,
    request: CallRequest,
    output: Option<PathBuf>,
    json: bool,
}

impl Plan {
    /// Checks the arguments, reads the body, and looks up the routers.
    fn new(arguments: Arguments, stdin: &mut impl Read) -> Result<Self, Failure> {
        let key = key(&arguments.key).map_err(Failure::Usage)?;
        let headers = headers(&arguments.headers)?;
        let config = arguments.connection.config()?;
        let body = match &arguments.body {
            Some(path) => body(path, stdin)?,
            None => Bytes::new(),
        };
        let request = CallRequest { headers, body, idempotent: arguments.idempotent };
        Ok(Self { config, key, request, output: arguments.output, json: arguments.json })
    }
}

fn headers(given: &[String]) -> Result<HeaderBlock, Failure> {
    let mut headers = Vec::new();
    for text in given {
        let wrong = |why: &str| Failure::Usage(format!("--header {text:?}: {why}"));
        let Some((name, value)) = text.split_once('=') else {
            return Err(wrong("it should be a name and a value, such as content-type=text/plain"));
        };
        let known = HeaderName::ALL.into_iter().find(|known| known.as_str() == name.to_lowercase());
        let Some(known) = known else {
            let names = HeaderName::ALL.map(HeaderName::as_str).join(", ");
            return Err(wrong(&format!("a call carries only these headers: {names}")));
        };
        headers.push((known, value));
    }
    HeaderBlock::new(headers).map_err(|why| Failure::Usage(format!("--header: {why}")))
}

fn body(path: &Path, stdin: &mut impl Read) -> Result<Bytes, Failure> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    // One byte more shows that there is too much.
    let limit = MAX_INLINE_BODY as u64 + 1;
    let mut bytes = Vec::new();
    let read = if is_stdin {
        stdin.take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|why| Failure::Failed(format!("--body {name}: {why}")))?;
    if bytes.len() > MAX_INLINE_BODY {
        let text = format!(
            "--body {name}: it has more than {MAX_INLINE_BODY} bytes, which is all that a call \
             carries: put more where the source can get it, and name it in the call"
        );
        return Err(Failure::Usage(text));
    }
    Ok(bytes.into())
}

/// A line of JSON. The names and their order are what programs rely on.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    reply: &'static str,
    status: Option<u16>,
    bytes: u64,
    wire_bytes: u64,
    attempts: u32,
    client: Option<String>,
    server: Option<&'a str>,
    alternate: Option<&'a str>,
    epoch: Option<u64>,
    elapsed_us: u64,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Failure::Failed(format!("no event loop: {why}")));
    let outcome = runtime.and_then(|runtime| {
        let plan = Plan::new(arguments, &mut io::stdin().lock())?;
        runtime.block_on(call(plan, &mut io::stdout().lock()))
    });
    outcome.map_or_else(|failure| failure.report(), ExitCode::from)
}

/// Calls, and shows what came of it. Returns the exit code.
async fn call(plan: Plan, stdout: &mut impl Write) -> Result<u8, Failure> {
    let Plan { config, key, request, output, json } = plan;
    let client = Client::connect(config).await.map_err(unreachable)?;
    let answered = client.call_with(key.clone(), request).await;
    client.close().await;
    let mut shown = Ok(());
    if json {
        let text = serde_json::to_string(&line(&key, &answered)).expect("plain data");
        shown = writeln!(stdout, "{text}");
    }
    let code = match &answered.result {
        Ok(reply) => {
            match &output {
                Some(path) => std::fs::write(path, &reply.bytes).map_err(|why| {
                    // The call itself is done, and must not seem not to be.
                    let status = reply.status;
                    let path = path.display();
                    Failure::Failed(format!("{key}: answered with {status}, but {path}: {why}"))
                })?,
                None if json => {}
                None => shown = stdout.write_all(&reply.bytes),
            }
            let failed = reply.status >= FIRST_FAILURE;
            if failed {
                complain(&format!("{key}: the source answered with status {}", reply.status));
            }
            u8::from(failed)
        }
        Err(failure) => {
            complain(&format!("{key}: {}", failure.error));
            if failure.error == Error::FateUnknown { FATE_UNKNOWN } else { 1 }
        }
    };
    match shown.and_then(|()| stdout.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output could not be written: {why}")))
        }
        _ => Ok(code),
    }
}

fn line<'a>(key: &'a Key, answered: &'a CallAnswered) -> Line<'a> {
    let (reply, answer, details) = match &answered.result {
        Ok(reply) => ("called", Some(reply), &reply.details),
        Err(failure) => (word(&failure.error), None, &failure.details),
    };
    let assignment = details.assignment.as_ref();
    Line {
        key: key.as_str(),
        reply,
        status: answer.map(|answer| answer.status),
        bytes: answer.map_or(0, |answer| answer.bytes.len() as u64),
        wire_bytes: details.wire_bytes,
        attempts: details.attempts,
        client: details.client.map(|client| client.to_string()),
        server: assignment.map(|assignment| assignment.primary().as_str()),
        alternate: assignment.and_then(|assignment| assignment.alternate.as_ref()?.as_str().into()),
        epoch: assignment.map(|assignment| assignment.epoch.term),
        elapsed_us: u64::try_from(answered.elapsed.as_micros()).unwrap_or(u64::MAX),
    }
}

fn word(error: &Error) -> &'static str {
    match error {
        Error::FateUnknown => "fate_unknown",
        Error::Busy { .. } => "busy",
        _ => "error",
    }
}

/// Writes what is not an answer.
fn complain(text: &str) {
    report::line(&format!("error: {text}"));
}
