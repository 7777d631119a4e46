//! A client of a router on this machine, such as `understudy up` runs: gets items, twice.
//!
//! ```text
//! cargo run --example client -- 127.0.0.1:4433 / /items/1m.bin
//! ```

use std::error::Error;
use understudy::client::{Client, ClientConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let router = arguments.next().ok_or("usage: client ROUTER KEY...")?.parse()?;
    let keys: Vec<String> = arguments.collect();

    // The bundled certificate is trusted on this machine. For any other router, set `roots`.
    let client = Client::connect(ClientConfig::new(vec![router])).await?;
    for _ in 0..2 {
        for (key, reply) in keys.iter().zip(client.get_many(&keys).await) {
            let reply = reply.map_err(|error| format!("{key}: {error}"))?;
            let (kind, details) = (reply.kind.as_str(), &reply.details);
            println!("{key}: {kind}, {} bytes for {}", details.wire_bytes, reply.bytes.len());
        }
    }
    if let Some(assignment) = client.assignment() {
        println!("serviced by {}", assignment.primary());
    }
    client.close().await;
    Ok(())
}
