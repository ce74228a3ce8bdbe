//! A table per measurement, tags as columns, numbers to the right; rows that are wider than the terminal are shown
//! vertically. A table is laid out in blocks of rows, so that a long one needs no memory for all of it: columns may grow
//! from one block to the next, never shrink.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::escape::visible;
use super::vertical::Vertical;
use super::{Formatter, messages, widened, widened_row};
use crate::shell::answer::{Answer, Series};

/// Narrower than this, a column of a table that is too wide for its terminal is not worth reading.
const WIDTH_MIN: usize = 20;

/// Rows that are laid out together.
const BLOCK_ROWS: usize = 1_000;

pub struct Table {
    /// Of the terminal.
    width: Option<usize>,
    lines: &'static Lines,
    open: Option<Open>,
    vertical: Vertical,
    rows: u64,
}

/// The table that is being written.
struct Open {
    name: String,
    columns: Vec<String>,
    widths: Vec<usize>,
    is_number: Vec<bool>,
    has_head: bool,
    /// Not written yet.
    block: Vec<Vec<String>>,
}

/// What boxes are drawn with.
struct Lines {
    horizontal: &'static str,
    vertical: &'static str,
    cross: &'static str,
}

const BOX: Lines = Lines { horizontal: "─", vertical: "│", cross: "┼" };
const ASCII: Lines = Lines { horizontal: "-", vertical: "|", cross: "+" };

impl Table {
    pub fn new(width: Option<usize>, is_terminal: bool) -> Self {
        Self {
            width,
            lines: if is_terminal { &BOX } else { &ASCII },
            open: None,
            vertical: Vertical::default(),
            rows: 0,
        }
    }
}

impl Formatter for Table {
    fn answer(&mut self, answer: Answer, out: &mut dyn Write) -> io::Result<()> {
        messages(&answer, out)?;
        answer
            .results
            .iter()
            .flat_map(|result| &result.series)
            .try_for_each(|series| self.series(series, out))
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.close(out)?;
        if self.rows > 0 {
            writeln!(out, "({} {})", self.rows, if self.rows == 1 { "row" } else { "rows" })?;
        }
        self.rows = 0;
        Ok(())
    }
}

impl Table {
    fn series(&mut self, series: &Series, out: &mut dyn Write) -> io::Result<()> {
        let (columns, tags) = widened(series);
        let is_same = |open: &Open| open.name == series.name && open.columns == columns;
        let mut open = match self.open.take() {
            Some(open) if is_same(&open) => open,
            other => {
                self.open = other;
                self.close(out)?;
                Open {
                    name: series.name.clone(),
                    widths: columns.iter().map(|column| visible(column).width()).collect(),
                    is_number: vec![true; columns.len()],
                    columns,
                    has_head: false,
                    block: Vec::new(),
                }
            }
        };
        self.rows += series.values.len() as u64;
        for row in &series.values {
            let row = widened_row(series, row, &tags);
            for (at, cell) in row.iter().enumerate().take(open.widths.len()) {
                open.widths[at] = open.widths[at].max(visible(cell).width());
                open.is_number[at] &= cell.is_empty() || is_number(cell);
            }
            open.block.push(row);
            if open.block.len() == BLOCK_ROWS {
                self.block(&mut open, out)?;
            }
        }
        self.open = Some(open);
        Ok(())
    }

    /// Ends the table that is open.
    fn close(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match self.open.take() {
            Some(mut open) => self.block(&mut open, out),
            None => Ok(()),
        }
    }

    fn block(&mut self, open: &mut Open, out: &mut dyn Write) -> io::Result<()> {
        let rows = std::mem::take(&mut open.block);
        let total = open.widths.iter().sum::<usize>() + 3 * open.widths.len().saturating_sub(1) + 2;
        if self.width.is_some_and(|width| total > width && total > WIDTH_MIN) {
            return rows.iter().try_for_each(|row| self.vertical.row(&open.name, &open.columns, row, out));
        }
        if !open.has_head && !rows.is_empty() {
            open.has_head = true;
            self.head(open, out)?;
        }
        rows.iter().try_for_each(|row| self.line(open, row, out))
    }

    fn head(&self, open: &Open, out: &mut dyn Write) -> io::Result<()> {
        if !open.name.is_empty() {
            writeln!(out, "{}", visible(&open.name))?;
        }
        self.line(open, &open.columns, out)?;
        let dashes: Vec<String> =
            open.widths.iter().map(|width| self.lines.horizontal.repeat(width + 2)).collect();
        writeln!(out, "{}", dashes.join(self.lines.cross))
    }

    fn line(&self, open: &Open, cells: &[String], out: &mut dyn Write) -> io::Result<()> {
        let mut text = String::new();
        for (at, cell) in cells.iter().enumerate().take(open.widths.len()) {
            let cell = visible(cell);
            let blanks = " ".repeat(open.widths[at].saturating_sub(cell.width()));
            if at > 0 {
                text.push_str(self.lines.vertical);
            }
            text.push(' ');
            if open.is_number[at] {
                text.push_str(&blanks);
                text.push_str(&cell);
            } else {
                text.push_str(&cell);
                text.push_str(&blanks);
            }
            text.push(' ');
        }
        writeln!(out, "{}", text.trim_end())
    }
}

fn is_number(cell: &str) -> bool {
    cell.starts_with(|first: char| first.is_ascii_digit() || first == '-') && cell.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use crate::shell::format::tests::{CHUNKS, plain_surroundings, shown};
    use crate::shell::format::{Format, Surroundings};

    #[test]
    fn numbers_stand_to_the_right_and_tags_are_columns() {
        assert_eq!(
            shown(Format::Table, plain_surroundings(), &CHUNKS[..1]),
            "cpu\n time | host | mean | note\n------+------+------+-----------\n    1 | a    |  1.5 | x,y\n    2 | a    |      | tab\\there\n    \
             1 | b    |   20 | <\"q\">\n(3 rows)\n"
        );
    }

    #[test]
    fn what_is_too_wide_is_shown_vertically() {
        let narrow = Surroundings { width: Some(30), is_terminal: true, ..plain_surroundings() };
        let text = shown(Format::Table, narrow, &CHUNKS[..1]);
        assert!(text.starts_with("-[ 1 ]- cpu\ntime | 1\n"), "{text}");
        assert!(text.ends_with("(3 rows)\n"));
    }
}
