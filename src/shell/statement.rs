//! Statements as the shell must know them before the server does: is one whole, which database and retention policy it
//! reads, and where an error of it stands.

use crate::influxql::{
    Parameters, SelectStatement, Source, Statement, parse_query,
    spans::{SpanKind, spans},
};

/// Whether a text can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Blanks and comments only.
    Empty,
    Whole,
    /// Goes on in the next line.
    Unfinished,
    /// More text does not mend it.
    Wrong,
}

pub fn completeness(text: &str) -> Completeness {
    let meaning = |kind| !matches!(kind, SpanKind::Space | SpanKind::Comment);
    let spans = spans(text);
    let Some(last) = spans.iter().rfind(|span| meaning(span.kind)) else { return Completeness::Empty };
    match parse_query(text, &Parameters::new()) {
        Ok(_) => Completeness::Whole,
        Err(_) if last.kind == SpanKind::Semicolon => Completeness::Wrong,
        Err(error) if error.message().starts_with("found EOF") => Completeness::Unfinished,
        // A block comment that is not closed.
        Err(_) if spans.last().is_some_and(|span| text[span.range.clone()].starts_with("/*")) => {
            Completeness::Unfinished
        }
        Err(_) => Completeness::Wrong,
    }
}

/// The text with the database and retention policy of the session in every source that names none, as `influx` does it
/// once a retention policy is in use. The error is InfluxQL's. Statements without sources keep their text: the
/// language's own display hides passwords.
pub fn qualified(text: &str, database: &str, retention_policy: &str) -> Result<String, String> {
    parse_query(text, &Parameters::new()).map_err(|error| error.to_string())?;
    let mut parts = Vec::new();
    let mut start = 0;
    let semicolons = spans(text).into_iter().filter(|span| span.kind == SpanKind::Semicolon);
    let ends = semicolons.map(|span| (span.range.start, span.range.end)).chain([(text.len(), text.len())]);
    for (end, next) in ends {
        let part = &text[start..end];
        start = next;
        match parse_query(part, &Parameters::new()).map(|query| query.statements) {
            Ok(mut statements) => match statements.as_mut_slice() {
                [] => {}
                [Statement::Select(select)] => {
                    qualify(select, database, retention_policy);
                    parts.push(select.to_string());
                }
                _ => parts.push(part.trim().to_owned()),
            },
            Err(_) => parts.push(part.trim().to_owned()),
        }
    }
    Ok(parts.join(";\n"))
}

fn qualify(select: &mut SelectStatement, database: &str, retention_policy: &str) {
    for source in &mut select.sources {
        match source {
            Source::Measurement(measurement) => {
                if measurement.database.is_none() && !database.is_empty() {
                    measurement.database = Some(database.to_owned());
                }
                if measurement.retention_policy.is_none() {
                    measurement.retention_policy = Some(retention_policy.to_owned());
                }
            }
            Source::Subquery(inner) => qualify(inner, database, retention_policy),
        }
    }
}

/// The line an error points to with a caret under the place, if the error names one: `… at line 1, char 8`.
pub fn caret(text: &str, error: &str) -> Option<String> {
    let place = &error[error.rfind(" at line ")? + 9..];
    let (line, char) = place.split_once(", char ")?;
    let line = text.lines().nth(line.parse::<usize>().ok()?.checked_sub(1)?)?;
    let digits = char.trim_end_matches(|char: char| !char.is_ascii_digit());
    let at = digits.parse::<usize>().ok()?.saturating_sub(1).min(line.chars().count());
    // Tabs stay tabs, so that the caret stands where the terminal puts the character.
    let indent: String = line.chars().take(at).map(|char| if char == '\t' { '\t' } else { ' ' }).collect();
    Some(format!("{line}\n{indent}^"))
}

/// A script in parts that can be run one after the other: lines that are the shell's own words, and statements between
/// them. A word counts only where a statement may begin.
pub fn script_parts(text: &str, is_word: impl Fn(&str) -> bool) -> Vec<String> {
    let mut parts = Vec::new();
    let mut pending = String::new();
    for line in text.split_inclusive('\n') {
        let may_begin = matches!(completeness(&pending), Completeness::Empty | Completeness::Whole)
            || pending.trim_end().ends_with(';');
        if may_begin && is_word(line) {
            if completeness(&pending) != Completeness::Empty {
                parts.push(std::mem::take(&mut pending));
            }
            pending.clear();
            parts.push(line.trim_end_matches(['\r', '\n']).to_owned());
        } else {
            pending.push_str(line);
        }
    }
    if parts.is_empty() || completeness(&pending) != Completeness::Empty {
        parts.push(pending);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_whole_when_it_can_be_parsed() {
        for (text, want) in [
            ("", Completeness::Empty),
            ("  -- nothing", Completeness::Empty),
            ("SHOW DATABASES", Completeness::Whole),
            ("SELECT v FROM m;", Completeness::Whole),
            ("SELECT v", Completeness::Unfinished),
            ("SELECT v\nFROM m WHERE", Completeness::Unfinished),
            ("SELECT v FROM m /* and", Completeness::Unfinished),
            ("SELECT v;", Completeness::Wrong),
            ("SELEC v FROM m", Completeness::Wrong),
        ] {
            assert_eq!(completeness(text), want, "{text:?}");
        }
    }

    #[test]
    fn sources_get_the_retention_policy_in_use() {
        assert_eq!(
            qualified("select v from m, (select x from y) ; create user u with password 'p';", "d", "rp")
                .unwrap(),
            "SELECT v FROM d.rp.m, (SELECT x FROM d.rp.y);\ncreate user u with password 'p'"
        );
        assert_eq!(qualified("select v from other..m", "d", "rp").unwrap(), "SELECT v FROM other.rp.m");
        assert!(qualified("select", "d", "rp").is_err());
    }

    #[test]
    fn the_caret_stands_under_what_was_found() {
        let text = "SELECT v\nFORM m";
        let error = "error parsing query: found FORM, expected FROM at line 2, char 1";
        assert_eq!(caret(text, error).unwrap(), "FORM m\n^");
        assert_eq!(caret("SELECT 'a", "found a at line 1, char 8").unwrap(), "SELECT 'a\n       ^");
        assert_eq!(caret(text, "database not found: x"), None);
        assert_eq!(caret(text, "x at line 9, char 1"), None);
    }

    #[test]
    fn words_of_the_shell_divide_a_script() {
        let is_word = |line: &str| line.starts_with("use ");
        assert_eq!(script_parts("SHOW DATABASES\n", is_word), ["SHOW DATABASES\n"]);
        assert_eq!(
            script_parts("use d\nSELECT a,\n  b\nFROM m;\nSHOW USERS\nuse e\nSHOW SERIES", is_word),
            ["use d", "SELECT a,\n  b\nFROM m;\nSHOW USERS\n", "use e", "SHOW SERIES"]
        );
        // Within a statement it is none.
        assert_eq!(script_parts("SELECT a,\nuse \nFROM m", is_word), ["SELECT a,\nuse \nFROM m"]);
    }
}
