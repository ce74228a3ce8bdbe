//! A body, line by line, into a sink: the loop, the errors, and what joins the fast path with the plain one.

use tidemark_engine::model::series_key;

use super::fast::{self, Fast};
use super::line::{self, Line, Reason};
use super::passing;
use super::tables::{Shape, Tables, extend_signature, start_signature};
use super::{Flow, KEY_BYTES_MAX, Options, Point, ROW_FIELDS_MAX, Refusal, Sink};

/// The error text of a body stops growing here: every bad line is counted, but a client that sends megabytes of
/// nonsense does not get them all back.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// What a step ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The budget is used up; there are more lines.
    More,
    /// The sink paused; the same line comes again with the next step.
    Paused,
    /// The body is read, or its piece as far as its lines are complete.
    Done,
}

/// What is kept from body to body: buffers, and the series and shapes met. One per body being read.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) tables: Tables,
    line: Line,
    pub(super) values: Vec<u8>,
    signature: Vec<u8>,
    key: Vec<u8>,
    pub(super) fast: Fast,
}

/// Reads one body, whole or in pieces. See the head of the module for the parts.
pub struct Parser {
    options: Options,
    /// Timestamp of points without one.
    now: i64,
    /// What is read of the body, or of its current piece.
    at: usize,
    /// More of the body follows after this piece.
    is_piece: bool,
    line: u32,
    errors: String,
    lines_failed: u64,
    lines_fast: u64,
    scratch: Scratch,
    fast_path: bool,
}

/// What became of one line.
enum Outcome {
    Taken,
    Paused,
    Bad(Reason),
}

impl Parser {
    pub fn new(options: Options, mut scratch: Scratch) -> Self {
        scratch.tables.begin_body();
        scratch.fast.begin_body();
        let now = options.precision.truncate(options.now);
        Self {
            options,
            now,
            at: 0,
            is_piece: false,
            line: 0,
            errors: String::new(),
            lines_failed: 0,
            lines_fast: 0,
            scratch,
            fast_path: true,
        }
    }

    /// Goes on with what follows the lines read so far. `is_last`: it goes to the body's end; else it must end in a
    /// newline, and its last line is left unread when that newline may belong to the line.
    pub fn begin_piece(&mut self, is_last: bool) {
        self.at = 0;
        self.is_piece = !is_last;
    }

    /// Bytes of the body, or of its current piece, whose lines are read.
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// Reads lines until about `bytes_max` bytes are done, or the sink pauses. `body` is the same, or the same piece, from
    /// step to step, and below 4 GiB, the greatest that any input accepts.
    pub fn step<S: Sink>(&mut self, body: &[u8], sink: &mut S, bytes_max: usize) -> Step {
        assert!(u32::try_from(body.len()).is_ok(), "BUG: a body beyond every limit");
        let stop = self.at.saturating_add(bytes_max);
        while self.at < body.len() {
            if self.at >= stop {
                return Step::More;
            }
            if self.fast_path {
                let (at, line, now) = (self.at, self.line, self.now);
                let (options, scratch) = (&self.options, &mut self.scratch);
                let read = match scratch.tables.are_passing() {
                    true => passing::read_line(body, at, line, now, options, scratch, sink)
                        .unwrap_or(fast::Read::Unknown),
                    false => fast::read_line(body, at, line, now, options, scratch, sink),
                };
                match read {
                    fast::Read::Taken { next } => {
                        self.at = next;
                        self.line += 1;
                        self.lines_fast += 1;
                        continue;
                    }
                    fast::Read::Paused => return Step::Paused,
                    fast::Read::Unknown => {}
                }
            }
            let end = line::end_of_line(body, self.at);
            if self.is_piece && !line::ends_surely(body, end) {
                return Step::Done;
            }
            let start = line::skip_blanks(&body[..end], self.at);
            if start < end && body[start] != b'#' {
                // A quoted newline that never ends leaves one at the end of the last line.
                let text = body[start..end].strip_suffix(b"\n").unwrap_or(&body[start..end]);
                match self.read_line(text, sink) {
                    Outcome::Taken => {}
                    Outcome::Paused => return Step::Paused,
                    Outcome::Bad(reason) => self.note_error(text, &reason),
                }
            }
            self.at = end + 1;
            self.line += 1;
        }
        Step::Done
    }

    /// Lines that are no points, so far.
    pub fn lines_failed(&self) -> u64 {
        self.lines_failed
    }

    /// Lines that the fast path took, so far.
    pub fn lines_fast(&self) -> u64 {
        self.lines_fast
    }

