//! One record: header, body, zeros up to the next block.
//!
//!      0  u32  magic 0x524a_4d54 ("TMJR")
//!      4  u32  crc32c of bytes 8..48
//!      8  u32  crc32c of the stored body
//!     12  u32  length of the stored body
//!     16  u32  length of the body
//!     20  u32  flags: 1 the stored body is an lz4 block, 2 a mark without meaning for the reader
//!     24  u64  sequence
//!     32  u64  epoch of its segment
//!     40  u64  highest sequence known durable when it was written
//!     48  ...  stored body
//!
//! Header and body have their own checksums, so that a record whose body is torn still tells where it ends.

use std::ops::Range;

use super::Compression;
use crate::checksum;
use crate::disk::{AlignedBuffer, BLOCK_BYTES};
use crate::error::{Error, Result};

pub const RECORD_HEADER_BYTES: usize = 48;

/// Longest body. Far beyond the largest accepted request, and what replay may have to hold at once.
pub const RECORD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Below this ratio the reader's and writer's CPU costs more than the disk's bandwidth.
pub(super) const RATIO_MIN: f64 = 1.3;

/// Bodies below this fill one or two blocks anyway.
const COMPRESSED_BYTES_MIN: usize = 2 * BLOCK_BYTES;

/// After a body that did not pay, so many are not tried.
const UNTRIED_BODIES: u32 = 255;

const MAGIC: u32 = 0x524a_4d54;
const FLAG_LZ4: u32 = 1;
const FLAG_MARK: u32 = 2;

/// A record being filled: the body is written in place, behind room for the header.
pub struct Record {
    buffer: AlignedBuffer,
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

impl Record {
    pub fn new() -> Self {
        Self::with_room(0)
    }

    /// An empty record that takes a body of so many bytes without growing.
    pub fn with_room(body_bytes: usize) -> Self {
        let mut buffer = AlignedBuffer::with_room(RECORD_HEADER_BYTES + body_bytes);
        buffer.resize(RECORD_HEADER_BYTES);
        Self { buffer }
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub fn body_len(&self) -> usize {
        self.buffer.len() - RECORD_HEADER_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.body_len() == 0
    }

    pub fn body(&self) -> &[u8] {
        &self.buffer.as_slice()[RECORD_HEADER_BYTES..]
    }
}

/// A record whose length on disk is known; the place is not yet.
pub(super) struct Packed {
    buffer: AlignedBuffer,
    raw_len: u32,
    flags: u32,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub sequence: u64,
    pub epoch: u64,
    pub durable: u64,
}

/// Compresses bodies while that pays.
pub(super) struct Packer {
    compression: Compression,
    untried: u32,
    scratch: AlignedBuffer,
}

impl Packer {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compression, untried: 0, scratch: AlignedBuffer::new() }
    }

    pub(super) fn pack(&mut self, record: Record) -> Result<Packed> {
        let raw_len = record.body_len();
        if raw_len > RECORD_BYTES_MAX {
            let (wanted, max) = (raw_len as u64, RECORD_BYTES_MAX as u64);
            return Err(Error::Limit { name: "journal record", wanted, max });
        }
        let raw_len = raw_len as u32;
        let mut packed = Packed { buffer: record.buffer, raw_len, flags: 0 };
        if self.compression == Compression::WhenItPays && raw_len as usize >= COMPRESSED_BYTES_MIN {
            match self.untried {
                0 => self.compress(&mut packed),
                _ => self.untried -= 1,
            }
        }
        Ok(packed)
    }

    fn compress(&mut self, packed: &mut Packed) {
        let raw = &packed.buffer.as_slice()[RECORD_HEADER_BYTES..];
        let room = lz4_flex::block::get_maximum_output_size(raw.len());
        self.scratch.resize(RECORD_HEADER_BYTES + room);
        let output = &mut self.scratch.as_mut_slice()[RECORD_HEADER_BYTES..];
        match lz4_flex::block::compress_into(raw, output) {
            Ok(length) if raw.len() as f64 >= length as f64 * RATIO_MIN => {
                self.scratch.resize(RECORD_HEADER_BYTES + length);
                std::mem::swap(&mut self.scratch, &mut packed.buffer);
                packed.flags |= FLAG_LZ4;
            }
            _ => self.untried = UNTRIED_BODIES,
        }
    }
}

impl Packed {
    /// A record only for its place: it proves that all before it is durable.
    pub(super) fn mark() -> Self {
        Self { buffer: Record::new().buffer, raw_len: 0, flags: FLAG_MARK }
    }

    pub(super) fn is_mark(&self) -> bool {
        self.flags & FLAG_MARK != 0
    }

