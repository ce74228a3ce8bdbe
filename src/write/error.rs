//! Why a write was not wholly done, with the status and the text clients of InfluxDB know.
//!
//! The commonest agents throw a batch away on any 4xx and send it again on any 5xx: what may succeed later is a 503
//! with a time to wait, what never will is a 400.

use std::fmt;

use tidemark_engine::Error;

use crate::meta::MetaError;

#[derive(Debug, Clone, PartialEq)]
pub enum WriteError {
    /// The request names no database.
    DatabaseRequired,
    DatabaseNotFound(String),
    RetentionPolicyNotFound(String),
    InvalidConsistency,
    InvalidPrecision(String),
    /// No line was a point: the texts of all lines, nothing was written.
    Unparsable(String),
    /// Some lines were written. `dropped` counts well-formed points that may not be stored.
    Partial {
        reason: String,
        dropped: u64,
        written: u64,
    },
    /// No room now: the same write may succeed in a while.
    Busy(String),
    /// The node takes no writes until somebody acts, or it is closing.
    Refused(String),
    /// The owners did not answer in time. The data may be there.
    Timeout,
    /// Anything else, in its own words.
    Failed(String),
}

/// Seconds a client is asked to wait where room is expected soon.
const BUSY_RETRY_SECONDS: u32 = 1;
/// Seconds a client is asked to wait where somebody must act first.
const REFUSED_RETRY_SECONDS: u32 = 10;

impl WriteError {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::DatabaseNotFound(_) => 404,
            Self::DatabaseRequired
            | Self::InvalidConsistency
            | Self::InvalidPrecision(_)
            | Self::Unparsable(_)
            | Self::Partial { .. } => 400,
            Self::Busy(_) | Self::Refused(_) => 503,
            Self::RetentionPolicyNotFound(_) | Self::Timeout | Self::Failed(_) => 500,
        }
    }

    /// Seconds for the `Retry-After` header, where there is one.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Busy(_) => Some(BUSY_RETRY_SECONDS),
            Self::Refused(_) => Some(REFUSED_RETRY_SECONDS),
            _ => None,
        }
    }
}

/// The text of the answer.
impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatabaseRequired => f.write_str("database is required"),
            Self::DatabaseNotFound(name) => write!(f, "database not found: \"{name}\""),
            Self::RetentionPolicyNotFound(name) => write!(f, "retention policy not found: {name}"),
            Self::InvalidConsistency => f.write_str("invalid consistency level"),
            Self::InvalidPrecision(token) => {
                write!(f, "invalid precision \"{token}\" (use n, u, ms, s, m or h)")
            }
            Self::Unparsable(lines) => f.write_str(lines),
            Self::Partial { reason, dropped, .. } => write!(f, "partial write: {reason} dropped={dropped}"),
            Self::Timeout => f.write_str("timeout"),
            Self::Busy(reason) | Self::Refused(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for WriteError {}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        match error {
            Error::Full { .. } => Self::Busy(error.to_string()),
            Error::ReadOnly { .. } | Error::DiskFull { .. } | Error::Closed => {
                Self::Refused(error.to_string())
            }
            Error::Cancelled => Self::Timeout,
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<MetaError> for WriteError {
    fn from(error: MetaError) -> Self {
        match error {
            MetaError::DatabaseNotFound(name) => Self::DatabaseNotFound(name),
            MetaError::RetentionPolicyNotFound(name) => Self::RetentionPolicyNotFound(name),
            MetaError::Unavailable(reason) => Self::Refused(reason),
            error => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status and text, byte for byte: clients compare and grep them.
    #[test]
    fn every_error_has_the_status_and_the_words_clients_know() {
        let check = |error: WriteError, status: u16, text: &str| {
            assert_eq!((error.status(), error.to_string().as_str()), (status, text));
        };
        check(WriteError::DatabaseRequired, 400, "database is required");
        check(WriteError::DatabaseNotFound("nope".into()), 404, "database not found: \"nope\"");
        check(WriteError::RetentionPolicyNotFound("zz".into()), 500, "retention policy not found: zz");
        check(WriteError::InvalidConsistency, 400, "invalid consistency level");
        check(
            WriteError::InvalidPrecision("zz".into()),
            400,
            "invalid precision \"zz\" (use n, u, ms, s, m or h)",
        );
        check(
            WriteError::Unparsable("unable to parse 'm': missing fields".into()),
            400,
            "unable to parse 'm': missing fields",
        );
        let partial =
            |reason: &str, dropped| WriteError::Partial { reason: reason.into(), dropped, written: 1 };
        check(
            partial("unable to parse 'm v=1,': invalid field format", 0),
            400,
            "partial write: unable to parse 'm v=1,': invalid field format dropped=0",
        );
        check(
            partial("points beyond retention policy", 3),
            400,
            "partial write: points beyond retention policy dropped=3",
        );
        check(WriteError::Timeout, 500, "timeout");
    }

    #[test]
    fn what_may_succeed_later_says_when_to_come_again() {
        let full = WriteError::from(Error::Full { what: "write pool" });
        assert_eq!((full.status(), full.retry_after()), (503, Some(1)));
        let read_only = WriteError::from(Error::ReadOnly { reason: "sync failed".into() });
        assert_eq!((read_only.status(), read_only.retry_after()), (503, Some(10)));
        let disk = WriteError::from(Error::DiskFull { free_bytes: 7 });
        assert_eq!((disk.status(), disk.to_string().as_str()), (503, "disk full: 7 bytes free"));
        assert_eq!(WriteError::InvalidConsistency.retry_after(), None);
    }
}
