//! An HTTP/1.1 origin that answers as a test says, and remembers what it was asked.

use crate::common::wait_for;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A request as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// With names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Seen {
    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let found = self.fields.iter().filter(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).collect()
    }
}

/// How the origin writes its answer: everything, on the connection. An error closes it.
type Reply = dyn Fn(&Seen, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// The origin, as long as the test program runs.
pub(crate) struct Origin {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    closed: Arc<AtomicUsize>,
}

impl Origin {
    pub(crate) fn start(
        reply: impl Fn(&Seen, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        let (seen, closed) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicUsize>::default());
        let (book, ended, reply) = (seen.clone(), closed.clone(), Arc::new(reply));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (book, ended, reply) = (book.clone(), ended.clone(), Arc::clone(&reply));
                std::thread::spawn(move || {
                    // However the connection ends, it has ended.
                    let _ = serve(stream, &book, &*reply);
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, closed }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics with it").clone()
    }

    /// What it was asked for a target.
    pub(crate) fn seen_of(&self, target: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.target == target).collect()
    }

    /// Waits until it was asked for a target.
    pub(crate) fn wait_for(&self, target: &str) -> Seen {
        wait_for(target, || self.seen_of(target).pop())
    }

    /// Connections that have ended.
    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, book: &Mutex<Vec<Seen>>, reply: &Reply) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(seen) = read(&mut reader, &mut stream)? {
        book.lock().expect("nobody panics with it").push(seen.clone());
        reply(&seen, &mut stream)?;
    }
    Ok(())
}

fn read(reader: &mut impl BufRead, stream: &mut TcpStream) -> std::io::Result<Option<Seen>> {
    let line = line(reader)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut seen = Seen { method: method.to_owned(), target: target.to_owned(), ..Seen::default() };
    seen.fields = fields(reader)?;
    if seen.all("expect") == ["100-continue"] {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if seen.all("transfer-encoding") == ["chunked"] {
        loop {
            let size = usize::from_str_radix(&self::line(reader)?, 16).unwrap_or(0);
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            seen.body.extend_from_slice(&chunk[..size]);
        }
        seen.trailers = fields(reader)?;
    } else if let [length] = seen.all("content-length")[..] {
        seen.body = vec![0; length.parse().unwrap_or(0)];
        reader.read_exact(&mut seen.body)?;
    }
    Ok(Some(seen))
}

fn fields(reader: &mut impl BufRead) -> std::io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(fields);
        };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}
