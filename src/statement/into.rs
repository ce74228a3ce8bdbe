//! SELECT … INTO: the rows of an answer written back as points, through the write path.

use std::rc::Rc;

use tidemark_engine::pace::Pace;

use super::Result;
use crate::cores::Cores;
use crate::line_protocol::{Precision, format};
use crate::query::error::QueryError;
use crate::query::into::{PointRows, PointWriter};
use crate::write::{Consistency, Owners, WriteError, WriteRequest, Writer};

/// Writes rows of a SELECT as line protocol.
pub struct IntoWriter<'a> {
    writer: &'a Rc<Writer<Owners>>,
    cores: &'a Cores,
    lines: Vec<u8>,
    pace: Pace,
}

/// Nanoseconds, about, that a field of a line takes.
const FIELD_NS: u64 = 50;

impl<'a> IntoWriter<'a> {
    pub fn new(writer: &'a Rc<Writer<Owners>>, cores: &'a Cores) -> Self {
        Self { writer, cores, lines: Vec::new(), pace: Pace::new() }
    }

    /// One row as a line; a row without a value is none.
    fn line(&mut self, key: &[u8], rows: &PointRows<'_>, row: usize) {
        let start = self.lines.len();
        self.lines.extend_from_slice(key);
        let mut separator = b' ';
        for (name, column) in rows.fields.iter().zip(rows.columns) {
            let Some(value) = column.get(row) else { continue };
            if matches!(value, tidemark_engine::model::Value::Float(float) if !float.is_finite()) {
                continue;
            }
            self.lines.push(separator);
            separator = b',';
            format::put_field_key(&mut self.lines, name);
            self.lines.push(b'=');
            format::put_value(&mut self.lines, &value);
        }
        if separator == b' ' {
            self.lines.truncate(start);
            return;
        }
        self.lines.push(b' ');
        self.lines.extend_from_slice(itoa::Buffer::new().format(rows.times[row]).as_bytes());
        self.lines.push(b'\n');
    }
}

impl PointWriter for IntoWriter<'_> {
    async fn write(&mut self, rows: PointRows<'_>) -> Result<()> {
        let mut key = Vec::new();
        format::put_measurement(&mut key, rows.measurement);
        for (name, value) in rows.tags.iter().filter(|(_, value)| !value.is_empty()) {
            format::put_tag(&mut key, name, value);
        }
        self.lines.clear();
        for row in 0..rows.times.len() {
            self.line(&key, &rows, row);
            self.pace.spent(FIELD_NS * (rows.columns.len() as u64 + 1)).await;
        }
        let request = WriteRequest {
            database: &rows.place.database,
            retention_policy: &rows.place.retention_policy,
            precision: Precision::Nanosecond,
            consistency: Consistency::Any,
            now: self.cores.runtime().wall_ns(),
            unsigned: true,
            validate_keys: false,
        };
        match self.writer.write_lines(&request, &self.lines).await {
            Ok(_) => Ok(()),
            Err(WriteError::Partial { reason, dropped, .. }) => {
                Err(QueryError::statement(format!("partial write: {reason} dropped={dropped}")))
            }
            Err(error) => Err(QueryError::statement(error.to_string())),
        }
    }
}
