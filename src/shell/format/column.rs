//! `influx`'s `column`: per series its name, its tags, a header, and rows aligned by tabs. Values that reach a terminal
//! may not steer it; everywhere else they are what they are.

use std::io::{self, Write};

use super::{Formatter, Tabwriter, visible};
use crate::shell::answer::{Answer, Series, StatementResult, plain};

pub struct Column {
    is_terminal: bool,
    writer: Tabwriter,
    /// The head of the last series that had its head shown: a chunk that goes on with it shows none.
    previous: Series,
    results: usize,
}

impl Formatter for Column {
    fn answer(&mut self, answer: Answer, out: &mut dyn Write) -> io::Result<()> {
        answer.results.iter().try_for_each(|result| self.result(result, out))
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.writer.flush(out)
    }
}

impl Column {
    pub fn new(is_terminal: bool) -> Self {
        Self { is_terminal, writer: Tabwriter::default(), previous: Series::default(), results: 0 }
    }

    fn result(&mut self, result: &StatementResult, out: &mut dyn Write) -> io::Result<()> {
        for message in &result.messages {
            writeln!(out, "{}: {}.", message.level, message.text)?;
        }
        let is_continued = result.series.first().is_some_and(|first| first.continues(&self.previous));
        if let Some(first) = result.series.first().filter(|_| !is_continued) {
            self.previous = first.head();
        }
        if !is_continued && self.results > 0 {
            self.writer.write("\n", out)?;
        }
        self.results += 1;
        let mut text = String::new();
        for (at, series) in result.series.iter().enumerate() {
            if !is_continued {
                head(series, at > 0, &mut text);
            }
            for row in &series.values {
                for (at, value) in row.iter().enumerate() {
                    if at > 0 {
                        text.push('\t');
                    }
                    match self.is_terminal {
                        true => text.push_str(&visible(&plain(value))),
                        false => text.push_str(&plain(value)),
                    }
                }
                text.push('\n');
            }
        }
        self.writer.write(&text, out)
    }
}

fn head(series: &Series, is_later: bool, text: &mut String) {
    if is_later {
        text.push('\n');
    }
    if !series.name.is_empty() {
        text.push_str(&format!("name: {}\n", series.name));
    }
    if !series.tags.is_empty() {
        let mut tags: Vec<String> =
            series.sorted_tags().iter().map(|(key, value)| format!("{key}={value}")).collect();
        tags.sort();
        text.push_str(&format!("tags: {}\n", tags.join(", ")));
    }
    text.push_str(&series.columns.join("\t"));
    text.push('\n');
    // As wide as the name's bytes, not its characters.
    let dashes: Vec<String> = series.columns.iter().map(|column| "-".repeat(column.len())).collect();
    text.push_str(&dashes.join("\t"));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use crate::shell::format::Format;
    use crate::shell::format::tests::{CHUNKS, plain_surroundings, shown};

    #[test]
    fn series_have_heads_and_a_later_chunk_goes_on() {
        assert_eq!(
            shown(Format::Column, plain_surroundings(), &CHUNKS[..1]),
            "name: cpu\ntags: host=a\ntime mean note\n---- ---- ----\n1    1.5  x,y\n2         tab here\n\n\
             name: cpu\ntags: host=b\ntime mean note\n---- ---- ----\n1    20   <\"q\">\n"
        );
        let rows = r#"{"results":[{"series":[{"name":"m","columns":["time","v"],"values":[[1,2]]}]}]}"#;
        assert_eq!(
            shown(Format::Column, plain_surroundings(), &[rows, rows]),
            "name: m\ntime v\n---- -\n1    2\n1    2\n"
        );
    }

    #[test]
    fn messages_come_first() {
        let text = r#"{"results":[{"messages":[{"level":"warning","text":"old"}]},{}]}"#;
        assert_eq!(shown(Format::Column, plain_surroundings(), &[text]), "warning: old.\n\n");
    }
}
