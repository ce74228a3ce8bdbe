//! The plain reading of one line: what line protocol is, and every error it can have.
//!
//! The steps and their order decide which of several errors a client sees, so they are InfluxDB's: key, fields (with
//! the numbers in them), the size limits, timestamp. A backslash's meaning depends on where it stands:
//!
//! | where | rule |
//! |---|---|
//! | end of a line | a backslash hides the byte after it, even a newline; so do quotes of a field value |
//! | measurement, tags | a delimiter is literal when the byte before it is a backslash |
//! | fields, while looking for their end | a backslash hides the byte after it |
//! | field key, while splitting | `=` is literal when the byte before it is a backslash |
//! | quoted value | `\"` and `\\` stand for `"` and `\` |
//!
//! Nothing here allocates for a good line once its lists have grown.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;
use tidemark_engine::model::varint::{put_varint, zigzag};
use tidemark_engine::model::{FieldType, series_key};

use super::number;
use super::{KEY_BYTES_MAX, Options};

/// Why a line is not a point: the text after `unable to parse '<line>': `.
pub(super) type Reason = Cow<'static, str>;

/// One line taken apart. Ranges are positions in the line.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Measurement and tags as sent.
    pub key: Range<usize>,
    pub measurement: Range<usize>,
    /// In the order sent.
    pub tags: Vec<Tag>,
    /// Tag keys ascend strictly.
    pub tags_are_sorted: bool,
    /// In the order sent; a name may repeat.
    pub fields: Vec<Field>,
    /// ns.
    pub timestamp: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// As sent, escaped.
    pub name: Range<usize>,
    /// As sent, with quotes or type letter.
    pub value: Range<usize>,
    pub field_type: FieldType,
}

/// Where the line that starts at `at` ends: its newline, or the end of the body.
pub(super) fn end_of_line(body: &[u8], at: usize) -> usize {
    let mut at = at;
    let mut in_fields = false;
    let mut is_quoted = false;
    let (mut equals, mut commas) = (0usize, 0usize);
    while at < body.len() {
        match body[at] {
            b'\\' if at + 2 < body.len() => {
                at += 2;
                continue;
            }
            b' ' => in_fields = true,
            b'=' if in_fields && !is_quoted => equals += 1,
            b',' if in_fields && !is_quoted => commas += 1,
            b'"' if in_fields && equals > commas => is_quoted = !is_quoted,
            b'\n' if !is_quoted => return at,
            _ => {}
        }
        at += 1;
    }
    body.len()
}

/// Whether the line that [`end_of_line`] says ends at `end` ends there whatever follows `body`.
pub(super) fn ends_surely(body: &[u8], end: usize) -> bool {
    // A backslash hides the byte after it only where another follows.
    let may_be_hidden = end + 1 == body.len() && end > 0 && body[end - 1] == b'\\';
    end < body.len() && !may_be_hidden
}

/// Where the first byte that is not blank stands at or after `at`.
pub(super) fn skip_blanks(line: &[u8], mut at: usize) -> usize {
    while at < line.len() && is_blank(line[at]) {
        at += 1;
    }
    at
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0)
}

/// Takes apart a line that has no leading blanks and no newline at its end.
pub(super) fn read(line: &[u8], options: &Options, out: &mut Line) -> Result<(), Reason> {
    let at = read_key(line, out)?;
    if out.key.len() > KEY_BYTES_MAX {
        return Err(key_too_long(out.key.len()));
    }
    let fields = find_fields(line, at, options)?;
    let at = fields.end;
    split_fields(line, fields, out)?;
    out.timestamp = read_timestamp(line, at, options)?;
    Ok(())
}

fn key_too_long(bytes: usize) -> Reason {
    format!("max key length exceeded: {bytes} > {KEY_BYTES_MAX}").into()
}

