//! What the files of a cache directory hold.

use crate::node::client::{Item, SavedItem};
use crate::wire::codec::{DecodeError, Reader, put};
use crate::wire::headers::MAX_HEADER_BLOCK;
use crate::wire::lane::MAX_SLOTS;
use crate::wire::session::MAX_TOKEN;
use crate::wire::types::MAX_KEY;
use crate::wire::{Fingerprint, HeaderBlock, Key};
use bytes::{BufMut, Bytes, BytesMut};

/// What an item's file starts with; the last byte is the version of the format.
pub(super) const ITEM_MAGIC: &[u8; 16] = b"understudy item\x01";
/// What the token's file starts with.
pub(super) const TOKEN_MAGIC: &[u8; 16] = b"understudytoken\x01";
const CHECKSUM: usize = 16;
/// Longest header of an item's file: three varints, key, header block, digest and CRC, and the two
/// lengths in front of them.
pub(super) const MAX_ITEM_HEADER: usize =
    16 + 3 * 8 + MAX_KEY + MAX_HEADER_BLOCK + 20 + 8 + CHECKSUM;
pub(super) const MAX_TOKEN_FILE: usize = 16 + 8 + MAX_TOKEN + CHECKSUM;

/// How long an item's file is.
pub(in crate::net::client) fn file_size(slot: u32, item: &Item) -> u64 {
    encode_item(slot, item).len() as u64 + item.bytes.len() as u64
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let hash = blake3::hash(bytes);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

pub(super) fn encode_item(slot: u32, item: &Item) -> BytesMut {
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(ITEM_MAGIC);
    put::varint(&mut out, u64::from(slot));
    item.key.encode(&mut out);
    item.headers.encode(&mut out);
    item.fingerprint.encode(&mut out);
    let sum = checksum(&out);
    out.put_slice(&sum);
    out
}

/// Reads the header of an item's file, and where its bytes start.
pub(super) fn decode_item(file: Bytes) -> Result<(SavedItem, usize), DecodeError> {
    let mut reader = Reader::new(&file);
    check_magic(&mut reader, ITEM_MAGIC)?;
    let slot = reader.varint("slot", MAX_SLOTS - 1)? as u32;
    let key = Key::decode(&mut reader)?;
    let headers = HeaderBlock::decode(&mut reader)?;
    let fingerprint = Fingerprint::decode(&mut reader)?;
    let end = file.len() - reader.remaining();
    check_sum(&mut reader, &file[..end])?;
    // What is kept for long should not keep the whole buffer.
    let key = Key::new(Bytes::copy_from_slice(key.as_bytes()))?;
    let headers = HeaderBlock::parse(Bytes::copy_from_slice(headers.as_bytes()))?;
    Ok((SavedItem { slot, key, headers, fingerprint }, end + CHECKSUM))
}

pub(super) fn encode_token(token: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(MAX_TOKEN_FILE);
    out.put_slice(TOKEN_MAGIC);
    put::bytes(&mut out, token, MAX_TOKEN);
    let sum = checksum(&out);
    out.put_slice(&sum);
    out
}

pub(super) fn decode_token(file: Vec<u8>) -> Result<Bytes, DecodeError> {
    let file = Bytes::from(file);
    let mut reader = Reader::new(&file);
    check_magic(&mut reader, TOKEN_MAGIC)?;
    let token = reader.bytes("token", MAX_TOKEN)?;
    let end = file.len() - reader.remaining();
    check_sum(&mut reader, &file[..end])?;
    reader.finish("token file")?;
    Ok(token)
}

fn check_magic(reader: &mut Reader, magic: &[u8; 16]) -> Result<(), DecodeError> {
    match reader.array("file type")? {
        found if found == *magic => Ok(()),
        _ => Err(DecodeError::Invalid { what: "file type", why: "another format or version" }),
    }
}

fn check_sum(reader: &mut Reader, bytes: &[u8]) -> Result<(), DecodeError> {
    match reader.array("checksum")? {
        found if found == checksum(bytes) => Ok(()),
        _ => Err(DecodeError::Invalid { what: "checksum", why: "the file is damaged" }),
    }
}
