//! The one error of this crate, with the facts a reader needs. Clients' wording is not made here.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Clonable, because one failed group commit fails every write that waited for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    /// Bytes on disk are not what was written.
    Corrupted { file: String, offset: u64, what: String },
    /// The operating system refused.
    Io { operation: &'static str, path: String, errno: i32 },
    /// An earlier write or sync failed: nothing more is written until a restart.
    ReadOnly { reason: String },
    /// No room on the disk.
    DiskFull { free_bytes: u64 },
    /// A pool or queue is full; the caller may try again.
    Full { what: &'static str },
    /// A fixed bound was exceeded.
    Limit { name: &'static str, wanted: u64, max: u64 },
    /// A query wanted more memory than it may have.
    Budget { wanted: u64, max: u64 },
    /// The request was cancelled or its deadline passed.
    Cancelled,
    /// The store is closing, or the shard is gone.
    Closed,
    /// A request that makes no sense, said in a sentence.
    Invalid(String),
}

impl Error {
    /// Whether the disk failed to take something: a write, a sync or a change of names. After that nothing it said before
    /// can be relied on, and nothing more is written until a restart has read what is really there.
    pub fn is_failed_write(&self) -> bool {
        match self {
            Self::Io { operation, errno, .. } => match *operation {
                "write" | "sync" => true,
                "read" | "open" | "length" | "list" | "free bytes" => *errno == libc::EROFS,
                // A name that is gone, or a process out of descriptors, says nothing about the disk.
                _ => !matches!(*errno, libc::ENOENT | libc::EMFILE | libc::ENFILE | libc::ENOMEM),
            },
            Self::ReadOnly { .. } => true,
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupted { file, offset, what } => {
                write!(f, "corrupted: {file} at byte {offset}: {what}")
            }
            Self::Io { operation, path, errno } => {
                write!(f, "{operation} {path}: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::ReadOnly { reason } => write!(f, "read-only: {reason}"),
            Self::DiskFull { free_bytes } => write!(f, "disk full: {free_bytes} bytes free"),
            Self::Full { what } => write!(f, "{what} is full"),
            Self::Limit { name, wanted, max } => write!(f, "{name} exceeded: {wanted} wanted, {max} allowed"),
            Self::Budget { wanted, max } => {
                write!(f, "query needs {wanted} bytes of memory, {max} are allowed")
            }
            Self::Cancelled => f.write_str("cancelled"),
            Self::Closed => f.write_str("closed"),
            Self::Invalid(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
