//! `influx`'s `csv`: a header per series, with `name` and `tags` as columns, and fields quoted as Go's `encoding/csv`
//! quotes them.

use std::io::{self, Write};

use super::Formatter;
use crate::shell::answer::{Answer, Series, StatementResult, plain};

#[derive(Default)]
pub struct Csv {
    previous: Series,
}

impl Formatter for Csv {
    fn answer(&mut self, answer: Answer, out: &mut dyn Write) -> io::Result<()> {
        answer.results.iter().try_for_each(|result| self.result(result, out))
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

impl Csv {
    fn result(&mut self, result: &StatementResult, out: &mut dyn Write) -> io::Result<()> {
        let is_continued = result.series.first().is_some_and(|first| first.continues(&self.previous));
        if let Some(first) = result.series.first().filter(|_| !is_continued) {
            self.previous = first.head();
        }
        for series in &result.series {
            let mut tags: Vec<String> =
                series.sorted_tags().iter().map(|(key, value)| format!("{key}={value}")).collect();
            tags.sort();
            let tags = tags.join(",");
            let has_name = !series.name.is_empty();
            if !is_continued {
                let mut head: Vec<&str> = Vec::new();
                head.extend(has_name.then_some("name"));
                head.extend((!tags.is_empty()).then_some("tags"));
                head.extend(series.columns.iter().map(String::as_str));
                record(&head, out)?;
            }
            for row in &series.values {
                let cells: Vec<String> = row.iter().map(plain).collect();
                let mut fields: Vec<&str> = Vec::new();
                fields.extend(has_name.then_some(series.name.as_str()));
                fields.extend((!tags.is_empty()).then_some(tags.as_str()));
                fields.extend(cells.iter().map(String::as_str));
                record(&fields, out)?;
            }
        }
        Ok(())
    }
}

/// `influx` joins a row by tabs before it splits it again: a tab within a value ends a field.
fn record(fields: &[&str], out: &mut dyn Write) -> io::Result<()> {
    for (at, field) in fields.iter().flat_map(|field| field.split('\t')).enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        if needs_quotes(field) {
            write!(out, "\"{}\"", field.replace('"', "\"\""))?;
        } else {
            out.write_all(field.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

fn needs_quotes(field: &str) -> bool {
    field == "\\."
        || field.contains([',', '"', '\r', '\n'])
        || field.chars().next().is_some_and(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use crate::shell::format::Format;
    use crate::shell::format::tests::{CHUNKS, plain_surroundings, shown};

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(
            shown(Format::Csv, plain_surroundings(), &CHUNKS[..1]),
            "name,tags,time,mean,note\ncpu,host=a,1,1.5,\"x,y\"\ncpu,host=a,2,,tab,here\n\
             name,tags,time,mean,note\ncpu,host=b,1,20,\"<\"\"q\"\">\"\n"
        );
    }
}