/// Measurement and tags; where the blank after them stands.
fn read_key(line: &[u8], out: &mut Line) -> Result<usize, Reason> {
    out.tags.clear();
    out.tags_are_sorted = true;
    if line.is_empty() || line[0] == b',' {
        return Err("missing measurement".into());
    }
    let mut at = 1;
    loop {
        if at >= line.len() {
            return Err("missing fields".into());
        }
        if line[at - 1] != b'\\' && matches!(line[at], b',' | b' ') {
            break;
        }
        at += 1;
    }
    out.measurement = 0..at;
    while line[at] == b',' {
        let (tag, end) = read_tag(line, at + 1)?;
        out.tags.push(tag);
        at = end;
    }
    out.key = 0..at;
    check_tags(line, out)?;
    Ok(at)
}

/// One tag; where the comma or blank after it stands.
fn read_tag(line: &[u8], start: usize) -> Result<(Tag, usize), Reason> {
    let mut at = start;
    if at >= line.len() || matches!(line[at], b' ' | b',' | b'=') {
        return Err("missing tag key".into());
    }
    loop {
        at += 1;
        if at >= line.len() {
            return Err("missing tag value".into());
        }
        if line[at - 1] == b'\\' {
            continue;
        }
        match line[at] {
            b' ' | b',' => return Err("missing tag value".into()),
            b'=' => break,
            _ => {}
        }
    }
    let key = start..at;
    let value_at = at + 1;
    at = value_at;
    if at >= line.len() || matches!(line[at], b' ' | b',') {
        return Err("missing tag value".into());
    }
    loop {
        at += 1;
        if at >= line.len() {
            return Err("missing fields".into());
        }
        if line[at - 1] == b'\\' {
            continue;
        }
        match line[at] {
            b'=' => return Err("invalid tag format".into()),
            b' ' | b',' => return Ok((Tag { key, value: value_at..at }, at)),
            _ => {}
        }
    }
}

fn check_tags(line: &[u8], out: &mut Line) -> Result<(), Reason> {
    let key = |tag: &Tag| &line[tag.key.clone()];
    for pair in out.tags.windows(2) {
        match key(&pair[0]).cmp(key(&pair[1])) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Err("duplicate tags".into()),
            std::cmp::Ordering::Greater => {
                out.tags_are_sorted = false;
                break;
            }
        }
    }
    if !out.tags_are_sorted {
        out.tags.sort_by(|a, b| key(a).cmp(key(b)));
        if out.tags.windows(2).any(|pair| key(&pair[0]) == key(&pair[1])) {
            return Err("duplicate tags".into());
        }
    }
    Ok(())
}

/// Finds where the fields stand and checks every value but strings.
fn find_fields(line: &[u8], at: usize, options: &Options) -> Result<Range<usize>, Reason> {
    let start = skip_blanks(line, at);
    let mut at = start;
    let mut is_quoted = false;
    let (mut equals, mut commas) = (0usize, 0usize);
    // A delimiter at `at - 1` that is not escaped: `at >= 2`, because a measurement and a blank come before.
    let follows = |at: usize, byte: u8| line[at - 1] == byte && line[at - 2] != b'\\';
    while at < line.len() {
        match line[at] {
            b'\\' if at + 1 < line.len() => {
                at += 2;
                continue;
            }
            b'"' if equals > commas => is_quoted = !is_quoted,
            b'=' if !is_quoted => {
                equals += 1;
                if at == start || follows(at, b' ') || follows(at, b',') {
                    return Err("missing field key".into());
                }
                match line.get(at + 1) {
                    None | Some(b',' | b' ') => return Err("missing field value".into()),
                    Some(b'0'..=b'9' | b'.' | b'-' | b'N' | b'n') => {
                        at = number::check_number(line, at + 1, options.unsigned)?;
                        continue;
                    }
                    Some(b'"') => {}
                    Some(_) => {
                        at = number::check_boolean(line, at + 1)?;
                        continue;
                    }
                }
            }
            b',' if !is_quoted => commas += 1,
            b' ' if !is_quoted => break,
            _ => {}
        }
        at += 1;
    }
    if is_quoted {
        return Err("unbalanced quotes".into());
    }
    if start >= at {
        return Err(if start == line.len() || at == start {
            "missing fields".into()
        } else {
            "invalid field format".into()
        });
    }
    if equals == 0 || commas != equals - 1 {
        return Err("invalid field format".into());
    }
    Ok(start..at)
}

