//! What may go wrong with a query, in the words clients know.

use std::fmt;

use tidemark_engine::Error as EngineError;

pub type Result<T, E = QueryError> = std::result::Result<T, E>;

/// Ends a statement; its `Display` is the text of the statement's `error`.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryError {
    /// The statement is wrong, or names what is not there. The text is InfluxDB's.
    Statement(String),
    /// `max-select-series`.
    SeriesMax { wanted: u64, max: u64 },
    /// `max-select-buckets`.
    BucketsMax { wanted: u64, max: u64 },
    /// `max-select-point`.
    PointsMax { wanted: u64, max: u64 },
    /// The query wanted more memory than one query may have.
    Memory { wanted: u64, max: u64 },
    /// `KILL QUERY`.
    Killed,
    /// `query-timeout`.
    Timeout,
    /// The client went away.
    Aborted,
    /// The server is closing.
    Shutdown,
    /// A core could not answer.
    Engine(EngineError),
}

impl QueryError {
    pub fn statement(text: impl Into<String>) -> Self {
        Self::Statement(text.into())
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement(text) => f.write_str(text),
            Self::SeriesMax { wanted, max } => {
                write!(f, "max-select-series limit exceeded: ({wanted}/{max})")
            }
            Self::BucketsMax { wanted, max } => {
                write!(f, "max-select-buckets limit exceeded: ({wanted}/{max})")
            }
            // The missing letter is part of the text clients know.
            Self::PointsMax { wanted, max } => write!(f, "max-select-point limit exceeed: ({wanted}/{max})"),
            Self::Memory { wanted, max } => write!(
                f,
                "query needs {wanted} bytes of memory, {max} are allowed: narrow the time range, select fewer \
                 series, or group by a longer interval"
            ),
            Self::Killed => f.write_str("query interrupted"),
            Self::Timeout => f.write_str("query-timeout limit exceeded"),
            Self::Aborted => f.write_str("query aborted"),
            Self::Shutdown => f.write_str("query engine shutdown"),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for QueryError {}

impl From<EngineError> for QueryError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Budget { wanted, max } => Self::Memory { wanted, max },
            EngineError::Limit { wanted, max, .. } => Self::SeriesMax { wanted, max },
            EngineError::Cancelled => Self::Killed,
            other => Self::Engine(other),
        }
    }
}
