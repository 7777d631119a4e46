//! The little of HTTP that it takes to read a page of a process's admin address, or to give an
//! order there.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest answer that is read, in bytes: the page of a server that lists its clients is large.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;
const MAX_HEADERS: usize = 64;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The HTTP status code.
    pub(crate) status: u16,
    /// What was answered, whole.
    pub(crate) body: Vec<u8>,
}

/// Gets one page, on a connection of its own. Fails where no whole answer came within `patience`,
/// with [`io::ErrorKind::InvalidData`] where the answer is not HTTP.
pub(crate) async fn get(address: SocketAddr, path: &str, patience: Duration) -> io::Result<Page> {
    ask(address, "GET", path, patience).await
}

/// Gives an order: the same by POST.
pub(crate) async fn post(address: SocketAddr, path: &str, patience: Duration) -> io::Result<Page> {
    ask(address, "POST", path, patience).await
}

async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    patience: Duration,
) -> io::Result<Page> {
    let answer = tokio::time::timeout(patience, exchange(address, method, path)).await;
    let bytes = answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    parse(&bytes).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
}

/// Asked in the words of HTTP/1.0, so that the answer is one piece and ends with the connection.
async fn exchange(address: SocketAddr, method: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    let request =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n{length}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Result<Page, &'static str> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("it is not HTTP")?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| "its headers are not text")?;
    let body = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(status).ok_or("it is not HTTP")?;
    for (count, line) in lines.enumerate() {
        let (name, value) = line.split_once(':').ok_or("it has a malformed header")?;
        if count >= MAX_HEADERS {
            return Err("it has too many headers");
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("it came in pieces");
        }
        let is_length = name.eq_ignore_ascii_case("content-length");
        if is_length && value.trim().parse() != Ok(body.len()) {
            return Err("it was cut short");
        }
    }
    Ok(Page { status, body: body.to_vec() })
}

/// The status code of `HTTP/1.1 200 OK`.
fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.0 ").or_else(|| line.strip_prefix("HTTP/1.1 "))?;
    let digits = rest.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let ended = matches!(rest.as_bytes().get(3), None | Some(b' '));
    digits.parse().ok().filter(|_| ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// Answers one request with `answer`, and returns what was asked.
    fn serve(answer: &'static [u8]) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (address, thread)
    }

    #[test]
    fn a_page_is_got() {
        let (address, asked) = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
        let page = block_on(get(address, "/ready", PATIENCE)).unwrap();
        assert_eq!(page, Page { status: 200, body: b"hi".to_vec() });
        let expected = format!("GET /ready HTTP/1.0\r\nHost: {address}\r\n");
        assert!(asked.join().unwrap().starts_with(&expected));
    }

    #[test]
    fn nobody_and_somebody_else_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let nobody = block_on(get(address, "/", PATIENCE)).unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::ConnectionRefused);
        let (address, asked) = serve(b"220 mail.example ESMTP\r\n");
        let other = block_on(get(address, "/", PATIENCE)).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::InvalidData);
        asked.join().unwrap();
    }

    #[test]
    fn silence_has_an_end() {
        // It listens, so connections come about, but nobody accepts or answers them.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let silence = block_on(get(address, "/", Duration::from_millis(20))).unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn answers_that_are_not_whole_are_refused() {
        assert!(parse(b"HTTP/1.1 204\r\n\r\n").is_ok());
        for (bad, why) in [
            (&b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi"[..], "it was cut short"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "it was cut short"),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                "it came in pieces",
            ),
            (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "it has a malformed header"),
            (b"HTTP/1.1 2000 OK\r\n\r\n", "it is not HTTP"),
            (b"HTTP/2 200\r\n\r\n", "it is not HTTP"),
            (b"HTTP/1.1 200 OK\r\n", "it is not HTTP"),
            (b"HTTP/1.1 200 \xff\r\n\r\n", "its headers are not text"),
        ] {
            assert_eq!(parse(bad), Err(why), "{}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_parsed_or_refused(start in "(HTTP/1.1 200 OK\r\n)?", rest: Vec<u8>) {
            let _ = parse(&[start.as_bytes(), &rest, b"\r\n\r\n", &rest].concat());
        }
    }
}
