//! A server with a source of its own: the time of day, a greeting for every name, and a guest book
//! that is written by calls.
//!
//! ```text
//! cargo run --example source -- server.toml
//! ```
//!
//! `server.toml` is a server's configuration whose pool says `source = { program = true }`.

use bytes::Bytes;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use understudy::server::Server;
use understudy::source::{
    Answer, CallRequest, CallResponse, Known, Retrieved, Source, SourceError, Version,
};
use understudy::wire::{HeaderBlock, HeaderName, Key};

#[derive(Default)]
struct Greeter {
    guests: Mutex<Vec<String>>,
}

impl Source for Greeter {
    async fn retrieve(&self, key: &Key, known: Option<&Known>) -> Result<Answer, SourceError> {
        let text = match key.as_str().split_once("/hello/") {
            Some(("", name)) if !name.is_empty() => format!("Hello, {name}!\n"),
            _ if key.as_str() == "/guests" => self.guests().join("\n") + "\n",
            _ if key.as_str() == "/time" => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                let since = since.map_err(|error| SourceError::Failed(error.to_string()))?;
                format!("{}\n", since.as_secs())
            }
            _ => return Ok(Retrieved::NotFound.into()),
        };
        let headers = HeaderBlock::new([(HeaderName::ContentType, "text/plain; charset=utf-8")])
            .map_err(|error| SourceError::Failed(error.to_string()))?;
        let version = Version::new(headers, Bytes::from(text));
        // What the server knows already is good if it says the same.
        let same = known.is_some_and(|known| known.fingerprint() == version.fingerprint());
        Ok(if same { Retrieved::Unchanged } else { Retrieved::Version(version) }.into())
    }

    async fn call(&self, request: CallRequest) -> Result<CallResponse, SourceError> {
        match (request.key.as_str(), std::str::from_utf8(&request.body)) {
            ("/guests", Ok(name)) if !name.trim().is_empty() => {
                // Twice the same guest would be once too often: such a call is not idempotent.
                self.guests().push(name.trim().to_owned());
                Ok(CallResponse::new(201, "Welcome!\n"))
            }
            ("/guests", _) => Ok(CallResponse::new(400, "Who are you?\n")),
            _ => Err(SourceError::Refused("only /guests can be called".to_owned())),
        }
    }
}

impl Greeter {
    fn guests(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: source SERVER.TOML")?;
    let server = Server::builder().config_file(path)?.source(Greeter::default()).bind()?;
    println!("serving on {}", server.local_address()?);
    server.run_until(std::future::pending())?;
    Ok(())
}
