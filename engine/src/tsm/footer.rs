//! The last [`FOOTER_BYTES`] of a file: where the sections stand, and what the file holds in sum.
//!
//! ```text
//!   0  8 bytes  "TideTSM1"
//!   8  u32      format, 1         12  u32  flags: 1 cold
//!  16  u64      top level: offset 24  u32  length  28  u32  crc32c
//!  32  u64      schema: offset    40  u32  length  44  u32  crc32c
//!  48  i64      least time        56  i64  greatest time
//!  64  u32      series            68  u32  index pages
//!  72  u64      blocks            80  u64  rows    88  u64  values
//!  96  u64 u64  least version (hybrid clock, node)
//! 112  u64 u64  greatest version
//! 128  u64      bytes of the file
//! 136           zeros
//! 252  u32      crc32c of the bytes before
//! ```

use crate::checksum;
use crate::codec::DecodeError;
use crate::codec::varint::{take_bytes, take_u32, take_u64};

pub const FOOTER_BYTES: usize = 256;
pub const MAGIC: &[u8; 8] = b"TideTSM1";
const FORMAT: u32 = 1;
const COLD: u32 = 1;

/// A stretch of the file with its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Section {
    pub offset: u64,
    pub length: u32,
    pub crc: u32,
}

/// (hybrid clock, node) of a batch: the greater wins.
pub type Version = (u64, u64);

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileMeta {
    pub min_time: i64,
    pub max_time: i64,
    pub series: u32,
    pub index_pages: u32,
    pub blocks: u64,
    /// Of all series.
    pub rows: u64,
    /// Fields of rows.
    pub values: u64,
    pub version_min: Version,
    pub version_max: Version,
    /// Length of the file.
    pub bytes: u64,
    /// Written with the cold encodings.
    pub is_cold: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footer {
    pub meta: FileMeta,
    pub top: Section,
    pub schema: Section,
}

impl Footer {
    pub fn to_bytes(self) -> [u8; FOOTER_BYTES] {
        let meta = &self.meta;
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(u32::from(meta.is_cold) * COLD).to_le_bytes());
        for section in [self.top, self.schema] {
            out.extend_from_slice(&section.offset.to_le_bytes());
            out.extend_from_slice(&section.length.to_le_bytes());
            out.extend_from_slice(&section.crc.to_le_bytes());
        }
        out.extend_from_slice(&meta.min_time.to_le_bytes());
        out.extend_from_slice(&meta.max_time.to_le_bytes());
        out.extend_from_slice(&meta.series.to_le_bytes());
        out.extend_from_slice(&meta.index_pages.to_le_bytes());
        for number in [
            meta.blocks,
            meta.rows,
            meta.values,
            meta.version_min.0,
            meta.version_min.1,
            meta.version_max.0,
            meta.version_max.1,
            meta.bytes,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let mut bytes = [0; FOOTER_BYTES];
        bytes[..out.len()].copy_from_slice(&out);
        let crc = checksum::of(&bytes[..FOOTER_BYTES - 4]);
        bytes[FOOTER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the footer of a file of `length` bytes.
    pub fn from_bytes(bytes: &[u8], length: u64) -> Result<Self, DecodeError> {
        let (mut bytes, tail) = bytes.split_at_checked(FOOTER_BYTES - 4).ok_or(DecodeError("footer"))?;
        if bytes[..8] != MAGIC[..] {
            return Err(DecodeError("footer: not a TSM file of ours"));
        }
        let known = tail.try_into().map_err(|_| DecodeError("footer"))?;
        if !checksum::is(bytes, u32::from_le_bytes(known)) {
            return Err(DecodeError("footer: checksum"));
        }
        let bytes = &mut bytes;
        take_bytes(bytes, 8)?;
        if take_u32(bytes)? != FORMAT {
            return Err(DecodeError("footer: a later format"));
        }
        let is_cold = take_u32(bytes)? & COLD != 0;
        let take_section = |bytes: &mut &[u8]| -> Result<Section, DecodeError> {
            let section =
                Section { offset: take_u64(bytes)?, length: take_u32(bytes)?, crc: take_u32(bytes)? };
            let end = section.offset.checked_add(u64::from(section.length));
            if end.is_none_or(|end| end > length) { Err(DecodeError("footer: section")) } else { Ok(section) }
        };
        let (top, schema) = (take_section(bytes)?, take_section(bytes)?);
        let (min_time, max_time) = (take_u64(bytes)? as i64, take_u64(bytes)? as i64);
        let (series, index_pages) = (take_u32(bytes)?, take_u32(bytes)?);
        let (blocks, rows, values) = (take_u64(bytes)?, take_u64(bytes)?, take_u64(bytes)?);
        let version_min = (take_u64(bytes)?, take_u64(bytes)?);
        let version_max = (take_u64(bytes)?, take_u64(bytes)?);
        if take_u64(bytes)? != length {
            return Err(DecodeError("footer: length of the file"));
        }
        let meta = FileMeta {
            min_time,
            max_time,
            series,
            index_pages,
            blocks,
            rows,
            values,
            version_min,
            version_max,
            bytes: length,
            is_cold,
        };
        Ok(Self { meta, top, schema })
    }
}
