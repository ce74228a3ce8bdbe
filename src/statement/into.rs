//! SELECT … INTO: the pieces of an answer written back as points, in batches, through the write path.

use std::rc::Rc;

use super::Result;
use crate::cores::Cores;
use crate::influxql::ast::{Measurement, MeasurementName};
use crate::line_protocol::{Precision, format};
use crate::query::error::QueryError;
use crate::query::result::{Cell, ResultSink, Series};
use crate::write::{Consistency, Owners, WriteError, WriteRequest, Writer};

/// Bytes of line protocol written at a time: some ten thousand points.
const BATCH_BYTES: usize = 1 << 20;

/// Takes pieces of a SELECT and writes their rows.
pub struct IntoSink<'a> {
    writer: &'a Rc<Writer<Owners>>,
    cores: &'a Cores,
    database: String,
    retention_policy: String,
    /// `None`: each series keeps its measurement's name (`INTO db.rp.:MEASUREMENT`).
    measurement: Option<Vec<u8>>,
    lines: Vec<u8>,
    written: u64,
    pending: u64,
}

impl<'a> IntoSink<'a> {
    pub fn new(
        target: &Measurement,
        database: &str,
        writer: &'a Rc<Writer<Owners>>,
        cores: &'a Cores,
    ) -> Result<Self> {
        let measurement = match &target.name {
            MeasurementName::Name(name) => Some(name.clone().into_bytes()),
            MeasurementName::BackReference => None,
            MeasurementName::Regex(_) => return Err(QueryError::statement("invalid measurement")),
        };
        Ok(Self {
            writer,
            cores,
            database: target.database.clone().unwrap_or_else(|| database.to_owned()),
            retention_policy: target.retention_policy.clone().unwrap_or_default(),
            measurement,
            lines: Vec::new(),
            written: 0,
            pending: 0,
        })
    }

    /// Writes what is left; the answer of the statement.
    pub async fn finish(mut self) -> Result<Series> {
        self.write().await?;
        let row = vec![Cell::Time(0), Cell::Integer(self.written as i64)];
        Ok(Series::from_rows(b"result", &["time", "written"], vec![row]))
    }

    async fn write(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let request = WriteRequest {
            database: &self.database,
            retention_policy: &self.retention_policy,
            precision: Precision::Nanosecond,
            consistency: Consistency::Any,
            now: self.cores.runtime().wall_ns(),
            unsigned: true,
            validate_keys: false,
        };
        match self.writer.write_lines(&request, &self.lines).await {
            Ok(_) => {}
            Err(WriteError::Partial { reason, dropped, .. }) => {
                return Err(QueryError::statement(format!("partial write: {reason} dropped={dropped}")));
            }
            Err(error) => return Err(QueryError::statement(error.to_string())),
        }
        self.written += std::mem::take(&mut self.pending);
        self.lines.clear();
        Ok(())
    }

    /// One row as a line; rows without a value are none.
    fn line(&mut self, series: &Series, row: usize) {
        let start = self.lines.len();
        let name = self.measurement.as_deref().unwrap_or(&series.name);
        format::put_measurement(&mut self.lines, name);
        for (key, value) in &series.tags {
            if !value.is_empty() {
                self.lines.push(b',');
                format::put_tag(&mut self.lines, key, value);
            }
        }
        let mut separator = b' ';
        let mut timestamp = 0;
        for (column, cells) in series.columns.iter().zip(&series.values) {
            let value = match cells.get(row) {
                Cell::Time(time) => {
                    timestamp = time;
                    continue;
                }
                cell => match value_of(cell) {
                    Some(value) => value,
                    None => continue,
                },
            };
            self.lines.push(separator);
            separator = b',';
            format::put_field_key(&mut self.lines, column);
            self.lines.push(b'=');
            format::put_value(&mut self.lines, &value);
        }
        if separator == b' ' {
            self.lines.truncate(start);
            return;
        }
        self.lines.push(b' ');
        self.lines.extend_from_slice(itoa::Buffer::new().format(timestamp).as_bytes());
        self.lines.push(b'\n');
        self.pending += 1;
    }
}

fn value_of(cell: Cell) -> Option<tidemark_engine::model::Value> {
    use tidemark_engine::model::Value;
    Some(match cell {
        Cell::Null | Cell::Time(_) | Cell::List(_) => return None,
        Cell::Float(value) if !value.is_finite() => return None,
        Cell::Float(value) => Value::Float(value),
        Cell::Integer(value) => Value::Integer(value),
        Cell::Unsigned(value) => Value::Unsigned(value),
        Cell::Boolean(value) => Value::Boolean(value),
        Cell::String(value) => Value::String(value),
    })
}

impl ResultSink for IntoSink<'_> {
    async fn series(&mut self, series: Series) -> Result<()> {
        for row in 0..series.rows() {
            self.line(&series, row);
            if self.lines.len() >= BATCH_BYTES {
                self.write().await?;
            }
        }
        Ok(())
    }

    async fn message(&mut self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }
}
