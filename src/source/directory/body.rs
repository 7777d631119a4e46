//! A file too large to be kept, passed on piece by piece.

use super::state::FileState;
use super::{blocking, failed};
use crate::source::{BodyReader, SourceError};
use bytes::Bytes;
use cap_std::fs::{File, FileExt};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The largest piece.
const PIECE_SIZE: u64 = 256 * 1024;

/// Reads one state of one open file. A piece is handed out only when the file is still in that
/// state after the piece was read, so whoever gets the last piece has got one version.
pub(super) struct FileBody {
    file: Arc<File>,
    state: FileState,
    offset: u64,
    wait: Option<Duration>,
}

impl FileBody {
    /// Will read `file`, which is in `state`. If that state is not settled yet, the first piece
    /// comes after `wait`, when it is: until then a second change could go unnoticed.
    pub(super) fn new(file: File, state: FileState, wait: Option<Duration>) -> Self {
        Self { file: Arc::new(file), state, offset: 0, wait }
    }
}

impl BodyReader for FileBody {
    /// Cancel-safe: a piece counts as read when it is handed out.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Bytes, SourceError>> + Send + '_>> {
        Box::pin(async move {
            let length = PIECE_SIZE.min(self.state.size() - self.offset);
            if length == 0 {
                return Ok(Bytes::new());
            }
            if let Some(wait) = self.wait {
                tokio::time::sleep(wait).await;
                self.wait = None;
            }
            let (file, state, offset) = (Arc::clone(&self.file), self.state, self.offset);
            let piece = blocking(move || read_piece(&file, &state, offset, length)).await?;
            self.offset += length;
            Ok(piece)
        })
    }
}

/// Reads `length` bytes, at most [`PIECE_SIZE`], of a file that must still be in `state`.
fn read_piece(
    file: &File,
    state: &FileState,
    offset: u64,
    length: u64,
) -> Result<Bytes, SourceError> {
    let mut piece = vec![0; length as usize];
    let read = file.read_exact_at(&mut piece, offset);
    // Asked first: a file that shrank has changed, and that is the better reason to give.
    if FileState::of(file)? != *state {
        let why = "the file changed while it was read: ask again for the new one";
        return Err(SourceError::Failed(why.into()));
    }
    read.map_err(failed)?;
    Ok(Bytes::from(piece))
}
