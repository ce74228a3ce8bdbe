//! Columns as Go's `text/tabwriter` aligns them, which is how `influx` prints: a cell is as wide as the widest cell of
//! its block of lines that follow each other and have a cell in that place; the last cell of a line counts for nothing.

use std::io::{self, Write};

/// Blanks between two columns.
const PADDING: usize = 1;

/// Columns that are aligned; the recursion goes as deep. Those beyond follow each other with a blank between them.
const COLUMNS_MAX: usize = 1_000;

/// Lines waiting to be aligned. A line of one cell divides blocks, so that all before it is written.
#[derive(Default)]
pub struct Tabwriter {
    lines: Vec<Vec<Cell>>,
    cell: String,
}

struct Cell {
    text: String,
    width: usize,
}

impl Tabwriter {
    /// Takes text in which tabs end cells and line feeds end lines.
    pub fn write(&mut self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        for char in text.chars() {
            match char {
                '\t' | '\x0b' => self.end_cell(),
                '\n' | '\x0c' => {
                    self.end_cell();
                    let is_single = self.lines.last().is_some_and(|line| line.len() == 1);
                    self.lines.push(Vec::new());
                    if is_single || char == '\x0c' {
                        self.flush(out)?;
                    }
                }
                char => self.cell.push(char),
            }
        }
        Ok(())
    }

    fn end_cell(&mut self) {
        let text = std::mem::take(&mut self.cell);
        let width = text.chars().count();
        if self.lines.is_empty() {
            self.lines.push(Vec::new());
        }
        if let Some(line) = self.lines.last_mut() {
            line.push(Cell { text, width });
        }
    }

    /// Writes all lines that are whole.
    pub fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        if let Some(last) = lines.pop()
            && !last.is_empty()
        {
            self.lines.push(last);
        }
        let mut widths = Vec::new();
        format(&lines, &mut widths, out)
    }
}

fn format(lines: &[Vec<Cell>], widths: &mut Vec<usize>, out: &mut dyn Write) -> io::Result<()> {
    let column = widths.len();
    let mut start = 0;
    let mut at = 0;
    while at < lines.len() {
        if column + 1 >= lines[at].len() || column >= COLUMNS_MAX {
            at += 1;
            continue;
        }
        write_lines(&lines[start..at], widths, out)?;
        start = at;
        let mut width = 0;
        while at < lines.len() && column + 1 < lines[at].len() {
            width = width.max(lines[at][column].width + PADDING);
            at += 1;
        }
        widths.push(width);
        format(&lines[start..at], widths, out)?;
        widths.pop();
        start = at;
    }
    write_lines(&lines[start..], widths, out)
}

fn write_lines(lines: &[Vec<Cell>], widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
    for line in lines {
        for (at, cell) in line.iter().enumerate() {
            out.write_all(cell.text.as_bytes())?;
            let blanks = match widths.get(at) {
                Some(width) => width - cell.width,
                None => usize::from(at >= COLUMNS_MAX && at + 1 < line.len()),
            };
            write!(out, "{:blanks$}", "")?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let (mut writer, mut out) = (Tabwriter::default(), Vec::new());
        writer.write(text, &mut out).unwrap();
        writer.flush(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn blocks_are_aligned_on_their_own() {
        check("a\tb\tc\naaa\tbbbb\tc\n\nx\ty\n", "a   b    c\naaa bbbb c\n\nx y\n");
        check("time\tv\n----\t-\n1\t\n22222\t3\n", "time  v\n----  -\n1     \n22222 3\n");
        check("a\t\tb\n", "a  b\n");
        check("é\tx\nee\ty\n", "é  x\nee y\n");
        check("", "");
    }

    #[test]
    fn a_column_ends_where_a_line_has_no_cell_for_it() {
        check("a\tb\tc\na\tb\nlonger\tb\tc\n", "a      b c\na      b\nlonger b c\n");
    }

    #[test]
    fn many_columns_do_not_exhaust_the_stack() {
        check(&format!("{}\n", "x\t".repeat(5_000)), &format!("{}\n", "x ".repeat(5_000)));
    }
}
