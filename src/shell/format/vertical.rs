//! A line per value, for rows too wide to stand beside each other.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::escape::visible;
use super::{Formatter, messages, widened, widened_row};
use crate::shell::answer::{Answer, Series};

#[derive(Default)]
pub struct Vertical {
    rows: u64,
}

impl Formatter for Vertical {
    fn answer(&mut self, answer: Answer, out: &mut dyn Write) -> io::Result<()> {
        messages(&answer, out)?;
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

impl Vertical {
    fn series(&mut self, series: &Series, out: &mut dyn Write) -> io::Result<()> {
        let (columns, tags) = widened(series);
        series
            .values
            .iter()
            .try_for_each(|row| self.row(&series.name, &columns, &widened_row(series, row, &tags), out))
    }

    /// A row under its number and its measurement's name.
    pub fn row(
        &mut self,
        name: &str,
        columns: &[String],
        cells: &[String],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.rows += 1;
        let title = format!("-[ {} ]- {}", self.rows, visible(name));
        writeln!(out, "{}", title.trim_end())?;
        let columns: Vec<_> = columns.iter().map(|column| visible(column)).collect();
        let widest = columns.iter().map(|column| column.width()).max().unwrap_or_default();
        for (column, cell) in columns.iter().zip(cells) {
            let line = format!("{column}{:1$} | {2}", "", widest - column.width(), visible(cell));
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::shell::format::Format;
    use crate::shell::format::tests::{CHUNKS, plain_surroundings, shown};

    #[test]
    fn a_line_per_value() {
        let text = shown(Format::Vertical, plain_surroundings(), &CHUNKS);
        assert!(text.starts_with(
            "-[ 1 ]- cpu\ntime | 1\nhost | a\nmean | 1.5\nnote | x,y\n-[ 2 ]- cpu\ntime | 2\nhost | a\nmean |\n"
        ));
        assert!(text.ends_with("-[ 4 ]- cpu\ntime | 2\nhost | b\nmean | 3e+21\nnote | |\n"));
    }
}