    /// `unable to parse '<line>': <reason>` of every bad line, joined by newlines; `None` when all are good.
    pub fn into_errors(self) -> (Option<String>, Scratch) {
        let errors = (self.lines_failed > 0).then_some(self.errors);
        (errors, self.scratch)
    }

    fn note_error(&mut self, text: &[u8], reason: &str) {
        self.lines_failed += 1;
        if self.errors.len() > ERROR_BYTES_MAX {
            return;
        }
        if !self.errors.is_empty() {
            self.errors.push('\n');
        }
        self.errors.push_str("unable to parse '");
        self.errors.push_str(&String::from_utf8_lossy(text));
        self.errors.push_str("': ");
        self.errors.push_str(reason);
    }

    /// The plain reading of one line.
    fn read_line<S: Sink>(&mut self, text: &[u8], sink: &mut S) -> Outcome {
        let mut parsed = std::mem::take(&mut self.scratch.line);
        let outcome = match line::read(text, &self.options, &mut parsed) {
            Ok(()) => self.offer(text, &mut parsed, sink),
            Err(reason) => Outcome::Bad(reason),
        };
        self.scratch.line = parsed;
        outcome
    }

    /// Hands a well-formed line to the sink, in rows of bounded width.
    fn offer<S: Sink>(&mut self, text: &[u8], parsed: &mut Line, sink: &mut S) -> Outcome {
        let refusal = |parsed: &Line, sink: &mut S, make: for<'a> fn(&'a [u8]) -> Refusal<'a>| {
            sink.refuse(self.line, &make(&parsed.name(text)));
            Outcome::Taken
        };
        if parsed.has_time_tag(text) {
            return refusal(parsed, sink, |measurement| Refusal::TimeTag { measurement });
        }
        if self.options.validate_keys && !parsed.key_is_printable(text) {
            sink.refuse(self.line, &Refusal::InvalidUnicode { key: &text[parsed.key.clone()] });
            return Outcome::Taken;
        }
        parsed.settle_fields(text);
        if parsed.fields.is_empty() {
            return refusal(parsed, sink, |measurement| Refusal::TimeFieldOnly { measurement });
        }
        let spelling = match self.spelling(text, parsed) {
            Ok(spelling) => spelling,
            Err(reason) => return Outcome::Bad(reason),
        };
        for (row, fields) in parsed.fields.chunks(ROW_FIELDS_MAX).enumerate() {
            let shape = match self.encode(text, parsed, fields) {
                Ok(shape) => shape,
                Err(reason) => return Outcome::Bad(reason),
            };
            let tables = &self.scratch.tables;
            let series = tables.series_of(spelling);
            let point = Point {
                line: self.line,
                series,
                hash: tables.series(series).hash,
                key: tables.key(series),
                shape: tables.shape(shape),
                timestamp: parsed.timestamp,
                values: &self.scratch.values,
                text,
            };
            let hash = point.hash;
            if sink.point(&point) == Flow::Pause && row == 0 {
                return Outcome::Paused;
            }
            self.scratch.tables.note_passed(hash);
            self.scratch.fast.learn(&mut self.scratch.tables, spelling, shape);
        }
        Outcome::Taken
    }

    /// The spelling of the line's key, added when new.
    fn spelling(&mut self, text: &[u8], parsed: &Line) -> Result<u32, Reason> {
        let raw = &text[parsed.key.clone()];
        let hash = series_key::hash(raw);
        let tables = &mut self.scratch.tables;
        if let Some(spelling) = tables.find(hash, raw) {
            return Ok(spelling);
        }
        let measurement = parsed.name(text);
        if parsed.key_is_canonical(text) {
            return Ok(tables.add_canonical(raw, hash, &measurement));
        }
        self.scratch.key.clear();
        parsed.put_key(text, &mut self.scratch.key);
        if self.scratch.key.len() > KEY_BYTES_MAX {
            let bytes = self.scratch.key.len();
            return Err(format!("max key length exceeded: {bytes} > {KEY_BYTES_MAX}").into());
        }
        Ok(tables.add_other(raw, hash, &self.scratch.key, &measurement))
    }

    /// Encodes the values of `fields`; their shape.
    fn encode(&mut self, text: &[u8], parsed: &Line, fields: &[line::Field]) -> Result<u32, Reason> {
        let Scratch { values, signature, tables, .. } = &mut self.scratch;
        values.clear();
        signature.clear();
        let measurement_id = tables.measurement_id(&parsed.name(text));
        start_signature(signature, measurement_id);
        for field in fields {
            line::put_value(values, &text[field.value.clone()], field.field_type)?;
            extend_signature(signature, field.field_type, &line::unescape_name(&text[field.name.clone()]));
        }
        // Lines with a field that is left out, or that comes twice, are never taken for this shape: the fast path
        // wants exactly these names.
        Ok(tables.shape_with(signature, || {
            let names: Vec<_> = fields
                .iter()
                .map(|field| (field.field_type, line::unescape_name(&text[field.name.clone()]).into_owned()))
                .collect();
            Shape {
                id: 0,
                signature: Vec::new(),
                measurement: parsed.name(text).into_owned(),
                measurement_id,
                pattern: fast::Pattern::new(&names),
                fields: names,
            }
        }))
    }
}

