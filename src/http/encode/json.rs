//! JSON as Go's `encoding/json` writes it.

use tidemark_engine::model::{Column, ColumnData};

use super::Options;
use super::time::put_rfc3339;
use crate::query::result::{Cell, Cells, Cut, Series};

/// See [`super::Encoder`].
#[derive(Debug)]
pub struct JsonEncoder {
    options: Options,
    pub(super) out: Vec<u8>,
    indenter: Option<Indenter>,
    /// A statement has been begun; its id.
    statement: Option<u64>,
    statements: usize,
    /// Where the statement begins in `out`, while none of it has been taken.
    statement_at: Option<usize>,
    /// The series being written: name and tags, and rows of the current document.
    open: Option<Open>,
    /// Series written in the current result object.
    series_written: usize,
    messages: Vec<(String, String)>,
}

#[derive(Debug)]
struct Open {
    head: Series,
    rows: usize,
    truncated: bool,
}

impl JsonEncoder {
    pub fn new(options: Options, pretty: bool) -> Self {
        Self {
            options,
            out: Vec::new(),
            indenter: pretty.then(Indenter::default),
            statement: None,
            statements: 0,
            statement_at: None,
            open: None,
            series_written: 0,
            messages: Vec::new(),
        }
    }

    fn is_chunked(&self) -> bool {
        self.options.chunk_size.is_some()
    }

    pub fn begin_statement(&mut self, id: u64) {
        self.statement_at = Some(self.out.len());
        self.statement = Some(id);
        self.begin_result(id);
    }

    /// Opens a result object, and with it the document when every result has its own.
    fn begin_result(&mut self, id: u64) {
        if self.is_chunked() || self.statements == 0 {
            self.out.extend_from_slice(b"{\"results\":[");
        } else {
            self.out.push(b',');
        }
        self.statements += 1;
        self.out.extend_from_slice(b"{\"statement_id\":");
        put_integer(&mut self.out, id as i64);
        self.series_written = 0;
    }