fn split_fields(line: &[u8], fields: Range<usize>, out: &mut Line) -> Result<(), Reason> {
    out.fields.clear();
    let mut at = fields.start;
    while at < fields.end {
        let name_end = (at..fields.end)
            .find(|&here| line[here] == b'=' && (here == at || line[here - 1] != b'\\'))
            .unwrap_or(fields.end);
        if name_end + 2 > fields.end {
            let name = String::from_utf8_lossy(&line[at..name_end]);
            return Err(format!("invalid value: field-key={name}").into());
        }
        let value_end = end_of_value(line, name_end + 1, fields.end);
        let name = at..name_end;
        let size = out.key.len() + 4 + name.len();
        if size > KEY_BYTES_MAX {
            return Err(key_too_long(size));
        }
        let value = name_end + 1..value_end;
        let field_type = type_of(&line[value.clone()])?;
        out.fields.push(Field { name, value, field_type });
        at = value_end + 1;
    }
    Ok(())
}

fn end_of_value(line: &[u8], mut at: usize, end: usize) -> usize {
    let mut is_quoted = false;
    while at < end {
        match line[at] {
            b'\\' if at + 1 < end && matches!(line[at + 1], b'"' | b'\\') => {
                at += 2;
                continue;
            }
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => return at,
            _ => {}
        }
        at += 1;
    }
    end
}

/// The type of a value by its first and last byte.
fn type_of(value: &[u8]) -> Result<FieldType, Reason> {
    match (value.first(), value.last()) {
        (Some(b'"'), _) if value.len() >= 2 => Ok(FieldType::String),
        (Some(b'0'..=b'9' | b'-' | b'.'), Some(b'i')) => Ok(FieldType::Integer),
        (Some(b'0'..=b'9' | b'-' | b'.'), Some(b'u')) => Ok(FieldType::Unsigned),
        (Some(b'0'..=b'9' | b'-' | b'.'), _) => Ok(FieldType::Float),
        (Some(b't' | b'T' | b'f' | b'F'), _) => Ok(FieldType::Boolean),
        // Only escapes in odd places lead here: the two ways to find a value's end differ.
        _ => Err("invalid field format".into()),
    }
}

/// The optional timestamp in ns, and nothing but blanks after it.
fn read_timestamp(line: &[u8], at: usize, options: &Options) -> Result<i64, Reason> {
    let start = skip_blanks(line, at);
    let mut at = start;
    while at < line.len() && !is_end_of_timestamp(line, at) {
        let is_sign = at == start && line[at] == b'-';
        if !is_sign && !line[at].is_ascii_digit() {
            return Err("bad timestamp".into());
        }
        at += 1;
    }
    if at == start {
        return Ok(options.precision.truncate(options.now));
    }
    let units = number::read_i64(&line[start..at])?;
    let timestamp = options.precision.timestamp(units).ok_or(number::TIME_OUT_OF_RANGE)?;
    while at < line.len() {
        if line[at] != b' ' && !is_end_of_timestamp(line, at) {
            return Err("point is invalid".into());
        }
        at += 1;
    }
    Ok(timestamp)
}

/// A blank, a newline, or the carriage return of a line that ends with one.
fn is_end_of_timestamp(line: &[u8], at: usize) -> bool {
    matches!(line[at], b' ' | b'\n') || (line[at] == b'\r' && at + 1 == line.len())
}

