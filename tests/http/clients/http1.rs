//! HTTP/1.1 over TLS, by hand: what is sent is exactly what a test says.

use super::{Answer, Ask, Client, NAME, tls};
use crate::common::PATIENCE;
use rustls::{ClientConnection, StreamOwned};
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A connection.
pub(crate) struct Http1 {
    stream: BufReader<Stream>,
}

impl Http1 {
    pub(crate) fn connect(router: SocketAddr) -> Self {
        let tcp = TcpStream::connect(router).expect("the router listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("it has a limit");
        tcp.set_nodelay(true).expect("it is a TCP connection");
        let name = NAME.try_into().expect("it is a name");
        let connection = ClientConnection::new(tls(&[b"http/1.1"]), name).expect("it is set up");
        Self { stream: BufReader::new(StreamOwned::new(connection, tcp)) }
    }

    /// Sends these bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Reads one answer.
    pub(crate) fn receive(&mut self, is_head: bool) -> std::io::Result<Answer> {
        loop {
            let answer = self.head()?;
            if answer.status >= 200 {
                return self.content(answer, is_head);
            }
        }
    }

    /// Whether the router has closed the connection, and said nothing more before that.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(rest) => rest.is_empty(),
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Reads to the end of the connection, however it ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // What came before an error is what matters.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }

    /// Goes away without a word.
    pub(crate) fn vanish(self) {
        let _ = self.stream.get_ref().sock.shutdown(Shutdown::Both);
    }

    /// Reads the head of an answer, its content still to come.
    pub(crate) fn head(&mut self) -> std::io::Result<Answer> {
        let line = self.line()?;
        let status = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| broken(&format!("no status line: {line:?}")))?;
        Ok(Answer { status, fields: self.fields()?, ..Answer::default() })
    }

    fn content(&mut self, mut answer: Answer, is_head: bool) -> std::io::Result<Answer> {
        if is_head || matches!(answer.status, 204 | 304) {
            return Ok(answer);
        }
        if answer.field("transfer-encoding") == Some("chunked") {
            assert_eq!(answer.field("content-length"), None, "it has two lengths");
            while let Some(chunk) = self.chunk()? {
                answer.body.extend(chunk);
            }
            answer.trailers = self.fields()?;
        } else if let Some(length) = answer.field("content-length") {
            answer.body = vec![0; length.parse().map_err(|_| broken("a bad length"))?];
            self.stream.read_exact(&mut answer.body)?;
        } else {
            self.stream.read_to_end(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// Reads a chunk; none at the last one.
    pub(crate) fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| broken("a bad chunk"))?;
        if size == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk)?;
        let end = self.line()?;
        end.is_empty().then_some(Some(chunk)).ok_or_else(|| broken("a chunk goes on"))
    }

    fn fields(&mut self) -> std::io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken("a bad field"))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or_else(|| broken("it was cut off"))?;
        Ok(line.to_owned())
    }
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

impl Client for Http1 {
    fn try_ask(&mut self, ask: &Ask) -> Result<Answer, String> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {NAME}\r\n", ask.method, ask.target);
        for (name, value) in &ask.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if !ask.body.is_empty() {
            head += &format!("Content-Length: {}\r\n", ask.body.len());
        }
        head += "\r\n";
        let sent = self.send(head.as_bytes()).and_then(|()| self.send(&ask.body));
        let answer = self.receive(ask.method == "HEAD");
        // An answer may come, and the connection end, before all is sent.
        answer.map_err(|error| format!("{error}; {sent:?}"))
    }
}