    /// Closes the result object, and the document when chunked.
    fn end_result(&mut self, partial: bool, error: Option<&str>) {
        if self.series_written > 0 {
            self.out.push(b']');
        }
        if !self.messages.is_empty() {
            self.out.extend_from_slice(b",\"messages\":[");
            for (at, (level, text)) in std::mem::take(&mut self.messages).iter().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                self.out.extend_from_slice(b"{\"level\":");
                put_string(&mut self.out, level.as_bytes());
                self.out.extend_from_slice(b",\"text\":");
                put_string(&mut self.out, text.as_bytes());
                self.out.push(b'}');
            }
            self.out.push(b']');
        }
        if partial {
            self.out.extend_from_slice(b",\"partial\":true");
        }
        if let Some(error) = error {
            self.out.extend_from_slice(b",\"error\":");
            put_string(&mut self.out, error.as_bytes());
        }
        self.out.push(b'}');
        if self.is_chunked() {
            self.out.extend_from_slice(b"]}\n");
        }
    }

    pub fn message(&mut self, level: &str, text: &str) {
        self.messages.push((level.to_string(), text.to_string()));
    }

    pub fn series(&mut self, series: &Series) {
        let Some(id) = self.statement else { return };
        let mut at = 0;
        let rows = series.rows();
        if self.open.as_ref().is_some_and(|open| !open.head.is_same_series(series)) {
            self.close_series(false);
            if self.is_chunked() && series.cut != Cut::Never {
                self.end_result(series.cut == Cut::Rows, None);
                self.begin_result(id);
            }
        }
        if self.open.is_none() {
            self.open_series(series);
        }
        while at < rows {
            let held = self.open.as_ref().map_or(0, |open| open.rows);
            let chunk_size = self.options.chunk_size.filter(|_| series.cut == Cut::Rows);
            if let Some(size) = chunk_size
                && held >= size.max(1)
            {
                self.close_series(true);
                self.end_result(true, None);
                self.begin_result(id);
                self.open_series(series);
                continue;
            }
            let mut take = rows - at;
            if let Some(size) = chunk_size {
                take = take.min(size.max(1) - held);
            }
            self.rows(series, at, at + take);
            if let Some(open) = &mut self.open {
                open.rows += take;
            }
            at += take;
        }
    }

    /// Rows of the series at hand are missing.
    pub fn mark_cut(&mut self) {
        if let Some(open) = &mut self.open {
            open.truncated = true;
        }
    }

    fn open_series(&mut self, series: &Series) {
        self.out.extend_from_slice(if self.series_written == 0 { b",\"series\":[{" } else { b",{" });
        self.series_written += 1;
        let mut first = true;
        let mut comma = |out: &mut Vec<u8>| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
        };
        if !series.name.is_empty() {
            comma(&mut self.out);
            self.out.extend_from_slice(b"\"name\":");
            put_string(&mut self.out, &series.name);
        }
        if !series.tags.is_empty() {
            comma(&mut self.out);
            self.out.extend_from_slice(b"\"tags\":{");
            for (at, (key, value)) in series.tags.iter().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                put_string(&mut self.out, key);
                self.out.push(b':');
                put_string(&mut self.out, value);
            }
            self.out.push(b'}');
        }
        if !series.columns.is_empty() {
            comma(&mut self.out);
            self.out.extend_from_slice(b"\"columns\":[");
            for (at, column) in series.columns.iter().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                put_string(&mut self.out, column);
            }
            self.out.push(b']');
        }
        let head = Series { name: series.name.clone(), tags: series.tags.clone(), ..Series::default() };
        self.open = Some(Open { head, rows: 0, truncated: false });
    }

    fn rows(&mut self, series: &Series, from: usize, to: usize) {
        let mut begun = self.open.as_ref().is_some_and(|open| open.rows > 0);
        // Rows come from typed columns: the type is decided per cell by one match on the column.
        for row in from..to {
            self.out.extend_from_slice(if begun { b",[" } else { b",\"values\":[[" });
            begun = true;
            for (at, cells) in series.values.iter().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                match cells {
                    Cells::Times(times) => self.time(times[row], series.zone),
                    Cells::Typed(column) => put_value(&mut self.out, column, row),
                    Cells::Mixed(cells) => self.cell(&cells[row], series.zone),
                }
            }
            self.out.push(b']');
        }
    }

    fn time(&mut self, time: i64, zone: Option<chrono_tz::Tz>) {
        match self.options.epoch {
            Some(epoch) => put_integer(&mut self.out, time / epoch.unit),
            None => {
                self.out.push(b'"');
                put_rfc3339(&mut self.out, time, zone);
                self.out.push(b'"');
            }
        }
    }

    fn cell(&mut self, cell: &Cell, zone: Option<chrono_tz::Tz>) {
        match cell {
            Cell::Null => self.out.extend_from_slice(b"null"),
            Cell::Time(time) => self.time(*time, zone),
            Cell::Float(value) => put_float(&mut self.out, *value),
            Cell::Integer(value) => put_integer(&mut self.out, *value),
            Cell::Unsigned(value) => put_unsigned(&mut self.out, *value),
            Cell::Boolean(value) => self.out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Cell::String(text) => put_string(&mut self.out, text),
            Cell::List(items) => {
                self.out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        self.out.push(b',');
                    }
                    put_string(&mut self.out, item);
                }
                self.out.push(b']');
            }
        }
    }

    fn close_series(&mut self, partial: bool) {
        let Some(open) = self.open.take() else { return };
        if open.rows > 0 {
            self.out.push(b']');
        }
        if partial || open.truncated {
            self.out.extend_from_slice(b",\"partial\":true");
        }
        self.out.push(b'}');
    }

    pub fn end_statement(&mut self, error: Option<&str>) {
        let Some(id) = self.statement.take() else { return };
        if error.is_some()
            && !self.is_chunked()
            && let Some(at) = self.statement_at
        {
            // A failed statement answers with its error alone, as long as nothing of it has been sent.
            self.out.truncate(at);
            self.open = None;
            self.messages.clear();
            self.statements -= 1;
            self.begin_result(id);
        }
        self.close_series(false);
        if error.is_some() && self.is_chunked() && self.series_written > 0 {
            self.end_result(true, None);
            self.begin_result(id);
        }
        self.end_result(false, error);
        self.statement_at = None;
    }

    pub fn finish(&mut self) {
        if self.is_chunked() {
            return;
        }
        if self.statements == 0 {
            self.out.extend_from_slice(b"{}\n");
        } else {
            self.out.extend_from_slice(b"]}\n");
        }
    }

    pub fn take(&mut self) -> Vec<u8> {
        // What is sent cannot be taken back.
        self.statement_at = None;
        let bytes = std::mem::take(&mut self.out);
        match &mut self.indenter {
            None => bytes,
            Some(indenter) => indenter.indent(&bytes),
        }
    }
}

