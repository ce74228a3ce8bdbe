//! `influx`'s `json`: the whole answer as one document, written as Go's `encoding/json` writes it.

use std::io::{self, Write};

use serde_json::Value;

use super::Formatter;
use crate::shell::answer::{Answer, Series, StatementResult};

pub struct Json {
    pretty: bool,
    answer: Answer,
}

impl Json {
    pub fn new(pretty: bool) -> Self {
        Self { pretty, answer: Answer::default() }
    }
}

impl Formatter for Json {
    fn answer(&mut self, answer: Answer, _: &mut dyn Write) -> io::Result<()> {
        self.answer.results.extend(answer.results);
        self.answer.error = answer.error.or(self.answer.error.take());
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut writer = Writer { text: String::new(), pretty: self.pretty, depth: 0 };
        writer.answer(&self.answer);
        writer.text.push('\n');
        out.write_all(writer.text.as_bytes())
    }
}

struct Writer {
    text: String,
    pretty: bool,
    depth: usize,
}

impl Writer {
    fn answer(&mut self, answer: &Answer) {
        let mut object = Items::default();
        object.open(self, '{');
        if !answer.results.is_empty() {
            object.key(self, "results");
            self.list(&answer.results, Self::result);
        }
        if let Some(error) = answer.error.as_ref().filter(|error| !error.is_empty()) {
            object.key(self, "error");
            string(error, &mut self.text);
        }
        object.close(self, '}');
    }

    fn result(&mut self, result: &StatementResult) {
        let mut object = Items::default();
        object.open(self, '{');
        if !result.series.is_empty() {
            object.key(self, "series");
            self.list(&result.series, Self::series);
        }
        if !result.messages.is_empty() {
            object.key(self, "messages");
            self.list(&result.messages, |writer, message| {
                let mut object = Items::default();
                object.open(writer, '{');
                object.key(writer, "level");
                string(&message.level, &mut writer.text);
                object.key(writer, "text");
                string(&message.text, &mut writer.text);
                object.close(writer, '}');
            });
        }
        if let Some(error) = result.error.as_ref().filter(|error| !error.is_empty()) {
            object.key(self, "error");
            string(error, &mut self.text);
        }
        object.close(self, '}');
    }

    fn series(&mut self, series: &Series) {
        let mut object = Items::default();
        object.open(self, '{');
        if !series.name.is_empty() {
            object.key(self, "name");
            string(&series.name, &mut self.text);
        }
        let tags = series.sorted_tags();
        if !tags.is_empty() {
            object.key(self, "tags");
            let mut inner = Items::default();
            inner.open(self, '{');
            for (key, value) in tags {
                inner.key(self, key);
                string(value, &mut self.text);
            }
            inner.close(self, '}');
        }
        if !series.columns.is_empty() {
            object.key(self, "columns");
            self.list(&series.columns, |writer, column| string(column, &mut writer.text));
        }
        if !series.values.is_empty() {
            object.key(self, "values");
            self.list(&series.values, |writer, row| writer.list(row, Self::value));
        }
        if series.partial {
            object.key(self, "partial");
            self.text.push_str("true");
        }
        object.close(self, '}');
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        let mut list = Items::default();
        list.open(self, '[');
        for item in items {
            list.next(self);
            write(self, item);
        }
        list.close(self, ']');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => string(text, &mut self.text),
            other => self.text.push_str(&other.to_string()),
        }
    }
}

/// The commas and line breaks of an object or array.
#[derive(Default)]
struct Items {
    count: usize,
}

impl Items {
    fn open(&mut self, writer: &mut Writer, bracket: char) {
        writer.text.push(bracket);
        writer.depth += 1;
    }

    fn next(&mut self, writer: &mut Writer) {
        if self.count > 0 {
            writer.text.push(',');
        }
        self.count += 1;
        self.line(writer);
    }

    fn key(&mut self, writer: &mut Writer, name: &str) {
        self.next(writer);
        string(name, &mut writer.text);
        writer.text.push_str(if writer.pretty { ": " } else { ":" });
    }

    fn close(&mut self, writer: &mut Writer, bracket: char) {
        writer.depth -= 1;
        if self.count > 0 {
            self.line(writer);
        }
        writer.text.push(bracket);
    }

    fn line(&self, writer: &mut Writer) {
        if writer.pretty {
            writer.text.push('\n');
            writer.text.extend(std::iter::repeat_n("    ", writer.depth));
        }
    }
}

/// A JSON string as Go writes it, safe to stand in HTML.
pub fn string(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                out.push_str(&format!("\\u{:04x}", char as u32));
            }
            char => out.push(char),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use crate::shell::format::tests::{CHUNKS, plain_surroundings, shown};
    use crate::shell::format::{Format, Surroundings};

    #[test]
    fn one_document_as_go_writes_it() {
        assert_eq!(
            shown(Format::Json, plain_surroundings(), &CHUNKS),
            concat!(
                r#"{"results":[{"series":[{"name":"cpu","tags":{"host":"a"},"columns":["time","mean","note"],"values":[[1,1.5,"x,y"],[2,null,"tab\there"]]},"#,
                r#"{"name":"cpu","tags":{"host":"b"},"columns":["time","mean","note"],"values":[[1,20,"\u003c\"q\"\u003e"]],"partial":true}]},"#,
                r#"{"series":[{"name":"cpu","tags":{"host":"b"},"columns":["time","mean","note"],"values":[[2,3e+21,"|"]]}]}]}"#,
                "\n"
            )
        );
        assert_eq!(
            shown(Format::Json, plain_surroundings(), &[r#"{"error":"bad"}"#]),
            "{\"error\":\"bad\"}\n"
        );
    }

    #[test]
    fn pretty_is_indented_by_four() {
        let surroundings = Surroundings { pretty: true, ..plain_surroundings() };
        let text = r#"{"results":[{},{"series":[{"name":"m","columns":["v"],"values":[[1]]}]}]}"#;
        let want = "{\n    \"results\": [\n        {},\n        {\n            \"series\": [\n                {\n                    \
                    \"name\": \"m\",\n                    \"columns\": [\n                        \"v\"\n                    ],\n                    \
                    \"values\": [\n                        [\n                            1\n                        ]\n                    ]\n                \
                    }\n            ]\n        }\n    ]\n}\n";
        assert_eq!(shown(Format::Json, surroundings, &[text]), want);
    }
}
