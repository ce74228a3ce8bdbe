//! The words with a backslash, after `psql`'s.

use std::io::Write;

use super::answer::{Answer, plain};
use super::commands;
use super::connection::Ask;
use super::format::Format;
use super::query::{self, View};
use super::session::{Result, Session};
use super::{script, watch, words};
use crate::influxql::quote_ident;

/// Scripts that call scripts.
const SCRIPT_DEPTH_MAX: usize = 16;

pub fn run(session: &mut Session, line: &str) -> Result {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let statement = |session: &mut Session, text: &str| query::run(session, text, View::Settings);
    match word {
        "\\q" => Err(super::session::Stop::Quit),
        "\\?" | "\\h" => session.say(words::help().trim_end()),
        "\\l" => statement(session, "SHOW DATABASES"),
        "\\c" if argument.is_empty() => session.say(&format!(
            "You are connected to {} and use database \"{}\".",
            session.connection.target().address.url(),
            session.settings.database
        )),
        "\\c" => commands::use_database(session, &format!("use {argument}")),
        "\\d" if !argument.is_empty() => describe(session, argument),
        "\\d" | "\\dt" => {
            let with = match argument {
                "" => String::new(),
                pattern if pattern.starts_with('/') => format!(" WITH MEASUREMENT =~ {pattern}"),
                name => format!(" WITH MEASUREMENT = {}", quoted(name)),
            };
            statement(session, &format!("SHOW MEASUREMENTS{with}"))
        }
        "\\drp" if argument.is_empty() && session.settings.database.is_empty() => {
            session.refuse("\\drp needs a database: \\drp <db>, or use one")
        }
        "\\drp" => {
            let database =
                if argument.is_empty() { session.settings.database.clone() } else { argument.to_owned() };
            statement(session, &format!("SHOW RETENTION POLICIES ON {}", quoted(&database)))
        }
        "\\dq" => statement(session, "SHOW CONTINUOUS QUERIES"),
        "\\du" => statement(session, "SHOW USERS"),
        "\\ps" => statement(session, "SHOW QUERIES"),
        "\\kill" if argument.parse::<u64>().is_err() => {
            session.refuse("\\kill needs the id of a query: see \\ps")
        }
        "\\kill" => statement(session, &format!("KILL QUERY {argument}")),
        "\\f" if argument.is_empty() => session.say(session.settings.format.name()),
        "\\f" => commands::set_format(session, argument),
        "\\x" => toggle_vertical(session),
        "\\timing" => {
            session.settings.timing = !session.settings.timing;
            session.say(&format!("Timing is {}.", on_or_off(session.settings.timing)))
        }
        "\\pager" => {
            session.output.pager = !session.output.pager;
            session.say(&format!("Pager is {}.", on_or_off(session.output.pager)))
        }
        "\\chart" if argument.is_empty() => {
            session.settings.chart = !session.settings.chart;
            session.say(&format!("Charts are {}.", on_or_off(session.settings.chart)))
        }
        "\\chart" => {
            session.last_query = line.to_owned();
            query::run(session, argument, View::Chart)
        }
        "\\watch" => watch::run(session, argument),
        "\\refresh" => {
            session.catalog.forget();
            Ok(())
        }
        "\\i" => run_file(session, argument),
        "\\o" => {
            let file = (!argument.is_empty()).then_some(argument);
            match session.output.redirect(file) {
                Ok(()) => Ok(()),
                Err(error) => session.refuse(&format!("{argument}: {error}")),
            }
        }
        unknown => session.refuse(&format!("unknown word {unknown}; \\? lists them")),
    }
}

fn on_or_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

/// A name as it was typed may be quoted already.
fn quoted(name: &str) -> String {
    if name.starts_with('"') { name.to_owned() } else { quote_ident(name) }
}

fn toggle_vertical(session: &mut Session) -> Result {
    let settings = &mut session.settings;
    match settings.format_before.take() {
        Some(before) => settings.format = before,
        None => {
            settings.format_before = Some(settings.format);
            settings.format = Format::Vertical;
        }
    }
    session.say(&format!("Answers are {}.", session.settings.format.name()))
}

/// A measurement's tags and fields in one list.
fn describe(session: &mut Session, name: &str) -> Result {
    let from = quoted(name);
    let text = format!("SHOW TAG KEYS FROM {from}; SHOW FIELD KEYS FROM {from}");
    let ask = Ask { text, database: session.settings.database.clone(), ..Ask::default() };
    let answer = match session.connection.query_whole(&ask) {
        Ok(answer) => answer,
        Err(failure) => return session.refuse(&failure.to_string()),
    };
    if let Some(error) = answer.first_error() {
        let error = error.to_owned();
        return session.refuse(&error);
    }
    let rows = described(&answer);
    if rows.is_empty() {
        return session
            .refuse(&format!("no measurement {name} in database \"{}\"", session.settings.database));
    }
    let mut text = String::new();
    let widest = rows.iter().map(|(column, _)| column.chars().count()).max().unwrap_or_default();
    for (column, kind) in rows {
        let column = super::format::visible(&column).into_owned();
        text.push_str(&format!("{column:widest$}  {kind}\n"));
    }
    let mut sheet = session.output.begin(session.is_interactive);
    sheet.write_all(text.as_bytes())?;
    Ok(sheet.end()?)
}

/// Names with what they are: the first result has tags, the second fields and their types.
fn described(answer: &Answer) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for (at, result) in answer.results.iter().enumerate() {
        for row in result.series.iter().flat_map(|series| &series.values) {
            let kind = match at {
                0 => "tag".to_owned(),
                _ => format!("{} field", row.get(1).map(plain).unwrap_or_default()),
            };
            rows.push((row.first().map(plain).unwrap_or_default(), kind));
        }
    }
    rows
}

fn run_file(session: &mut Session, path: &str) -> Result {
    if path.is_empty() {
        return session.refuse("\\i needs a file");
    }
    if session.script_depth >= SCRIPT_DEPTH_MAX {
        return session.refuse("too many scripts within scripts");
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return session.refuse(&format!("{path}: {error}")),
    };
    session.script_depth += 1;
    let done = script::run(session, &text);
    session.script_depth -= 1;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_names_tags_and_typed_fields() {
        let text = r#"{"results":[{"series":[{"name":"m","columns":["tagKey"],"values":[["host"]]}]},
            {"series":[{"name":"m","columns":["fieldKey","fieldType"],"values":[["n","integer"]]}]}]}"#;
        let rows = described(&serde_json::from_str(text).unwrap());
        let want = [("host", "tag"), ("n", "integer field")];
        assert_eq!(rows, want.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
    }
}
