//! Colours for what is typed.

use nu_ansi_term::{Color, Style};
use reedline::{Highlighter, StyledText};

use super::words;
use crate::influxql::spans::{SpanKind, spans};

pub struct Colours;

impl Highlighter for Colours {
    fn highlight(&self, line: &str, _: usize) -> StyledText {
        let mut text = StyledText::new();
        let end = word_end(line);
        if end > 0 {
            text.push((Style::new().fg(Color::Purple).bold(), line[..end].to_owned()));
        }
        // What follows a word is no InfluxQL, but for those that take a query; colours do no harm there.
        for span in spans(&line[end..]) {
            let piece = &line[end..][span.range.clone()];
            let is_call = span.kind == SpanKind::Name && line[end + span.range.end..].starts_with('(');
            text.push((style(span.kind, is_call), piece.to_owned()));
        }
        text
    }
}

/// Where the shell's own word at the beginning ends; 0 if there is none.
fn word_end(line: &str) -> usize {
    if !words::is_word(line) {
        return 0;
    }
    let start = line.len() - line.trim_start().len();
    line[start..].find(char::is_whitespace).map_or(line.len(), |at| start + at)
}

fn style(kind: SpanKind, is_call: bool) -> Style {
    match kind {
        SpanKind::Keyword => Style::new().fg(Color::Blue).bold(),
        SpanKind::Name if is_call => Style::new().fg(Color::Cyan),
        SpanKind::Name
        | SpanKind::QuotedName
        | SpanKind::Operator
        | SpanKind::Semicolon
        | SpanKind::Space => Style::new(),
        SpanKind::String => Style::new().fg(Color::Green),
        SpanKind::Number | SpanKind::Duration => Style::new().fg(Color::Yellow),
        SpanKind::Regex => Style::new().fg(Color::Purple),
        SpanKind::Comment => Style::new().fg(Color::DarkGray),
        SpanKind::Bad => Style::new().fg(Color::Red),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_change_no_letter() {
        for line in ["SELECT mean(v) FROM \"a\" WHERE t = 'x", "use d", "  \\d cpu", "é;", ""] {
            let text: String =
                Colours.highlight(line, 0).buffer.into_iter().map(|(_, piece)| piece).collect();
            assert_eq!(text, line);
        }
    }
}
