//! Rows as lines that can be written again. JSON does not tell an integer from a float, nor a tag from a string field:
//! the measurement's schema does. A number of a column the schema does not know (a mean, say) is a float.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use serde_json::Value;

use super::Formatter;
use crate::line_protocol::format::{put_field_key, put_measurement, put_string, put_tag};
use crate::shell::answer::{Answer, Series};

/// What is known of a measurement.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    pub tag_keys: HashSet<String>,
    /// The letter after a number of this field: `i` or `u`.
    pub integers: HashMap<String, char>,
}

/// Looks a measurement up.
pub type SchemaSource = Box<dyn FnMut(&str) -> Schema>;

pub struct LineProtocol {
    source: Option<SchemaSource>,
    schemas: HashMap<String, Schema>,
}

/// Measurements whose schema is remembered at once.
const SCHEMAS_MAX: usize = 1_000;

impl LineProtocol {
    pub fn new(source: Option<SchemaSource>) -> Self {
        Self { source, schemas: HashMap::new() }
    }

    fn series(&mut self, series: &Series, out: &mut dyn Write) -> io::Result<()> {
        // Answers about the server itself (SHOW …) have no time and are no points.
        let Some(time_at) = series.columns.iter().position(|column| column == "time") else {
            return writeln!(out, "# {}: no column \"time\", so its rows are no points", series.name);
        };
        if self.schemas.len() >= SCHEMAS_MAX {
            self.schemas.clear();
        }
        let source = &mut self.source;
        let schema = self.schemas.entry(series.name.clone()).or_insert_with(|| match source {
            Some(source) => source(&series.name),
            None => Schema::default(),
        });
        let mut line = Vec::new();
        for row in &series.values {
            line.clear();
            if put_row(series, schema, row, time_at, &mut line) {
                out.write_all(&line)?;
            }
        }
        Ok(())
    }
}

/// Appends a row's line; `false` if the row has no field.
fn put_row(series: &Series, schema: &Schema, row: &[Value], time_at: usize, line: &mut Vec<u8>) -> bool {
    put_measurement(line, series.name.as_bytes());
    let is_tag = |column: &str| schema.tag_keys.contains(column) && !series.tags.contains_key(column);
    let mut tags = series.sorted_tags();
    let columns = || series.columns.iter().zip(row).enumerate().filter(|(at, _)| *at != time_at);
    tags.extend(columns().filter_map(|(_, (column, value))| match value {
        Value::String(text) if is_tag(column) => Some((column.as_str(), text.as_str())),
        _ => None,
    }));
    tags.sort_unstable();
    for (key, value) in tags {
        put_tag(line, key.as_bytes(), value.as_bytes());
    }
    let mut separator = b' ';
    for (_, (column, value)) in columns() {
        if value.is_null() || is_tag(column) || value.is_array() || value.is_object() {
            continue;
        }
        line.push(separator);
        separator = b',';
        put_field_key(line, column.as_bytes());
        line.push(b'=');
        match value {
            Value::String(text) => put_string(line, text.as_bytes()),
            other => line.extend_from_slice(other.to_string().as_bytes()),
        }
        if let (Value::Number(_), Some(letter)) = (value, schema.integers.get(column)) {
            line.push(*letter as u8);
        }
    }
    if let Some(time) = row.get(time_at).filter(|time| time.is_number()) {
        line.extend_from_slice(format!(" {time}").as_bytes());
    }
    line.push(b'\n');
    separator == b','
}

impl Formatter for LineProtocol {
    fn answer(&mut self, answer: Answer, out: &mut dyn Write) -> io::Result<()> {
        answer
            .results
            .iter()
            .flat_map(|result| &result.series)
            .try_for_each(|series| self.series(series, out))
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::format::tests::{plain_surroundings, shown};
    use crate::shell::format::{Format, Surroundings};

    #[test]
    fn tags_and_integers_are_known_by_the_schema() {
        let source: SchemaSource = Box::new(|_| Schema {
            tag_keys: ["host".to_owned()].into(),
            integers: [("n".to_owned(), 'i'), ("u".to_owned(), 'u')].into(),
        });
        let text = r#"{"results":[{"series":[{"name":"a b","columns":["time","host","n","u","s","ok","v"],"values":[
            [5,"x y",3,4,"q\"q",true,1.5],[6,"z",null,null,null,null,null],[7,null,1,null,null,null,2]]}]}]}"#;
        assert_eq!(
            shown(Format::Line, Surroundings { schema: Some(source), ..plain_surroundings() }, &[text]),
            "a\\ b,host=x\\ y n=3i,u=4u,s=\"q\\\"q\",ok=true,v=1.5 5\na\\ b n=1i,v=2 7\n"
        );
    }

    #[test]
    fn answers_without_time_are_no_points() {
        let text = r#"{"results":[{"series":[{"name":"databases","columns":["name"],"values":[["d"]]}]}]}"#;
        assert_eq!(
            shown(Format::Line, plain_surroundings(), &[text]),
            "# databases: no column \"time\", so its rows are no points\n"
        );
    }
}
