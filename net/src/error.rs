//! The one error of this crate.

use std::fmt;
use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a connection or a body ended early.
#[derive(Debug)]
pub enum Error {
    /// The peer or the kernel ended the connection.
    Io(io::Error),
    /// What came is not HTTP/1.1, or the answer could not be written.
    Protocol(String),
    /// The peer was silent for longer than its phase allows.
    Timeout(&'static str),
    /// A body has more bytes than it may have, compressed or decompressed.
    TooLarge { bytes_max: u64 },
    /// The pool of request bodies is full; the peer may try again.
    PoolFull { wanted: u64, limit: u64 },
    /// A compressed body does not decompress; the text is the one Go's gzip reader gives.
    Gzip(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Protocol(what) => f.write_str(what),
            Self::Timeout(phase) => write!(f, "timed out: {phase}"),
            Self::TooLarge { bytes_max } => write!(f, "body of more than {bytes_max} bytes"),
            Self::PoolFull { wanted, limit } => {
                write!(f, "no room for {wanted} bytes of a request body; the pool has {limit}")
            }
            Self::Gzip(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        Self::Protocol(error.to_string())
    }
}
