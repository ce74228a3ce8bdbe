//! MessagePack: the tree of the JSON answer, times as extension 5 (seconds and nanoseconds).
//!
//! Arrays come with their length first, which is not known while streaming: a document is held until it is whole. A
//! chunked answer's documents are the chunks. A result with an error is its error alone.

use tidemark_engine::model::{Column, ColumnData};

use super::Options;
use crate::query::result::{Cell, Cells, Cut, Series};

/// See [`super::Encoder`].
#[derive(Debug)]
pub struct MessagePackEncoder {
    options: Options,
    out: Vec<u8>,
    results: Vec<Vec<u8>>,
    statement: u64,
    series: Vec<Held>,
    messages: Vec<(String, String)>,
    /// Of the document that is not whole.
    held_bytes: u64,
}

/// A series of the current result: its head, and its rows as bytes.
#[derive(Debug)]
struct Held {
    head: Series,
    rows: u32,
    bytes: Vec<u8>,
    partial: bool,
}

impl MessagePackEncoder {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            out: Vec::new(),
            results: Vec::new(),
            statement: 0,
            series: Vec::new(),
            messages: Vec::new(),
            held_bytes: 0,
        }
    }

    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    pub fn ready(&self) -> usize {
        self.out.len()
    }

    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    pub fn begin_statement(&mut self, id: u64) {
        self.statement = id;
    }

    pub fn message(&mut self, level: &str, text: &str) {
        self.messages.push((level.to_string(), text.to_string()));
    }

    pub fn series(&mut self, series: &Series) {
        let chunk = self.options.chunk_size.filter(|_| series.cut != Cut::Never);
        for row in 0..series.rows().max(1) {
            let same = self.series.last().is_some_and(|held| held.head.is_same_series(series));
            let cut = same
                && series.cut == Cut::Rows
                && chunk.is_some_and(|size| {
                    self.series.last().is_some_and(|held| held.rows as usize >= size.max(1))
                });
            if !same || cut {
                if chunk.is_some() && !self.series.is_empty() {
                    if let Some(last) = self.series.last_mut() {
                        last.partial = cut;
                    }
                    self.end_result(series.cut == Cut::Rows, None);
                    self.document();
                }
                let head = Series {
                    name: series.name.clone(),
                    tags: series.tags.clone(),
                    columns: series.columns.clone(),
                    ..Series::default()
                };
                self.held_bytes += head_bytes(&head);
                self.series.push(Held { head, rows: 0, bytes: Vec::new(), partial: false });
            }
            if row >= series.rows() {
                break;
            }
            let epoch = self.options.epoch.map(|epoch| epoch.unit);
            if let Some(held) = self.series.last_mut() {
                held.rows += 1;
                let before = held.bytes.len();
                put_array(&mut held.bytes, series.values.len() as u32);
                for cells in &series.values {
                    match cells {
                        Cells::Times(times) => put_time(&mut held.bytes, times[row], epoch),
                        Cells::Typed(column) => put_value(&mut held.bytes, column, row),
                        Cells::Mixed(cells) => put_cell(&mut held.bytes, &cells[row], epoch),
                    }
                }
                self.held_bytes += (held.bytes.len() - before) as u64;
            }
        }
    }

    /// Rows of the last series are missing.
    pub fn mark_cut(&mut self) {
        if let Some(held) = self.series.last_mut() {
            held.partial = true;
        }
    }

    pub fn end_statement(&mut self, error: Option<&str>) {
        // Of a chunked answer, what there was before the error is part of it.
        if error.is_some() && self.options.chunk_size.is_some() && !self.series.is_empty() {
            self.end_result(true, None);
            self.document();
        }
        self.end_result(false, error);
        if self.options.chunk_size.is_some() {
            self.document();
        }
    }

    pub fn finish(&mut self) {
        if self.options.chunk_size.is_none() {
            self.document();
        }
    }

    fn end_result(&mut self, partial: bool, error: Option<&str>) {
        let series = std::mem::take(&mut self.series);
        let messages = std::mem::take(&mut self.messages);
        let mut out = Vec::new();
        if let Some(error) = error {
            out.push(0x81);
            put_str(&mut out, b"error");
            put_str(&mut out, error.as_bytes());
            self.results.push(out);
            return;
        }
        let members = 2 + u8::from(!messages.is_empty()) + u8::from(partial);
        out.push(0x80 | members);
        put_str(&mut out, b"statement_id");
        put_integer(&mut out, self.statement as i64);
        if !messages.is_empty() {
            put_str(&mut out, b"messages");
            put_array(&mut out, messages.len() as u32);
            for (level, text) in messages {
                out.push(0x82);
                put_str(&mut out, b"level");
                put_str(&mut out, level.as_bytes());
                put_str(&mut out, b"text");
                put_str(&mut out, text.as_bytes());
            }
        }
        // Without rows an empty list.
        put_str(&mut out, b"series");
        put_array(&mut out, series.len() as u32);
        for held in series {
            put_series(&mut out, &held);
        }
        if partial {
            put_str(&mut out, b"partial");
            out.push(0xc3);
        }
        self.results.push(out);
    }

    fn document(&mut self) {
        let results = std::mem::take(&mut self.results);
        self.held_bytes = 0;
        self.out.push(0x81);
        put_str(&mut self.out, b"results");
        put_array(&mut self.out, results.len() as u32);
        for result in results {
            self.out.extend_from_slice(&result);
        }
    }
}