/// See [`super::fuzz`].
pub(super) fn fuzz(body: &[u8]) {
    for unsigned in [false, true] {
        let (plain, _) = collect(body, unsigned, false, Scratch::default());
        let (fast, scratch) = collect(body, unsigned, true, Scratch::default());
        assert_eq!(fast, plain, "BUG: the fast path reads {:?} differently", String::from_utf8_lossy(body));
        let (again, mut scratch) = collect(body, unsigned, true, scratch);
        assert_eq!(again, plain, "BUG: read a second time, {:?} is another", String::from_utf8_lossy(body));
        scratch.tables.let_series_pass();
        let (passing, scratch) = collect(body, unsigned, true, scratch);
        assert_eq!(passing, plain, "BUG: read in passing, {:?} is another", String::from_utf8_lossy(body));
        let pieces = collect_pieces(body, unsigned, scratch);
        assert_eq!(pieces, plain, "BUG: read in pieces, {:?} is another", String::from_utf8_lossy(body));
    }
}

/// What a parser made of a body: one entry per point or refusal, then the errors.
#[derive(Debug, PartialEq)]
struct Collected {
    points: Vec<(u32, Vec<u8>, u64, Vec<u8>, Vec<(u8, Vec<u8>)>, i64, Vec<u8>, Vec<u8>)>,
    refusals: Vec<(u32, String)>,
    errors: Option<String>,
}

impl Sink for Collected {
    fn point(&mut self, point: &Point<'_>) -> Flow {
        assert_eq!(point.hash, series_key::hash(point.key), "BUG: hash of a key");
        let mut rest = point.values;
        for (field_type, _) in &point.shape.fields {
            let length = tidemark_engine::model::batch::value_length(rest, *field_type);
            rest = &rest[length.expect("BUG: a value that does not read back")..];
        }
        assert!(rest.is_empty(), "BUG: values beyond the shape");
        self.points.push((
            point.line,
            point.key.to_vec(),
            point.hash,
            point.shape.measurement.clone(),
            point.shape.fields.iter().map(|(field_type, name)| (*field_type as u8, name.clone())).collect(),
            point.timestamp,
            point.values.to_vec(),
            point.text.to_vec(),
        ));
        Flow::Continue
    }

    fn refuse(&mut self, line: u32, reason: &Refusal<'_>) {
        self.refusals.push((line, reason.to_string()));
    }
}

fn fuzz_options(unsigned: bool) -> Options {
    Options { precision: super::Precision::Nanosecond, now: 1_000_000_007, unsigned, validate_keys: false }
}

/// Reads a body in two pieces, cut after the last newline of its first half.
fn collect_pieces(body: &[u8], unsigned: bool, scratch: Scratch) -> Collected {
    let mut parser = Parser::new(fuzz_options(unsigned), scratch);
    let mut sink = Collected { points: Vec::new(), refusals: Vec::new(), errors: None };
    let cut = memchr::memrchr(b'\n', &body[..body.len() / 2]).map_or(0, |newline| newline + 1);
    parser.begin_piece(false);
    while parser.step(&body[..cut], &mut sink, 64) != Step::Done {}
    let rest = &body[parser.consumed()..];
    parser.begin_piece(true);
    while parser.step(rest, &mut sink, 64) != Step::Done {}
    sink.errors = parser.into_errors().0;
    sink
}

fn collect(body: &[u8], unsigned: bool, fast_path: bool, scratch: Scratch) -> (Collected, Scratch) {
    let mut parser = Parser::new(fuzz_options(unsigned), scratch);
    parser.fast_path = fast_path;
    let mut sink = Collected { points: Vec::new(), refusals: Vec::new(), errors: None };
    while parser.step(body, &mut sink, 64) != Step::Done {}
    let scratch;
    (sink.errors, scratch) = parser.into_errors();
    (sink, scratch)
}
