//! A JSON object per row and line, for `jq` and its like: the measurement as `name`, tags, then the columns.

use std::io::{self, Write};

use super::{Formatter, json_string};
use crate::shell::answer::Answer;

pub struct Ndjson;

impl Formatter for Ndjson {
    fn answer(&mut self, answer: Answer, out: &mut dyn Write) -> io::Result<()> {
        let mut line = String::new();
        for series in answer.results.iter().flat_map(|result| &result.series) {
            let mut start = String::from("{");
            let member = |text: &mut String, key: &str| {
                if text.len() > 1 {
                    text.push(',');
                }
                json_string(key, text);
                text.push(':');
            };
            if !series.name.is_empty() && !series.columns.iter().any(|column| column == "name") {
                member(&mut start, "name");
                json_string(&series.name, &mut start);
            }
            for (key, value) in series.sorted_tags() {
                // A column of the same name says the same or more.
                if !series.columns.iter().any(|column| column == key) {
                    member(&mut start, key);
                    json_string(value, &mut start);
                }
            }
            for row in &series.values {
                line.clear();
                line.push_str(&start);
                for (column, value) in series.columns.iter().zip(row) {
                    member(&mut line, column);
                    match value.as_str() {
                        Some(text) => json_string(text, &mut line),
                        None => line.push_str(&value.to_string()),
                    }
                }
                line.push_str("}\n");
                out.write_all(line.as_bytes())?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::shell::format::Format;
    use crate::shell::format::tests::{CHUNKS, plain_surroundings, shown};

    #[test]
    fn every_row_is_an_object() {
        let text = shown(Format::Ndjson, plain_surroundings(), &CHUNKS);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], r#"{"name":"cpu","host":"a","time":1,"mean":1.5,"note":"x,y"}"#);
        assert_eq!(lines.len(), 4);
        for line in lines {
            let _: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        }
    }
}
