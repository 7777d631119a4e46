//! One GET over HTTP/3.

use super::Sender;
use crate::load::config::Target;
use bytes::Buf;
use h3::error::StreamError;
use http::header::{
    CONTENT_LENGTH, ETAG, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, Request, StatusCode};

/// Bytes of an answer that are kept, at the most: only the list of keys is.
const MAX_KEPT: usize = 1 << 20;

/// Who is asked, as it stands in each request.
pub(super) struct Origin {
    /// Scheme, authority, and what stands before each key.
    start: String,
}

impl Origin {
    pub(super) fn new(target: &Target) -> Self {
        let start = match target {
            Target::Http3 { authority, prefix, .. } => format!("https://{authority}{prefix}"),
            Target::Routers { .. } => String::new(),
        };
        Self { start }
    }
}

/// What the client holds of one item, without its bytes.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) etag: Option<HeaderValue>,
    pub(super) last_modified: Option<HeaderValue>,
    pub(super) length: u64,
    pub(super) crc: u32,
}

/// What is asked for.
pub(super) struct Wanted {
    /// Path and query.
    pub(super) path: String,
    /// The copy that is asked about, if one is.
    pub(super) copy: Option<Held>,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Validators, and what came of the bytes.
    pub(super) held: Held,
    /// The bytes, where they were to be kept.
    pub(super) kept: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// It has more or fewer bytes than it said.
    #[error("the body has another length than was said")]
    Body,
    /// This request failed; others may not.
    #[error("{0}")]
    Stream(String),
    /// The connection is gone, or takes no more requests.
    #[error("{0}")]
    Connection(String),
}

impl From<StreamError> for Broken {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::ConnectionError { .. } | StreamError::RemoteClosing { .. } => {
                Self::Connection(error.to_string())
            }
            _ => Self::Stream(error.to_string()),
        }
    }
}

/// Asks, and takes the whole answer. Every byte goes through a CRC.
pub(super) async fn get(
    sender: &mut Sender,
    origin: &Origin,
    wanted: &Wanted,
    is_kept: bool,
) -> Result<Answer, Broken> {
    let mut request = Request::get(format!("{}{}", origin.start, wanted.path));
    if let Some(copy) = &wanted.copy {
        if let Some(etag) = &copy.etag {
            request = request.header(IF_NONE_MATCH, etag);
        } else if let Some(date) = &copy.last_modified {
            request = request.header(IF_MODIFIED_SINCE, date);
        }
    }
    let request = request.body(()).map_err(|why| Broken::Stream(why.to_string()))?;
    let mut stream = sender.send_request(request).await?;
    stream.finish().await?;
    let response = stream.recv_response().await?;
    let mut length = 0;
    let mut crc = crc32fast::Hasher::new();
    let mut kept = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        while data.has_remaining() {
            let chunk = data.chunk();
            crc.update(chunk);
            if is_kept && kept.len() + chunk.len() <= MAX_KEPT {
                kept.extend_from_slice(chunk);
            }
            length += chunk.len() as u64;
            let count = chunk.len();
            data.advance(count);
        }
    }
    let headers = response.headers();
    if response.status() == StatusCode::OK && said_length(headers).is_some_and(|l| l != length) {
        return Err(Broken::Body);
    }
    let (etag, last_modified) = (headers.get(ETAG).cloned(), headers.get(LAST_MODIFIED).cloned());
    let held = Held { etag, last_modified, length, crc: crc.finalize() };
    Ok(Answer { status: response.status(), held, kept })
}

fn said_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
