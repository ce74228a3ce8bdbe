//! Statement results to bytes: JSON as Go's encoder writes it, CSV, MessagePack. Streamed: an [`Encoder`] takes pieces
//! and gives the bytes it has so far.
//!
//! Unchunked, a statement's pieces of one series become one series. Chunked, every series, and every `chunk_size` rows
//! of one, are a document of their own, marked `partial` while more follow.

pub mod csv;
pub mod json;
pub mod msgpack;
pub mod time;

use crate::query::result::Series;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json { pretty: bool },
    Csv,
    MessagePack,
}

impl Format {
    /// The first acceptable one of an `Accept` header; JSON when there is none.
    pub fn from_accept(accept: &str) -> Self {
        for item in accept.split(',') {
            match item.split(';').next().unwrap_or_default().trim() {
                "application/json" | "*/*" | "application/*" => return Self::Json { pretty: false },
                "application/csv" | "text/csv" | "text/*" => return Self::Csv,
                "application/x-msgpack" => return Self::MessagePack,
                _ => {}
            }
        }
        Self::Json { pretty: false }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json { .. } => "application/json",
            Self::Csv => "text/csv",
            Self::MessagePack => "application/x-msgpack",
        }
    }
}

/// The unit of times; without one they are RFC 3339 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Nanoseconds of the unit.
    pub unit: i64,
}

impl Epoch {
    /// From the `epoch` parameter: any unknown text means nanoseconds, none means text.
    pub fn from_parameter(epoch: &str) -> Option<Self> {
        let unit = match epoch {
            "" => return None,
            "u" | "us" | "µ" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => 1,
        };
        Some(Self { unit })
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub format: Format,
    pub epoch: Option<Epoch>,
    /// Rows of a chunk; `None`: not chunked.
    pub chunk_size: Option<usize>,
    /// Most rows of an unchunked answer; 0 is no limit.
    pub row_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { format: Format::Json { pretty: false }, epoch: None, chunk_size: None, row_max: 0 }
    }
}

/// One answer being written. One per request.
#[derive(Debug)]
pub enum Encoder {
    Json(json::JsonEncoder),
    Csv(csv::CsvEncoder),
    MessagePack(msgpack::MessagePackEncoder),
}

impl Encoder {
    pub fn new(options: Options) -> Self {
        match options.format {
            Format::Json { pretty } => Self::Json(json::JsonEncoder::new(options, pretty)),
            Format::Csv => Self::Csv(csv::CsvEncoder::new(options)),
            Format::MessagePack => Self::MessagePack(msgpack::MessagePackEncoder::new(options)),
        }
    }

    pub fn begin_statement(&mut self, id: u64) {
        match self {
            Self::Json(encoder) => encoder.begin_statement(id),
            Self::Csv(encoder) => encoder.begin_statement(),
            Self::MessagePack(encoder) => encoder.begin_statement(id),
        }
    }

    pub fn series(&mut self, series: &Series) {
        if series.rows() == 0 && series.columns.is_empty() {
            return;
        }
        match self {
            Self::Json(encoder) => encoder.series(series),
            Self::Csv(encoder) => encoder.series(series),
            Self::MessagePack(encoder) => encoder.series(series),
        }
    }

    pub fn message(&mut self, level: &str, text: &str) {
        match self {
            Self::Json(encoder) => encoder.message(level, text),
            Self::Csv(_) => {}
            Self::MessagePack(encoder) => encoder.message(level, text),
        }
    }

    pub fn end_statement(&mut self, error: Option<&str>) {
        match self {
            Self::Json(encoder) => encoder.end_statement(error),
            Self::Csv(encoder) => encoder.end_statement(error),
            Self::MessagePack(encoder) => encoder.end_statement(error),
        }
    }

    /// No more statements.
    pub fn finish(&mut self) {
        match self {
            Self::Json(encoder) => encoder.finish(),
            Self::Csv(_) => {}
            Self::MessagePack(encoder) => encoder.finish(),
        }
    }

    /// Bytes ready to be sent and not yet taken.
    pub fn ready(&self) -> usize {
        match self {
            Self::Json(encoder) => encoder.out.len(),
            Self::Csv(encoder) => encoder.out.len(),
            Self::MessagePack(encoder) => encoder.ready(),
        }
    }

    /// Takes the bytes so far.
    pub fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Json(encoder) => encoder.take(),
            Self::Csv(encoder) => std::mem::take(&mut encoder.out),
            Self::MessagePack(encoder) => encoder.take(),
        }
    }

    /// Whether the row limit is reached: what follows would not be written.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Json(encoder) if encoder.is_full())
    }
}
