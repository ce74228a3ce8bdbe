//! Answers as text. `column`, `csv` and `json` are byte for byte what `influx` prints; the others are for people and for
//! other programs.
//!
//! A [`Formatter`] takes an answer document by document, as chunks arrive, and ends with `finish`. Those that can
//! (csv, ndjson, line, markdown, vertical, and table within a chunk) keep nothing; `column` must know all rows to align
//! them, and `json` is one document.

mod column;
mod csv;
mod escape;
mod json;
mod line_protocol;
mod markdown;
mod ndjson;
mod table;
mod tabwriter;
mod vertical;

use std::io::{self, Write};

use super::answer::{Answer, Series, plain};

pub use escape::visible;
pub use json::string as json_string;
pub use line_protocol::{Schema, SchemaSource};
pub use tabwriter::Tabwriter;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Column,
    Csv,
    Json,
    Ndjson,
    Line,
    Table,
    Vertical,
    Markdown,
}

/// Every format with its name, in the order help shows them.
pub const FORMATS: [(&str, Format); 8] = [
    ("column", Format::Column),
    ("csv", Format::Csv),
    ("json", Format::Json),
    ("ndjson", Format::Ndjson),
    ("line", Format::Line),
    ("table", Format::Table),
    ("vertical", Format::Vertical),
    ("markdown", Format::Markdown),
];

impl Format {
    pub fn from_name(name: &str) -> Option<Self> {
        FORMATS.iter().find(|(known, _)| *known == name).map(|&(_, format)| format)
    }

    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|&&(_, format)| format == self).map_or("", |&(name, _)| name)
    }

    /// The answer is as long as its rows, and rows are what is read: worth a pager.
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Column | Self::Table | Self::Vertical | Self::Markdown)
    }
}

/// Turns an answer into text.
pub trait Formatter {
    fn answer(&mut self, answer: Answer, out: &mut dyn Write) -> io::Result<()>;

    /// After the last document.
    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// What a formatter may need beyond the answer.
pub struct Surroundings {
    pub pretty: bool,
    /// Columns of the terminal; `None` when the text goes elsewhere.
    pub width: Option<usize>,
    /// Colours and box lines are welcome.
    pub is_terminal: bool,
    /// Names and types of a measurement's fields, for line protocol.
    pub schema: Option<SchemaSource>,
}

pub fn formatter(format: Format, surroundings: Surroundings) -> Box<dyn Formatter> {
    match format {
        Format::Column => Box::new(column::Column::new(surroundings.is_terminal)),
        Format::Csv => Box::new(csv::Csv::default()),
        Format::Json => Box::new(json::Json::new(surroundings.pretty)),
        Format::Ndjson => Box::new(ndjson::Ndjson),
        Format::Line => Box::new(line_protocol::LineProtocol::new(surroundings.schema)),
        Format::Table => Box::new(table::Table::new(surroundings.width, surroundings.is_terminal)),
        Format::Vertical => Box::new(vertical::Vertical::default()),
        Format::Markdown => Box::new(markdown::Markdown::default()),
    }
}

/// Messages of the server, in the words of `influx`.
fn messages(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    for message in answer.results.iter().flat_map(|result| &result.messages) {
        writeln!(out, "{}: {}.", message.level, message.text)?;
    }
    Ok(())
}

/// Tags as further columns before those of the series: names, and the values that every row begins with.
fn widened(series: &Series) -> (Vec<String>, Vec<String>) {
    let tags = series.sorted_tags();
    // Time stays the first column.
    let at = usize::from(series.columns.first().is_some_and(|first| first == "time"));
    let mut columns: Vec<String> = series.columns.clone();
    columns.splice(at..at, tags.iter().map(|(key, _)| (*key).to_owned()));
    (columns, tags.iter().map(|(_, value)| (*value).to_owned()).collect())
}

/// A row with the tags' values in their place.
fn widened_row(series: &Series, row: &[serde_json::Value], tags: &[String]) -> Vec<String> {
    let at = usize::from(series.columns.first().is_some_and(|first| first == "time")).min(row.len());
    let mut cells: Vec<String> = row[..at].iter().map(plain).collect();
    cells.extend(tags.iter().cloned());
    cells.extend(row[at..].iter().map(plain));
    cells
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer of two chunks: grouped series, a null, and text with everything that needs care.
    pub const CHUNKS: [&str; 2] = [
        r#"{"results":[{"statement_id":0,"series":[{"name":"cpu","tags":{"host":"a"},"columns":["time","mean","note"],"values":[[1,1.5,"x,y"],[2,null,"tab\there"]]},{"name":"cpu","tags":{"host":"b"},"columns":["time","mean","note"],"values":[[1,20,"<\"q\">"]],"partial":true}],"partial":true}]}"#,
        r#"{"results":[{"statement_id":0,"series":[{"name":"cpu","tags":{"host":"b"},"columns":["time","mean","note"],"values":[[2,3e+21,"|"]]}]}]}"#,
    ];

    pub fn shown(format: Format, surroundings: Surroundings, documents: &[&str]) -> String {
        let mut formatter = formatter(format, surroundings);
        let mut out = Vec::new();
        for document in documents {
            formatter.answer(serde_json::from_str(document).unwrap(), &mut out).unwrap();
        }
        formatter.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    pub fn plain_surroundings() -> Surroundings {
        Surroundings { pretty: false, width: None, is_terminal: false, schema: None }
    }

    #[test]
    fn every_format_has_a_name_and_shows_an_empty_answer() {
        for (name, format) in FORMATS {
            assert_eq!(Format::from_name(name), Some(format));
            assert_eq!(format.name(), name);
            let empty = shown(format, plain_surroundings(), &[r#"{"results":[{"statement_id":0}]}"#]);
            let want = if format == Format::Json { "{\"results\":[{}]}\n" } else { "" };
            assert_eq!(empty, want, "{name}");
        }
    }
}