#[inline]
fn put_value(out: &mut Vec<u8>, column: &Column, row: usize) {
    if !column.is_present(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match &column.data {
        ColumnData::Float(values) => put_float(out, values[row]),
        ColumnData::Integer(values) => put_integer(out, values[row]),
        ColumnData::Unsigned(values) => put_unsigned(out, values[row]),
        ColumnData::Boolean(values) => out.extend_from_slice(if values[row] { b"true" } else { b"false" }),
        ColumnData::String(values) => put_string(out, values.get(row)),
    }
}

#[inline]
fn put_integer(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[inline]
fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Go's shortest form: plain digits, with an exponent below 1e-6 and from 1e21 on; what is no number is null.
pub fn put_float(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    // Most floats of gauges are small whole numbers.
    if value == value.trunc()
        && value.abs() < 9_007_199_254_740_992.0
        && (value != 0.0 || value.is_sign_positive())
    {
        put_integer(out, value as i64);
        return;
    }
    let magnitude = value.abs();
    let exponential = magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude);
    put_go_float(out, value, exponential);
}

/// The shortest digits of a finite float, plain or with an exponent.
pub fn put_go_float(out: &mut Vec<u8>, value: f64, exponential: bool) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    // The usual case: plain digits already.
    if !exponential && !text.bytes().any(|byte| byte == b'e') {
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
        return;
    }
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits: Vec<u8> = Vec::with_capacity(24);
    digits.extend_from_slice(whole.as_bytes());
    digits.extend_from_slice(fraction.as_bytes());
    // Digits with the point after the first `point` of them.
    let mut point = whole.len() as i32 + exponent;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..zeros);
    point -= zeros as i32;
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    if negative {
        out.push(b'-');
    }
    if digits.is_empty() {
        out.push(b'0');
        return;
    }
    if exponential {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let exponent = point - 1;
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        put_integer(out, i64::from(exponent.abs()));
        return;
    }
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(&digits);
        return;
    }
    let point = point as usize;
    if digits.len() <= point {
        out.extend_from_slice(&digits);
        out.resize(out.len() + point - digits.len(), b'0');
        return;
    }
    out.extend_from_slice(&digits[..point]);
    out.push(b'.');
    out.extend_from_slice(&digits[point..]);
}

/// A string with what Go escapes: control characters, quotes, HTML's characters, line separators, bad UTF-8.
pub fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(|byte| IS_PLAIN[*byte as usize]) {
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    put_escaped(out, bytes);
}

/// The bytes that stand for themselves wherever they are: ASCII without what Go escapes.
const IS_PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = !matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        byte += 1;
    }
    plain
};

fn put_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        let text = valid.as_bytes();
        let mut start = 0;
        for (at, &byte) in text.iter().enumerate() {
            let plain = byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2);
            if plain {
                continue;
            }
            if byte == 0xe2 {
                // U+2028 and U+2029 end lines in JavaScript.
                if text.get(at + 1) == Some(&0x80) && matches!(text.get(at + 2), Some(0xa8 | 0xa9)) {
                    out.extend_from_slice(&text[start..at]);
                    out.extend_from_slice(if text[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                    start = at + 3;
                }
                continue;
            }
            out.extend_from_slice(&text[start..at]);
            start = at + 1;
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                _ => out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[(byte >> 4) as usize],
                    HEX[(byte & 15) as usize],
                ]),
            }
        }
        out.extend_from_slice(&text[start..]);
        // Go writes one replacement per bad byte.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

/// Compact JSON to JSON with an indent of four blanks, piece by piece.
#[derive(Debug, Default)]
struct Indenter {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// An opening bracket has been written and nothing after it yet.
    pending: bool,
}

