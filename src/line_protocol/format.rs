//! Values to line protocol: what export, subscriptions and the shell print.
//!
//! The text reads back as the same point: escapes are those of `series_key`, floats have their shortest digits,
//! integers and unsigned integers their letter, strings their quotes.

use tidemark_engine::model::{Batch, FieldType, Value, batch, series_key};

/// Appends `measurement,tag=value field=value timestamp` without a newline. `key` is a canonical series key.
pub fn put_point<'a>(
    out: &mut Vec<u8>,
    key: &[u8],
    fields: impl Iterator<Item = (&'a [u8], &'a Value)>,
    timestamp: i64,
) {
    out.extend_from_slice(key);
    for (at, (name, value)) in fields.enumerate() {
        out.push(if at == 0 { b' ' } else { b',' });
        put_field_key(out, name);
        out.push(b'=');
        put_value(out, value);
    }
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(timestamp).as_bytes());
}

/// Appends every row of a batch as a line with its newline.
pub fn put_batch(out: &mut Vec<u8>, points: &Batch) {
    let series = points.series().whole();
    for row in points.rows() {
        out.extend_from_slice(series.get(row.series).1);
        let mut values = row.values;
        for (at, (field_type, name)) in points.shape(row.shape).fields().enumerate() {
            out.push(if at == 0 { b' ' } else { b',' });
            put_field_key(out, name);
            out.push(b'=');
            let value =
                batch::take_value(&mut values, field_type).expect("a batch is checked when it is read");
            put_value(out, &value);
        }
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(row.timestamp).as_bytes());
        out.push(b'\n');
    }
}

/// Appends a measurement's name, escaped.
pub fn put_measurement(out: &mut Vec<u8>, name: &[u8]) {
    series_key::escape_measurement_into(out, name);
}

/// Appends `,key=value` of a tag, escaped; nothing when the value is empty.
pub fn put_tag(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    if value.is_empty() {
        return;
    }
    out.push(b',');
    series_key::escape_tag_into(out, key);
    out.push(b'=');
    series_key::escape_tag_into(out, value);
}

/// Appends a field's name, escaped.
pub fn put_field_key(out: &mut Vec<u8>, name: &[u8]) {
    series_key::escape_tag_into(out, name);
}

/// Appends a value as it stands after `=`.
pub fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Float(value) => put_float(out, *value),
        Value::Integer(value) => {
            out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes());
            out.push(b'i');
        }
        Value::Unsigned(value) => {
            out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes());
            out.push(b'u');
        }
        Value::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::String(value) => put_string(out, value),
    }
}

/// Appends a string with its quotes.
pub fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Line protocol has no word for infinities and NaN; none can be stored, and none is made up here.
fn put_float(out: &mut Vec<u8>, value: f64) {
    debug_assert!(value.is_finite(), "BUG: a stored float is finite");
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    // Whole numbers carry no `.0`: shorter, and what InfluxDB's own export prints.
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// The type's letter after a number, as sent.
pub fn type_suffix(field_type: FieldType) -> &'static str {
    match field_type {
        FieldType::Integer => "i",
        FieldType::Unsigned => "u",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_written_as_it_is_read() {
        let check = |value: Value, want: &str| {
            let mut out = Vec::new();
            put_value(&mut out, &value);
            assert_eq!(String::from_utf8_lossy(&out), want);
        };
        check(Value::Float(1.0), "1");
        check(Value::Float(-0.64), "-0.64");
        check(Value::Float(1e300), "1e+300");
        check(Value::Integer(i64::MIN), "-9223372036854775808i");
        check(Value::Unsigned(u64::MAX), "18446744073709551615u");
        check(Value::Boolean(true), "true");
        check(Value::String(b"a \"b\" \\c, d=e".to_vec()), r#""a \"b\" \\c, d=e""#);
    }

    #[test]
    fn names_are_escaped_by_where_they_stand() {
        let mut out = Vec::new();
        put_measurement(&mut out, b"a,b c=d");
        put_tag(&mut out, b"k,=", b"v w");
        put_tag(&mut out, b"empty", b"");
        out.push(b' ');
        put_field_key(&mut out, b"f g,h=");
        assert_eq!(String::from_utf8_lossy(&out), r"a\,b\ c=d,k\,\==v\ w f\ g\,h\=");
    }
}
