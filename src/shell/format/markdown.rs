//! A Markdown table per measurement, tags as columns.

use std::io::{self, Write};

use super::escape::visible;
use super::{Formatter, messages, widened, widened_row};
use crate::shell::answer::Answer;

#[derive(Default)]
pub struct Markdown {
    /// Name and columns of the table that is open.
    open: Option<(String, Vec<String>)>,
}

impl Formatter for Markdown {
    fn answer(&mut self, answer: Answer, out: &mut dyn Write) -> io::Result<()> {
        messages(&answer, out)?;
        for series in answer.results.iter().flat_map(|result| &result.series) {
            let (columns, tags) = widened(series);
            let table = (series.name.clone(), columns);
            if self.open.as_ref() != Some(&table) {
                if self.open.is_some() {
                    writeln!(out)?;
                }
                if !series.name.is_empty() {
                    writeln!(out, "**{}**\n", escaped(&series.name))?;
                }
                line(&table.1, out)?;
                writeln!(out, "|{}", "---|".repeat(table.1.len()))?;
                self.open = Some(table);
            }
            for row in &series.values {
                line(&widened_row(series, row, &tags), out)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<()> {
        self.open = None;
        Ok(())
    }
}

fn line(cells: &[String], out: &mut dyn Write) -> io::Result<()> {
    for cell in cells {
        write!(out, "| {} ", escaped(cell))?;
    }
    writeln!(out, "|")
}

fn escaped(text: &str) -> String {
    visible(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use crate::shell::format::Format;
    use crate::shell::format::tests::{CHUNKS, plain_surroundings, shown};

    #[test]
    fn series_of_a_measurement_share_a_table() {
        assert_eq!(
            shown(Format::Markdown, plain_surroundings(), &CHUNKS),
            "**cpu**\n\n| time | host | mean | note |\n|---|---|---|---|\n| 1 | a | 1.5 | x,y |\n| 2 | a |  | tab\\there |\n\
             | 1 | b | 20 | <\"q\"> |\n| 2 | b | 3e+21 | \\| |\n"
        );
    }
}