impl Indenter {
    fn indent(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() * 2);
        for &byte in bytes {
            if self.in_string {
                out.push(byte);
                if self.escaped {
                    self.escaped = false;
                } else if byte == b'\\' {
                    self.escaped = true;
                } else if byte == b'"' {
                    self.in_string = false;
                }
                continue;
            }
            if self.pending && !matches!(byte, b']' | b'}') {
                self.pending = false;
                self.depth += 1;
                self.line(&mut out);
            }
            match byte {
                b'{' | b'[' => {
                    out.push(byte);
                    self.pending = true;
                }
                b'}' | b']' => {
                    if self.pending {
                        self.pending = false;
                    } else {
                        self.depth = self.depth.saturating_sub(1);
                        self.line(&mut out);
                    }
                    out.push(byte);
                }
                b',' => {
                    out.push(byte);
                    self.line(&mut out);
                }
                b':' => out.extend_from_slice(b": "),
                b'"' => {
                    out.push(byte);
                    self.in_string = true;
                }
                _ => out.push(byte),
            }
        }
        out
    }

    fn line(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.resize(out.len() + self.depth * 4, b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Encoder, Epoch, Format};
    use super::*;

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        put_float(&mut out, value);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn floats_take_go_s_shortest_form() {
        for (value, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (100.0, "100"),
            (1.5, "1.5"),
            (-2.25, "-2.25"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-9, "1.5e-9"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (123456789.125, "123456789.125"),
            (1e16, "10000000000000000"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            assert_eq!(float(value), want, "{value:?}");
        }
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut out = Vec::new();
        put_string(&mut out, "a<b>&\"\\\n\t\u{1}é\u{2028}".as_bytes());
        assert_eq!(String::from_utf8_lossy(&out), "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\t\\u0001é\\u2028\"");
        let mut out = Vec::new();
        put_string(&mut out, b"x\xffy");
        assert_eq!(out, b"\"x\\ufffdy\"");
    }

    fn series(name: &str, rows: &[i64]) -> Series {
        Series {
            name: name.as_bytes().to_vec(),
            columns: [b"time".to_vec(), b"v".to_vec()].into(),
            values: vec![
                Cells::Times(rows.to_vec()),
                Cells::Typed(Column { data: ColumnData::Integer(rows.to_vec()), present: None }),
            ],
            ..Series::default()
        }
    }

    fn encode(options: Options, pieces: &[Series], error: Option<&str>) -> String {
        let mut encoder = Encoder::new(options);
        encoder.begin_statement(0);
        for piece in pieces {
            encoder.series(piece);
        }
        encoder.end_statement(error);
        encoder.finish();
        String::from_utf8(encoder.take()).expect("JSON is UTF-8")
    }

    #[test]
    fn pieces_of_a_series_are_joined() {
        let options = Options { epoch: Epoch::from_parameter("ns"), ..Options::default() };
        assert_eq!(
            encode(options, &[series("m", &[1]), series("m", &[2]), series("n", &[3])], None),
            "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"m\",\"columns\":[\"time\",\"v\"],\"values\":[[1,1],[2,2]]},\
             {\"name\":\"n\",\"columns\":[\"time\",\"v\"],\"values\":[[3,3]]}]}]}\n"
        );
        assert_eq!(encode(options, &[], None), "{\"results\":[{\"statement_id\":0}]}\n");
        assert_eq!(
            encode(options, &[series("m", &[1])], Some("x")),
            "{\"results\":[{\"statement_id\":0,\"error\":\"x\"}]}\n"
        );
    }

    #[test]
    fn chunks_say_whether_more_follows() {
        let options =
            Options { epoch: Epoch::from_parameter("ns"), chunk_size: Some(2), ..Options::default() };
        let head = "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"m\",\"columns\":[\"time\",\"v\"],\"values\":";
        assert_eq!(
            encode(options, &[series("m", &[1, 2, 3])], None),
            format!("{head}[[1,1],[2,2]],\"partial\":true}}],\"partial\":true}}]}}\n{head}[[3,3]]}}]}}]}}\n")
        );
        assert_eq!(encode(options, &[series("m", &[1, 2])], None), format!("{head}[[1,1],[2,2]]}}]}}]}}\n"));
    }

    #[test]
    fn pretty_answers_are_indented_by_four() {
        let options = Options { format: Format::Json { pretty: true }, ..Options::default() };
        assert_eq!(
            encode(options, &[], None),
            "{\n    \"results\": [\n        {\n            \"statement_id\": 0\n        }\n    ]\n}\n"
        );
    }
}
