//! CSV: a header per statement, then `name,tags,values…` per row.

use std::rc::Rc;

use tidemark_engine::model::series_key::escape_tag_into;
use tidemark_engine::model::{Column, ColumnData};

use super::Options;
use super::json::put_go_float;
use crate::query::result::{Cell, Cells, Series};

/// See [`super::Encoder`].
#[derive(Debug)]
pub struct CsvEncoder {
    options: Options,
    pub(super) out: Vec<u8>,
    /// Columns of the header written last in this statement.
    columns: Option<Rc<[Vec<u8>]>>,
    any: bool,
}

impl CsvEncoder {
    pub fn new(options: Options) -> Self {
        Self { options, out: Vec::new(), columns: None, any: false }
    }

    pub fn begin_statement(&mut self) {
        self.columns = None;
    }

    pub fn series(&mut self, series: &Series) {
        if self.columns.as_ref() != Some(&series.columns) {
            if self.any {
                self.out.push(b'\n');
            }
            self.any = true;
            self.out.extend_from_slice(b"name,tags");
            for column in &*series.columns {
                self.out.push(b',');
                put_text(&mut self.out, column);
            }
            self.out.push(b'\n');
            self.columns = Some(series.columns.clone());
        }
        let mut tags = Vec::new();
        for (key, value) in &series.tags {
            if !tags.is_empty() {
                tags.push(b',');
            }
            escape_tag_into(&mut tags, key);
            tags.push(b'=');
            escape_tag_into(&mut tags, value);
        }
        let mut head = Vec::new();
        put_text(&mut head, &series.name);
        head.push(b',');
        put_text(&mut head, &tags);
        for row in 0..series.rows() {
            self.out.extend_from_slice(&head);
            for cells in &series.values {
                self.out.push(b',');
                match cells {
                    Cells::Times(times) => self.time(times[row]),
                    Cells::Typed(column) => put_value(&mut self.out, column, row),
                    Cells::Mixed(cells) => self.cell(&cells[row]),
                }
            }
            self.out.push(b'\n');
        }
    }

    fn time(&mut self, time: i64) {
        let time = self.options.epoch.map_or(time, |epoch| time / epoch.unit);
        self.out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
    }

    fn cell(&mut self, cell: &Cell) {
        match cell {
            Cell::Null | Cell::List(_) => {}
            Cell::Time(time) => self.time(*time),
            Cell::Float(value) if value.is_finite() => put_go_float(&mut self.out, *value, false),
            Cell::Float(_) => {}
            Cell::Integer(value) => self.out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
            Cell::Unsigned(value) => {
                self.out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes())
            }
            Cell::Boolean(value) => self.out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Cell::String(text) => put_text(&mut self.out, text),
        }
    }

    pub fn end_statement(&mut self, error: Option<&str>) {
        if let Some(error) = error {
            if self.any {
                self.out.push(b'\n');
            }
            self.any = true;
            self.out.extend_from_slice(b"error\n");
            put_text(&mut self.out, error.as_bytes());
            self.out.push(b'\n');
        }
    }
}

fn put_value(out: &mut Vec<u8>, column: &Column, row: usize) {
    if !column.is_present(row) {
        return;
    }
    match &column.data {
        ColumnData::Float(values) if !values[row].is_finite() => {}
        ColumnData::Float(values) => put_go_float(out, values[row], false),
        ColumnData::Integer(values) => {
            out.extend_from_slice(itoa::Buffer::new().format(values[row]).as_bytes())
        }
        ColumnData::Unsigned(values) => {
            out.extend_from_slice(itoa::Buffer::new().format(values[row]).as_bytes())
        }
        ColumnData::Boolean(values) => out.extend_from_slice(if values[row] { b"true" } else { b"false" }),
        ColumnData::String(values) => put_text(out, values.get(row)),
    }
}

/// A field, quoted where Go's writer quotes it.
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let quoted = text == b"\\."
        || matches!(text.first(), Some(b' ' | b'\t'))
        || text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'));
    if !quoted {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::super::{Encoder, Format};
    use super::*;

    #[test]
    fn rows_carry_the_name_and_tags_of_their_series() {
        let mut encoder = Encoder::new(Options { format: Format::Csv, ..Options::default() });
        encoder.begin_statement(0);
        encoder.series(&Series {
            name: b"m".to_vec(),
            tags: vec![(b"host".to_vec(), b"a b".to_vec()), (b"r".to_vec(), b"x".to_vec())],
            columns: [b"time".to_vec(), b"v".to_vec(), b"s".to_vec()].into(),
            values: vec![
                Cells::Times(vec![10]),
                Cells::Mixed(vec![Cell::Null]),
                Cells::Mixed(vec![Cell::text("say \"hi\"")]),
            ],
            ..Series::default()
        });
        encoder.end_statement(None);
        encoder.finish();
        assert_eq!(
            String::from_utf8_lossy(&encoder.take()),
            "name,tags,time,v,s\nm,\"host=a\\ b,r=x\",10,,\"say \"\"hi\"\"\"\n"
        );
    }
}
