//! Floors: what the same work costs on bare quinn, without a proxy hop.
//!
//! Each floor is a server that does the least that its protocol allows, with the transport limits
//! of the real router, so that a cost of ours divided by the floor's says how much is our own. They
//! are started as processes and loaded by `understudy bench`; `benches/compare.sh` does both.
//!
//! Everything runs on one thread: a floor is the cost of one worker.

mod echo;
mod endpoint;
mod http3;
mod idle;
mod relay;

use clap::{Parser, Subcommand};
use quinn::Endpoint;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};

// The allocator of the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What went wrong, as one line for whoever started the floor.
type Failure = Box<dyn Error>;

/// Bare-quinn servers to measure Understudy against.
#[derive(Parser)]
#[command(name = "floors")]
struct Arguments {
    /// Given by `cargo bench`; there is nothing to measure without a client.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    floor: Option<Floor>,
}

#[derive(Subcommand)]
enum Floor {
    /// Echoes every byte of every bidirectional stream: the floor of the native protocol
    LaneEcho(Listen),
    /// Answers HTTP/3 GET by itself: 304 where If-None-Match is --etag, else 200
    H3 {
        #[command(flatten)]
        listen: Listen,
        /// The entity tag of the one item, with its quotes.
        #[arg(long, default_value = "\"floor\"")]
        etag: String,
        /// Bytes of the item.
        #[arg(long, default_value_t = 1024)]
        size: usize,
        /// Relay the bodies of 200 from a `source` floor instead: the floor of receive and send.
        #[arg(long, value_name = "ADDR")]
        upstream: Option<SocketAddr>,
    },
    /// Sends --size bytes on every stream that is opened: the upstream of `h3 --upstream`
    Source {
        #[command(flatten)]
        listen: Listen,
        /// Bytes sent on each stream.
        #[arg(long, default_value_t = 10_000_000)]
        size: usize,
    },
    /// Keeps connections that do nothing, and prints its resident memory every second
    Idle {
        #[command(flatten)]
        listen: Listen,
        /// Streams that each client may open: quinn holds memory for each.
        #[arg(long, default_value_t = endpoint::LANES)]
        streams: u32,
    },
    /// Completes handshakes and answers HELLO, until the client closes
    Handshakes(Listen),
    /// The client of `idle`, and of a router: opens --connections and keeps them
    Hold {
        /// Where the floor or the router listens.
        #[arg(long, value_name = "ADDR")]
        connect: SocketAddr,
        /// How many to open.
        #[arg(long, default_value_t = 20_000)]
        connections: usize,
        /// Ends after so many seconds, if nobody ends it by SIGTERM before.
        #[arg(long, default_value_t = 300)]
        seconds: u64,
    },
}

#[derive(clap::Args)]
struct Listen {
    /// UDP address; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Ends after so many seconds, if nobody ends it by SIGTERM before.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
}

impl Floor {
    fn seconds(&self) -> u64 {
        match self {
            Self::LaneEcho(listen) | Self::Handshakes(listen) => listen.seconds,
            Self::H3 { listen, .. } | Self::Source { listen, .. } | Self::Idle { listen, .. } => {
                listen.seconds
            }
            Self::Hold { seconds, .. } => *seconds,
        }
    }

    async fn serve(self) -> Result<(), Failure> {
        let lanes = endpoint::lanes(endpoint::LANES);
        match self {
            Self::LaneEcho(listen) => echo::serve(listen.bind(lanes)?).await,
            Self::H3 { listen, etag, size, upstream } => {
                let item = http3::Item::new(&etag, size)?;
                let upstream = match upstream {
                    Some(address) => Some(relay::dial(address).await?),
                    None => None,
                };
                http3::serve(listen.bind(endpoint::http3())?, item, upstream).await;
            }
            Self::Source { listen, size } => {
                relay::serve_source(listen.bind(endpoint::bodies())?, size).await;
            }
            Self::Idle { listen, streams } => {
                idle::serve(listen.bind(endpoint::lanes(streams))?).await?;
            }
            Self::Handshakes(listen) => idle::serve_handshakes(listen.bind(lanes)?).await?,
            Self::Hold { connect, connections, .. } => idle::hold(connect, connections).await?,
        }
        Ok(())
    }
}

impl Listen {
    /// Binds, and says that the floor is ready.
    fn bind(&self, offer: endpoint::Offer) -> Result<Endpoint, Failure> {
        let endpoint = endpoint::bind(self.listen, offer)?;
        println!("listening on {} pid {}", endpoint.local_addr()?, std::process::id());
        Ok(endpoint)
    }
}

fn main() -> ExitCode {
    let Some(floor) = Arguments::parse().floor else {
        println!("floors are servers: benches/compare.sh starts and loads them (see --help)");
        return ExitCode::SUCCESS;
    };
    match run(floor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("floors: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(floor: Floor) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let bound = Duration::from_secs(floor.seconds());
        tokio::select! {
            ended = floor.serve() => ended,
            _ = terminate.recv() => Ok(()),
            () = tokio::time::sleep(bound) => Ok(()),
        }
    })
}
