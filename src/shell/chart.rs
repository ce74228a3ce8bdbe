//! Time series as lines of Braille dots: two by four dots a character, time to the right, a colour per line.

use std::io::{self, Write};

use chrono::DateTime;
use nu_ansi_term::Color;
use serde_json::Value;

use super::answer::{Answer, Series};
use super::format::{Formatter, visible};

/// Where no terminal says how large it is.
const SIZE: (usize, usize) = (80, 24);
/// Lines of a chart, however high the terminal is.
const HEIGHT_MAX: usize = 24;
/// Points that are drawn; a terminal has far fewer dots.
const POINTS_MAX: usize = 1_000_000;
/// Lines that are drawn: more cannot be told apart.
const LINES_MAX: usize = 12;

const COLOURS: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Green, Color::Purple, Color::Red, Color::Blue];

pub struct Chart {
    size: (usize, usize),
    is_terminal: bool,
    lines: Vec<Line>,
    points: usize,
    left_out: usize,
}

/// A column of a series.
struct Line {
    name: String,
    /// Nanoseconds and values.
    points: Vec<(i64, f64)>,
}

impl Chart {
    /// For a terminal of this size, or for none.
    pub fn new(size: Option<(usize, usize)>) -> Self {
        Self {
            size: size.unwrap_or(SIZE),
            is_terminal: size.is_some(),
            lines: Vec::new(),
            points: 0,
            left_out: 0,
        }
    }

    fn take(&mut self, series: &Series) {
        let Some(time_at) = series.columns.iter().position(|column| column == "time") else { return };
        for (at, column) in series.columns.iter().enumerate() {
            let is_numeric = series.values.iter().any(|row| row.get(at).is_some_and(Value::is_number));
            if at == time_at || !is_numeric {
                continue;
            }
            let name = line_name(series, column);
            let position = match self.lines.iter().position(|line| line.name == name) {
                Some(position) => position,
                None if self.lines.len() < LINES_MAX => {
                    self.lines.push(Line { name, points: Vec::new() });
                    self.lines.len() - 1
                }
                None => {
                    self.left_out += 1;
                    continue;
                }
            };
            for row in &series.values {
                let time = row.get(time_at).and_then(Value::as_i64);
                let value = row.get(at).and_then(Value::as_f64).filter(|value| value.is_finite());
                if let (Some(time), Some(value), true) = (time, value, self.points < POINTS_MAX) {
                    self.lines[position].points.push((time, value));
                    self.points += 1;
                }
            }
        }
    }
}

fn line_name(series: &Series, column: &str) -> String {
    let mut name = series.name.clone();
    for (key, value) in series.sorted_tags() {
        name.push_str(&format!(",{key}={value}"));
    }
    format!("{name} {column}")
}

impl Formatter for Chart {
    fn answer(&mut self, answer: Answer, _: &mut dyn Write) -> io::Result<()> {
        answer.results.iter().flat_map(|result| &result.series).for_each(|series| self.take(series));
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.lines.retain(|line| !line.points.is_empty());
        let Some(extent) = Extent::of(&self.lines) else {
            return writeln!(out, "(nothing to chart: the answer has no numbers over time)");
        };
        self.draw(&extent, out)?;
        for (at, line) in self.lines.iter().enumerate() {
            writeln!(out, "  {} {}", self.coloured("⣿", at), visible(&line.name))?;
        }
        if self.left_out > 0 {
            writeln!(out, "  and others: a chart has {LINES_MAX} lines at most")?;
        }
        if self.points == POINTS_MAX {
            writeln!(out, "  only the first {POINTS_MAX} points: GROUP BY time() makes fewer")?;
        }
        Ok(())
    }
}

impl Chart {
    fn draw(&self, extent: &Extent, out: &mut dyn Write) -> io::Result<()> {
        let height = (self.size.1 * 2 / 3).clamp(6, HEIGHT_MAX);
        let labels: Vec<String> = (0..height).map(|row| extent.label(row, height)).collect();
        let margin = labels.iter().map(String::len).max().unwrap_or_default();
        let width = self.size.0.saturating_sub(margin + 3).max(10);
        let mut canvas = Canvas::new(width, height);
        for (at, line) in self.lines.iter().enumerate() {
            let mut points = line.points.clone();
            points.sort_unstable_by_key(|point| point.0);
            let mut previous = None;
            for (time, value) in points {
                let dot = extent.dot(time, value, &canvas);
                canvas.segment(previous.unwrap_or(dot), dot, at);
                previous = Some(dot);
            }
        }
        for (row, label) in labels.iter().enumerate() {
            // A label on every fourth line, and at both ends.
            let label = if row % 4 == 0 || row + 1 == height { label.as_str() } else { "" };
            write!(out, "{label:>margin$} ┤")?;
            for column in 0..width {
                let (dots, line) = canvas.cells[row * width + column];
                match char::from_u32(0x2800 + u32::from(dots)).filter(|_| dots != 0) {
                    Some(char) => write!(out, "{}", self.coloured(&char.to_string(), usize::from(line)))?,
                    None => write!(out, " ")?,
                }
            }
            writeln!(out)?;
        }
        writeln!(out, "{:margin$} └{}", "", "─".repeat(width))?;
        let (from, until) = extent.times();
        let gap = width.saturating_sub(from.len() + until.len());
        writeln!(out, "{:margin$}  {from}{:gap$}{until}", "", "")
    }