    /// Bytes it takes on disk.
    pub(super) fn padded_len(&self) -> usize {
        self.buffer.len().next_multiple_of(BLOCK_BYTES)
    }

    /// Fills the header in: the whole record as it is written.
    pub(super) fn seal(mut self, place: Place) -> AlignedBuffer {
        let stored = &self.buffer.as_slice()[RECORD_HEADER_BYTES..];
        let (stored_len, body_crc) = (stored.len() as u32, checksum::of(stored));
        let mut header = [0; RECORD_HEADER_BYTES];
        header[8..12].copy_from_slice(&body_crc.to_le_bytes());
        header[12..16].copy_from_slice(&stored_len.to_le_bytes());
        header[16..20].copy_from_slice(&self.raw_len.to_le_bytes());
        header[20..24].copy_from_slice(&self.flags.to_le_bytes());
        header[24..32].copy_from_slice(&place.sequence.to_le_bytes());
        header[32..40].copy_from_slice(&place.epoch.to_le_bytes());
        header[40..48].copy_from_slice(&place.durable.to_le_bytes());
        header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        let header_crc = checksum::of(&header[8..]);
        header[4..8].copy_from_slice(&header_crc.to_le_bytes());
        self.buffer.as_mut_slice()[..RECORD_HEADER_BYTES].copy_from_slice(&header);
        self.buffer.pad();
        self.buffer
    }
}

/// A header whose checksum is right and whose epoch is its segment's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub sequence: u64,
    pub durable: u64,
    body_crc: u32,
    stored_len: u32,
    raw_len: u32,
    flags: u32,
}

impl Header {
    /// The header at `at`; none when there is no sound one of this epoch.
    pub(super) fn read(bytes: &[u8], at: usize, epoch: u64) -> Option<Self> {
        let header = bytes.get(at..at.checked_add(RECORD_HEADER_BYTES)?)?;
        if u32_at(header, 0) != MAGIC || u64_at(header, 32) != epoch {
            return None;
        }
        if !checksum::is(&header[8..], u32_at(header, 4)) {
            return None;
        }
        let header = Self {
            sequence: u64_at(header, 24),
            durable: u64_at(header, 40),
            body_crc: u32_at(header, 8),
            stored_len: u32_at(header, 12),
            raw_len: u32_at(header, 16),
            flags: u32_at(header, 20),
        };
        let lengths_are_sane = header.raw_len as usize <= RECORD_BYTES_MAX
            && (header.flags & FLAG_LZ4 != 0 || header.stored_len == header.raw_len);
        (lengths_are_sane && header.sequence > 0).then_some(header)
    }

    pub(super) fn is_mark(&self) -> bool {
        self.flags & FLAG_MARK != 0
    }

    /// Bytes the whole record takes.
    pub(super) fn padded_len(&self) -> usize {
        (RECORD_HEADER_BYTES + self.stored_len as usize).next_multiple_of(BLOCK_BYTES)
    }

    /// Where the body behind this header, at `at`, stands; a compressed one is put into `body` instead. Says what is
    /// wrong with it otherwise.
    pub(super) fn read_body(
        &self,
        bytes: &[u8],
        at: usize,
        body: &mut Vec<u8>,
    ) -> Result<Option<Range<usize>>, &'static str> {
        let start = at + RECORD_HEADER_BYTES;
        let range = start..start + self.stored_len as usize;
        let stored = bytes.get(range.clone()).ok_or("record reaches past the end")?;
        if !checksum::is(stored, self.body_crc) {
            return Err("checksum of a record's body");
        }
        if self.flags & FLAG_LZ4 == 0 {
            return Ok(Some(range));
        }
        body.clear();
        body.resize(self.raw_len as usize, 0);
        match lz4_flex::block::decompress_into(stored, body) {
            Ok(length) if length == self.raw_len as usize => Ok(None),
            _ => Err("compressed body of a record"),
        }
    }

    /// Whether the body is whole, without decoding it.
    pub(super) fn body_is_sound(&self, bytes: &[u8], at: usize) -> bool {
        let start = at + RECORD_HEADER_BYTES;
        let stored = bytes.get(start..start + self.stored_len as usize);
        stored.is_some_and(|stored| checksum::is(stored, self.body_crc))
    }
}

/// Whether the bytes at `at` look like the beginning of a record of this epoch, sound or with one damage in its header.
pub(super) fn looks_begun(bytes: &[u8], at: usize, epoch: u64) -> bool {
    let Some(header) = bytes.get(at..at.saturating_add(RECORD_HEADER_BYTES)) else {
        return false;
    };
    match checksum::is(&header[8..], u32_at(header, 4)) {
        true => u64_at(header, 32) == epoch,
        false => u32_at(header, 0) == MAGIC,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
