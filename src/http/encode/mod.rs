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
pub struct Encoder {
    writer: Writer,
    /// Rows that may still be written; `None` is no limit.
    rows_left: Option<usize>,
}

#[derive(Debug)]
enum Writer {
    Json(json::JsonEncoder),
    Csv(csv::CsvEncoder),
    MessagePack(msgpack::MessagePackEncoder),
}

impl Encoder {
    pub fn new(options: Options) -> Self {
        let writer = match options.format {
            Format::Json { pretty } => Writer::Json(json::JsonEncoder::new(options, pretty)),
            Format::Csv => Writer::Csv(csv::CsvEncoder::new(options)),
            Format::MessagePack => Writer::MessagePack(msgpack::MessagePackEncoder::new(options)),
        };
        let is_limited = options.row_max > 0 && options.chunk_size.is_none();
        Self { writer, rows_left: is_limited.then_some(options.row_max) }
    }

    pub fn begin_statement(&mut self, id: u64) {
        match &mut self.writer {
            Writer::Json(encoder) => encoder.begin_statement(id),
            Writer::Csv(encoder) => encoder.begin_statement(),
            Writer::MessagePack(encoder) => encoder.begin_statement(id),
        }
    }

    /// Rows beyond the limit are left out, and their series says so.
    pub fn series(&mut self, series: &Series) {
        if self.is_full() || series.rows() == 0 && series.columns.is_empty() {
            return;
        }
        let Some(left) = &mut self.rows_left else { return self.writer.series(series) };
        let is_cut = series.rows() > *left;
        if is_cut {
            self.writer.series(&series.first_rows(*left));
            self.writer.mark_cut();
            *left = 0;
        } else {
            *left -= series.rows();
            self.writer.series(series);
        }
    }

    pub fn message(&mut self, level: &str, text: &str) {
        match &mut self.writer {
            Writer::Json(encoder) => encoder.message(level, text),
            Writer::Csv(_) => {}
            Writer::MessagePack(encoder) => encoder.message(level, text),
        }
    }

    pub fn end_statement(&mut self, error: Option<&str>) {
        match &mut self.writer {
            Writer::Json(encoder) => encoder.end_statement(error),
            Writer::Csv(encoder) => encoder.end_statement(error),
            Writer::MessagePack(encoder) => encoder.end_statement(error),
        }
    }

    /// No more statements.
    pub fn finish(&mut self) {
        match &mut self.writer {
            Writer::Json(encoder) => encoder.finish(),
            Writer::Csv(_) => {}
            Writer::MessagePack(encoder) => encoder.finish(),
        }
    }

    /// Bytes ready to be sent and not yet taken.
    pub fn ready(&self) -> usize {
        match &self.writer {
            Writer::Json(encoder) => encoder.out.len(),
            Writer::Csv(encoder) => encoder.out.len(),
            Writer::MessagePack(encoder) => encoder.ready(),
        }
    }

    /// Bytes that cannot be sent yet, because the length of what they stand in is not known.
    pub fn held_bytes(&self) -> u64 {
        match &self.writer {
            Writer::Json(_) | Writer::Csv(_) => 0,
            Writer::MessagePack(encoder) => encoder.held_bytes(),
        }
    }

    /// Takes the bytes so far.
    pub fn take(&mut self) -> Vec<u8> {
        match &mut self.writer {
            Writer::Json(encoder) => encoder.take(),
            Writer::Csv(encoder) => std::mem::take(&mut encoder.out),
            Writer::MessagePack(encoder) => encoder.take(),
        }
    }

    /// Whether there are as many rows as there may be: what follows is not written.
    pub fn is_full(&self) -> bool {
        self.rows_left == Some(0)
    }
}

impl Writer {
    fn series(&mut self, series: &Series) {
        match self {
            Self::Json(encoder) => encoder.series(series),
            Self::Csv(encoder) => encoder.series(series),
            Self::MessagePack(encoder) => encoder.series(series),
        }
    }

    /// Rows of the last series are missing.
    fn mark_cut(&mut self) {
        match self {
            Self::Json(encoder) => encoder.mark_cut(),
            Self::Csv(_) => {}
            Self::MessagePack(encoder) => encoder.mark_cut(),
        }
    }
}

#[cfg(test)]
mod tests;