    fn coloured(&self, text: &str, line: usize) -> String {
        match self.is_terminal && std::env::var_os("NO_COLOR").is_none() {
            true => COLOURS[line % COLOURS.len()].paint(text).to_string(),
            false => text.to_owned(),
        }
    }
}

/// What the axes reach over.
struct Extent {
    time_first: i64,
    time_last: i64,
    low: f64,
    high: f64,
}

impl Extent {
    fn of(lines: &[Line]) -> Option<Self> {
        let points = || lines.iter().flat_map(|line| &line.points);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for &(_, value) in points() {
            low = low.min(value);
            high = high.max(value);
        }
        // A flat line runs through the middle.
        if low == high {
            let room = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
            (low, high) = (low - room, high + room);
        }
        Some(Self {
            time_first: points().map(|point| point.0).min()?,
            time_last: points().map(|point| point.0).max()?,
            low,
            high,
        })
    }

    /// The value in the middle of a row.
    fn label(&self, row: usize, height: usize) -> String {
        let share = 1.0 - row as f64 / (height - 1) as f64;
        let value = self.low * (1.0 - share) + self.high * share;
        let size = self.low.abs().max(self.high.abs());
        match size {
            size if size >= 1e7 || (size < 1e-3 && size > 0.0) => format!("{value:.3e}"),
            size if size >= 1000.0 => format!("{value:.0}"),
            size if size >= 10.0 => format!("{value:.1}"),
            _ => format!("{value:.3}"),
        }
    }

    fn dot(&self, time: i64, value: f64, canvas: &Canvas) -> (i64, i64) {
        let span = (i128::from(self.time_last) - i128::from(self.time_first)).max(1) as f64;
        let along = (i128::from(time) - i128::from(self.time_first)) as f64 / span;
        // Halves first: the difference of two large numbers may be infinite.
        let up = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        let (right, bottom) = ((canvas.width * 2 - 1) as f64, (canvas.height * 4 - 1) as f64);
        ((along * right).round() as i64, ((1.0 - up) * bottom).round() as i64)
    }

    /// Both ends of the time axis, as precise as its length asks for.
    fn times(&self) -> (String, String) {
        let day = 86_400_000_000_000i128;
        let span = i128::from(self.time_last) - i128::from(self.time_first);
        let form = match span {
            span if span > 60 * day => "%Y-%m-%d",
            span if span > 10_000_000_000 => "%Y-%m-%d %H:%M:%S",
            _ => "%Y-%m-%d %H:%M:%S%.6f",
        };
        let show = |time: i64| DateTime::from_timestamp_nanos(time).format(form).to_string();
        (show(self.time_first), show(self.time_last))
    }
}

struct Canvas {
    width: usize,
    height: usize,
    /// Dots of a character, and the line that touched it last.
    cells: Vec<(u8, u8)>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, cells: vec![(0, 0); width * height] }
    }

    fn set(&mut self, x: i64, y: i64, line: usize) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        let (column, row) = (x / 2, y / 4);
        if column < self.width && row < self.height {
            const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
            let cell = &mut self.cells[row * self.width + column];
            *cell = (cell.0 | DOTS[x % 2][y % 4], line as u8);
        }
    }

    /// A straight line of dots.
    fn segment(&mut self, from: (i64, i64), to: (i64, i64), line: usize) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs());
        for step in 0..=steps {
            let part = |from: i64, to: i64| match steps {
                0 => from,
                steps => from + ((to - from) * step + (to - from).signum() * steps / 2) / steps,
            };
            self.set(part(from.0, to.0), part(from.1, to.1), line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(text: &str) -> String {
        let (mut chart, mut out) = (Chart::new(None), Vec::new());
        chart.answer(serde_json::from_str(text).unwrap(), &mut out).unwrap();
        chart.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_rising_line_rises() {
        let text = chart(
            r#"{"results":[{"series":[{"name":"m","tags":{"h":"a"},"columns":["time","v","s"],"values":[[0,0,"x"],[60000000000,10,"y"]]}]}]}"#,
        );
        let rows: Vec<&str> = text.lines().collect();
        assert!(
            rows[0].starts_with("10.0 ┤")
                && rows[0].ends_with('⠔'.to_string().as_str())
                    | rows[0].ends_with('⡠')
                    | rows[0].ends_with('⠊')
                    | rows[0].ends_with('⠁')
                    | rows[0].ends_with('⠉'),
            "{text}"
        );
        let first_dot = |row: &str| row.chars().position(|char| ('\u{2801}'..='\u{28ff}').contains(&char));
        let drawn: Vec<usize> = rows.iter().take(16).filter_map(|row| first_dot(row)).collect();
        assert!(drawn.windows(2).all(|pair| pair[0] > pair[1]), "{text}");
        assert!(text.contains("1970-01-01 00:00:00") && text.contains("m,h=a v"), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn odd_answers_are_drawn_or_refused() {
        assert!(chart(r#"{"results":[{}]}"#).starts_with("(nothing to chart"));
        for values in [
            "[[5,1]]",
            "[[1,0],[2,0]]",
            "[[1,1e308],[2,-1e308]]",
            "[[-9223372036854775806,1],[9223372036854775806,2]]",
        ] {
            let text = format!(
                r#"{{"results":[{{"series":[{{"name":"m","columns":["time","v"],"values":{values}}}]}}]}}"#
            );
            assert!(chart(&text).contains("⣿ m v"), "{values}");
        }
    }
}
