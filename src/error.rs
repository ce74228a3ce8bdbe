//! The errors a client can see: HTTP status and InfluxDB's exact text, once.

use std::fmt;

use tidemark_engine::Error as EngineError;
use tidemark_net::Error as NetError;

/// What a request is refused with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    pub text: String,
    /// The same request may succeed after so many seconds.
    pub retry_after_seconds: Option<u32>,
}

/// Seconds a client is asked to wait when a pool or queue is full: snapshots and slow readers need about one.
const RETRY_AFTER_SECONDS: u32 = 1;

impl ApiError {
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_after_seconds: None }
    }

    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }

    pub fn unauthorized(text: impl Into<String>) -> Self {
        Self::new(401, text)
    }

    pub fn forbidden(text: impl Into<String>) -> Self {
        Self::new(403, text)
    }

    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(404, text)
    }

    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(500, text)
    }

    /// Overload: the commonest agent throws its data away on any 4xx and tries again on this.
    pub fn overload(text: impl Into<String>) -> Self {
        Self { retry_after_seconds: Some(RETRY_AFTER_SECONDS), ..Self::new(503, text) }
    }

    pub fn body_too_large() -> Self {
        Self::new(413, "Request Entity Too Large")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ApiError {}

impl From<NetError> for ApiError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::TooLarge { .. } => Self::body_too_large(),
            NetError::PoolFull { .. } => Self::overload(error.to_string()),
            NetError::Gzip(text) => Self::bad_request(text),
            NetError::Io(_) | NetError::Protocol(_) | NetError::Timeout(_) => {
                Self::bad_request(error.to_string())
            }
        }
    }
}

/// What a core could not do with a write.
impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Full { .. } => Self::overload(format!("engine: {error}, try again")),
            EngineError::DiskFull { .. } | EngineError::ReadOnly { .. } => Self::overload(error.to_string()),
            EngineError::Closed => Self::new(503, "server is shutting down"),
            EngineError::Cancelled => Self::internal("timeout"),
            EngineError::Corrupted { .. }
            | EngineError::Io { .. }
            | EngineError::Limit { .. }
            | EngineError::Budget { .. }
            | EngineError::Invalid(_) => Self::internal(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_is_a_503_that_says_when_to_come_back() {
        for error in [
            ApiError::from(EngineError::Full { what: "write pool" }),
            ApiError::from(NetError::PoolFull { wanted: 1, limit: 0 }),
            ApiError::from(EngineError::DiskFull { free_bytes: 10 }),
        ] {
            assert_eq!((error.status, error.retry_after_seconds), (503, Some(1)), "{error}");
        }
        assert_eq!(ApiError::from(NetError::Gzip("unexpected EOF")).text, "unexpected EOF");
    }
}