impl Line {
    /// The measurement's name.
    pub fn name<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        unescape_name(&line[self.measurement.clone()])
    }

    /// The key as sent is the canonical one.
    pub fn key_is_canonical(&self, line: &[u8]) -> bool {
        // A value that begins with `=` is legal unescaped, and a measurement may escape more than it must.
        self.tags_are_sorted
            && self.tags.iter().all(|tag| line[tag.value.start] != b'=')
            && memchr(b'\\', &line[self.measurement.clone()]).is_none()
    }

    /// Appends the canonical key.
    pub fn put_key(&self, line: &[u8], out: &mut Vec<u8>) {
        series_key::escape_measurement_into(out, &self.name(line));
        for tag in &self.tags {
            out.push(b',');
            out.extend_from_slice(&line[tag.key.clone()]);
            out.push(b'=');
            series_key::escape_tag_into(out, &series_key::unescape_tag(&line[tag.value.clone()]));
        }
    }

    pub fn has_time_tag(&self, line: &[u8]) -> bool {
        self.tags.iter().any(|tag| &line[tag.key.clone()] == b"time")
    }

    /// Takes out fields called `time` and all but the last of equal names.
    pub fn settle_fields(&mut self, line: &[u8]) {
        let name = |field: &Field| unescape_name(&line[field.name.clone()]);
        self.fields.retain(|field| &line[field.name.clone()] != b"time");
        // Few fields are compared pair by pair; a line of thousands must not cost their square.
        const PAIRWISE_MAX: usize = 32;
        if self.fields.len() <= PAIRWISE_MAX {
            let mut at = 0;
            while at < self.fields.len() {
                let this = name(&self.fields[at]);
                if self.fields[at + 1..].iter().any(|later| name(later) == this) {
                    self.fields.remove(at);
                } else {
                    at += 1;
                }
            }
            return;
        }
        let mut order: Vec<usize> = (0..self.fields.len()).collect();
        order.sort_by(|&a, &b| name(&self.fields[a]).cmp(&name(&self.fields[b])).then(a.cmp(&b)));
        let mut is_kept = vec![true; self.fields.len()];
        for pair in order.windows(2) {
            if name(&self.fields[pair[0]]) == name(&self.fields[pair[1]]) {
                is_kept[pair[0]] = false;
            }
        }
        let mut kept = is_kept.into_iter();
        self.fields.retain(|_| kept.next() == Some(true));
    }

    /// Measurement, tag keys and tag values are printable UTF-8.
    pub fn key_is_printable(&self, line: &[u8]) -> bool {
        is_printable(&self.name(line))
            && self.tags.iter().all(|tag| {
                is_printable(&series_key::unescape_tag(&line[tag.key.clone()]))
                    && is_printable(&series_key::unescape_tag(&line[tag.value.clone()]))
            })
    }
}

fn is_printable(name: &[u8]) -> bool {
    let is_format = |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let is_unassigned = |c: char| matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' | char::REPLACEMENT_CHARACTER);
    std::str::from_utf8(name).is_ok_and(|text| {
        text.chars().all(|c| {
            !c.is_control() && (c == ' ' || !c.is_whitespace()) && !is_format(c) && !is_unassigned(c)
        })
    })
}

/// A measurement or field key from its escaped form; here `\"` stands for `"` too.
pub(super) fn unescape_name(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\' && matches!(bytes.get(at + 1), Some(b',' | b'"' | b' ' | b'=')) {
            at += 1;
        }
        out.push(bytes[at]);
        at += 1;
    }
    Cow::Owned(out)
}

/// Appends one value as it stands in a batch.
pub(super) fn put_value(out: &mut Vec<u8>, value: &[u8], field_type: FieldType) -> Result<(), Reason> {
    match field_type {
        FieldType::Float => out.extend_from_slice(&number::read_f64(value)?.to_le_bytes()),
        FieldType::Integer => put_varint(out, zigzag(number::read_i64(&value[..value.len() - 1])?)),
        FieldType::Unsigned => put_varint(out, number::read_u64(&value[..value.len() - 1])?),
        FieldType::Boolean => out.push(u8::from(matches!(value[0], b't' | b'T'))),
        FieldType::String => put_string(out, &value[1..value.len() - 1]),
    }
    Ok(())
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    let is_escape = |at: usize| text[at] == b'\\' && matches!(text.get(at + 1), Some(b'"' | b'\\'));
    let mut escapes = 0;
    if memchr(b'\\', text).is_some() {
        let mut at = 0;
        while at < text.len() {
            if is_escape(at) {
                escapes += 1;
                at += 1;
            }
            at += 1;
        }
    }
    put_varint(out, (text.len() - escapes) as u64);
    if escapes == 0 {
        out.extend_from_slice(text);
        return;
    }
    let mut at = 0;
    while at < text.len() {
        if is_escape(at) {
            at += 1;
        }
        out.push(text[at]);
        at += 1;
    }
}