/// About as many as [`put_series`] writes before the rows.
fn head_bytes(head: &Series) -> u64 {
    let tags = head.tags.iter().map(|(key, value)| key.len() + value.len() + 4);
    let columns = head.columns.iter().map(|column| column.len() + 2);
    (64 + head.name.len() + tags.sum::<usize>() + columns.sum::<usize>()) as u64
}

fn put_series(out: &mut Vec<u8>, held: &Held) {
    let head = &held.head;
    let members =
        2 + u8::from(!head.name.is_empty()) + u8::from(!head.tags.is_empty()) + u8::from(held.partial);
    out.push(0x80 | members);
    if !head.name.is_empty() {
        put_str(out, b"name");
        put_str(out, &head.name);
    }
    if !head.tags.is_empty() {
        put_str(out, b"tags");
        put_map(out, head.tags.len() as u32);
        for (key, value) in &head.tags {
            put_str(out, key);
            put_str(out, value);
        }
    }
    put_str(out, b"columns");
    put_array(out, head.columns.len() as u32);
    for column in &*head.columns {
        put_str(out, column);
    }
    put_str(out, b"values");
    put_array(out, held.rows);
    out.extend_from_slice(&held.bytes);
    if held.partial {
        put_str(out, b"partial");
        out.push(0xc3);
    }
}

fn put_map(out: &mut Vec<u8>, length: u32) {
    put_length(out, length, [0x80, 0xde, 0xdf]);
}

fn put_array(out: &mut Vec<u8>, length: u32) {
    put_length(out, length, [0x90, 0xdc, 0xdd]);
}

/// A length in its shortest form: within the first byte, in two bytes behind it, or in four.
fn put_length(out: &mut Vec<u8>, length: u32, [within, two, four]: [u8; 3]) {
    match length {
        0..=15 => out.push(within | length as u8),
        16..=0xffff => {
            out.push(two);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(four);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

fn put_str(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=255 => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 256..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn put_integer(out: &mut Vec<u8>, value: i64) {
    match value {
        0..=127 => out.push(value as u8),
        -32..=-1 => out.push(value as u8),
        -0x80..=-33 => out.extend_from_slice(&[0xd0, value as u8]),
        -0x8000..=0x7fff => {
            out.push(0xd1);
            out.extend_from_slice(&(value as i16).to_be_bytes());
        }
        -0x8000_0000..=0x7fff_ffff => {
            out.push(0xd2);
            out.extend_from_slice(&(value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

fn put_float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.push(0xc0);
        return;
    }
    out.push(0xcb);
    out.extend_from_slice(&value.to_bits().to_be_bytes());
}

fn put_time(out: &mut Vec<u8>, time: i64, epoch: Option<i64>) {
    if let Some(unit) = epoch {
        put_integer(out, time / unit);
        return;
    }
    out.extend_from_slice(&[0xc7, 12, 5]);
    out.extend_from_slice(&time.div_euclid(1_000_000_000).to_be_bytes());
    out.extend_from_slice(&(time.rem_euclid(1_000_000_000) as i32).to_be_bytes());
}

fn put_value(out: &mut Vec<u8>, column: &Column, row: usize) {
    if !column.is_present(row) {
        out.push(0xc0);
        return;
    }
    match &column.data {
        ColumnData::Float(values) => put_float(out, values[row]),
        ColumnData::Integer(values) => put_integer(out, values[row]),
        ColumnData::Unsigned(values) => put_unsigned(out, values[row]),
        ColumnData::Boolean(values) => out.push(if values[row] { 0xc3 } else { 0xc2 }),
        ColumnData::String(values) => put_str(out, values.get(row)),
    }
}

fn put_cell(out: &mut Vec<u8>, cell: &Cell, epoch: Option<i64>) {
    match cell {
        Cell::Null => out.push(0xc0),
        Cell::Time(time) => put_time(out, *time, epoch),
        Cell::Float(value) => put_float(out, *value),
        Cell::Integer(value) => put_integer(out, *value),
        Cell::Unsigned(value) => put_unsigned(out, *value),
        Cell::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Cell::String(text) => put_str(out, text),
        Cell::List(items) => {
            put_array(out, items.len() as u32);
            for item in items {
                put_str(out, item);
            }
        }
    }
}
