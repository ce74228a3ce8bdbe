//! What each piece of a text is, for editors: colours, completion, and where a statement ends.
//!
//! Every byte belongs to exactly one span, in order. Any text has spans, also one that is no InfluxQL.

use std::ops::Range;

use super::scanner::Scanner;
use super::token::{KEYWORDS, Token};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    Keyword,
    Name,
    QuotedName,
    String,
    Number,
    Duration,
    Regex,
    Operator,
    Semicolon,
    Comment,
    Space,
    /// A string that is not closed, or a character of no token.
    Bad,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub range: Range<usize>,
    pub kind: SpanKind,
}

/// The spans of a text.
pub fn spans(text: &str) -> Vec<Span> {
    let mut scanner = Scanner::new(text);
    let mut found = Vec::new();
    let mut may_be_regex = false;
    loop {
        let start = scanner.offset();
        let token = match may_be_regex && scanner.peek() == Some('/') && closes_regex(&text[start + 1..]) {
            true => scanner.scan_regex().token,
            false => scanner.scan().token,
        };
        let end = scanner.offset();
        if token == Token::End {
            return found;
        }
        let kind = kind_of(token, &text[start..end]);
        may_be_regex = match kind {
            SpanKind::Space | SpanKind::Comment => may_be_regex,
            _ => begins_regex(token),
        };
        found.push(Span { range: start..end, kind });
    }
}

/// Every word with a meaning of its own, in upper case.
pub fn keywords() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().map(|&(name, _)| name)
}

/// After these a slash begins a regex rather than divides.
fn begins_regex(token: Token) -> bool {
    matches!(
        token,
        Token::Matches
            | Token::NotMatches
            | Token::From
            | Token::Select
            | Token::By
            | Token::Comma
            | Token::OpenParen
            | Token::Dot
    )
}

fn closes_regex(rest: &str) -> bool {
    let line = rest.split('\n').next().unwrap_or_default();
    !line.starts_with(['*', '/']) && line.contains('/')
}

fn kind_of(token: Token, text: &str) -> SpanKind {
    match token {
        Token::Space => SpanKind::Space,
        Token::Comment => SpanKind::Comment,
        Token::Ident | Token::BoundParameter if text.starts_with('"') => SpanKind::QuotedName,
        Token::Ident | Token::BoundParameter => SpanKind::Name,
        Token::Number | Token::Integer => SpanKind::Number,
        Token::Duration => SpanKind::Duration,
        Token::String => SpanKind::String,
        Token::Regex => SpanKind::Regex,
        Token::Semicolon => SpanKind::Semicolon,
        Token::Illegal | Token::BadString | Token::BadEscape | Token::BadRegex => SpanKind::Bad,
        token if Token::keyword(token.name()).is_some() => SpanKind::Keyword,
        _ => SpanKind::Operator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(&str, SpanKind)> {
        let spans = spans(text);
        assert_eq!(spans.iter().map(|span| span.range.len()).sum::<usize>(), text.len());
        spans
            .into_iter()
            .filter(|span| span.kind != SpanKind::Space)
            .map(|span| (&text[span.range], span.kind))
            .collect()
    }

    #[test]
    fn every_piece_has_its_kind() {
        use SpanKind::*;
        assert_eq!(
            shown("select \"a b\", mean(v)/2 FROM /c.*/ where h =~ /x\\/y/ and t='u' limit 5;-- e"),
            [
                ("select", Keyword),
                ("\"a b\"", QuotedName),
                (",", Operator),
                ("mean", Name),
                ("(", Operator),
                ("v", Name),
                (")", Operator),
                ("/", Operator),
                ("2", Number),
                ("FROM", Keyword),
                ("/c.*/", Regex),
                ("where", Keyword),
                ("h", Name),
                ("=~", Operator),
                ("/x\\/y/", Regex),
                ("and", Keyword),
                ("t", Name),
                ("=", Operator),
                ("'u'", String),
                ("limit", Keyword),
                ("5", Number),
                (";", Semicolon),
                ("-- e", Comment),
            ]
        );
        assert_eq!(shown("1h 'open"), [("1h", Duration), ("'open", Bad)]);
        assert_eq!(shown("é"), [("é", Bad)]);
    }
}
