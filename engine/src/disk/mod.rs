//! DOOR 1: the disk.
//!
//! Promises both sides keep, and the engine relies on:
//! 1. What `write_at` to a file opened with [`OpenMode::WriteDurable`] has answered, is on stable storage.
//! 2. A file created, renamed or removed is so after a power cut once `sync_dir` of its folder has answered.
//! 3. Buffers, offsets and lengths of writes are multiples of [`BLOCK_BYTES`]; reads may ask for any range.
//! 4. A write is not atomic: after a crash any prefix, or any subset of its blocks, may be there.
//!
//! Paths are relative to the disk's root and use `/`.

mod buffer;
#[cfg(feature = "sim")]
pub mod sim;
pub mod uring;

pub use buffer::AlignedBuffer;

use crate::error::Result;

/// Alignment of buffers, offsets and lengths of writes.
pub const BLOCK_BYTES: usize = 4096;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading.
    Read,
    /// For writing with an explicit `sync` before the bytes count as durable. Created when missing.
    Write,
    /// Each write is durable when it answers (O_DSYNC). Created when missing.
    WriteDurable,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    /// Bytes of a file; 0 for a folder.
    pub length: u64,
}

/// A disk, cheap to clone, used by one core.
pub trait Disk: Clone + 'static {
    type File: DiskFile;

    async fn open(&self, path: &str, mode: OpenMode) -> Result<Self::File>;
    /// Replaces `to` when it exists.
    async fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Removing what is not there is no error.
    async fn remove_file(&self, path: &str) -> Result<()>;
    /// Removes a folder and all in it; what is not there is no error.
    async fn remove_dir_all(&self, path: &str) -> Result<()>;
    /// Creates a folder and its parents. They survive a power cut when it answers, also those that were there before:
    /// another core may have made them a moment ago.
    async fn create_dir_all(&self, path: &str) -> Result<()>;
    async fn sync_dir(&self, path: &str) -> Result<()>;
    /// Makes durable whatever can be read now. What a start does first: a process that was killed leaves names and bytes
    /// behind that can be read, and yet would not survive a power cut, and the start builds on them.
    async fn sync_all(&self) -> Result<()>;
    /// The entries of a folder sorted by name; empty when it does not exist.
    async fn list(&self, path: &str) -> Result<Vec<DirEntry>>;
    /// Bytes a write may still take.
    async fn free_bytes(&self) -> Result<u64>;
}

/// An open file. Closed by [`DiskFile::close`]; a dropped file closes later, in the background.
pub trait DiskFile: 'static {
    /// `length` bytes from `offset`, fewer only at the end of the file.
    async fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>>;
    /// Writes the whole buffer and hands it back; it may have lost the room beyond its length.
    async fn write_at(&self, offset: u64, buffer: AlignedBuffer) -> Result<AlignedBuffer>;
    async fn sync(&self) -> Result<()>;
    /// Current length in bytes.
    async fn length(&self) -> Result<u64>;
    async fn truncate(&self, length: u64) -> Result<()>;
    async fn close(self) -> Result<()>;
}
