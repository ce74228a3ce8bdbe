//! A statement on its way: sent, its answer shown as it arrives, its error told, Ctrl-C obeyed.

use std::io::Write;
use std::time::Instant;

use super::answer::plain;
use super::chart::Chart;
use super::connection::{Answers, Ask, Connection, Failure};
use super::format::{Format, Formatter, Schema, SchemaSource, Surroundings, formatter, visible};
use super::output::is_closed_pipe;
use super::progress::QueryProgress;
use super::session::{Result, Session, Stop};
use super::statement::{caret, qualified};
use crate::influxql::{Parameters, Statement, parse_query, quote_ident};

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum View {
    /// As the settings say.
    Settings,
    As(Format),
    Chart,
}

/// Runs a text of one or more statements.
pub fn run(session: &mut Session, text: &str, view: View) -> Result {
    let settings = &session.settings;
    let view = match view {
        View::Settings if settings.chart && session.output.is_watched() => View::Chart,
        View::Settings => View::As(settings.format),
        view => view,
    };
    let sent = match settings.retention_policy.as_str() {
        "" => Ok(text.to_owned()),
        policy => qualified(text, &settings.database, policy),
    };
    let sent = match sent {
        Ok(sent) => sent,
        Err(error) => {
            session.say(&format!("ERR: {error}"))?;
            return Err(Stop::Statement(error));
        }
    };
    let ask = Ask {
        text: sent,
        database: settings.database.clone(),
        retention_policy: settings.retention_policy.clone(),
        epoch: match view {
            // Lines carry nanoseconds, and a chart computes with times.
            View::As(Format::Line) | View::Chart => "ns".to_owned(),
            _ => settings.precision.clone(),
        },
        chunked: settings.chunked,
        chunk_size: settings.chunk_size,
        node: settings.node,
        limit: None,
    };
    session.interrupt.clear();
    let started = Instant::now();
    let progress = start_progress(session);
    let done = show(session, &ask, view, progress.as_ref());
    session.connection.waiting.on_turn(None);
    if let Some(progress) = &progress {
        progress.clear();
    }
    let elapsed = started.elapsed();
    forget_names(session, text);
    tell(session, text, done?)?;
    if session.settings.timing {
        session.say(&format!("Time: {:.3} ms", elapsed.as_secs_f64() * 1e3))?;
    }
    Ok(())
}

/// At a terminal, what takes longer shows that it is at work.
fn start_progress(session: &Session) -> Option<QueryProgress> {
    if !session.is_interactive || !session.output.is_terminal {
        return None;
    }
    let progress = QueryProgress::new();
    let shown = progress.clone();
    session.connection.waiting.on_turn(Some(Box::new(move || shown.turn())));
    Some(progress)
}

/// How an answer ended.
enum Outcome {
    Good,
    /// The server's error within its answer, or no answer.
    Error(String),
}

fn show(session: &mut Session, ask: &Ask, view: View, progress: Option<&QueryProgress>) -> Result<Outcome> {
    let answers = match session.connection.query(ask) {
        Ok(answers) => answers,
        Err(failure) => return Ok(Outcome::Error(failure.to_string())),
    };
    let size = session.output.size();
    let mut formatter: Box<dyn Formatter> = match view {
        View::Chart => Box::new(Chart::new(size)),
        View::As(format) => formatter(format, surroundings(session, format, ask)),
        View::Settings => {
            formatter(session.settings.format, surroundings(session, session.settings.format, ask))
        }
    };
    let may_page = match view {
        View::As(format) => format.is_for_people() && session.is_interactive,
        View::Chart | View::Settings => false,
    };
    let mut sheet = session.output.begin(may_page);
    let written = pour(answers, formatter.as_mut(), &mut sheet, progress);
    let ended = sheet.end();
    match written.and_then(|outcome| ended.map(|()| outcome)) {
        Ok(outcome) => Ok(outcome),
        // Whoever read has seen enough: a pager that was left, at a prompt.
        Err(error) if is_closed_pipe(&error) && session.is_interactive => Ok(Outcome::Good),
        Err(error) => Err(Stop::Output(error)),
    }
}

/// Document by document from the server to the sheet.
fn pour(
    answers: Answers,
    formatter: &mut dyn Formatter,
    out: &mut dyn Write,
    progress: Option<&QueryProgress>,
) -> std::io::Result<Outcome> {
    let mut error = None;
    for answer in answers {
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                if let Some(progress) = progress {
                    progress.clear();
                }
                // What has arrived is shown, unless it is one document that is not whole.
                if matches!(failure, Failure::Interrupted) {
                    formatter.finish(out)?;
                }
                return Ok(Outcome::Error(failure.to_string()));
            }
        };
        error = error.or_else(|| answer.first_error().map(str::to_owned));
        if let Some(progress) = progress {
            let series = answer.results.iter().flat_map(|result| &result.series);
            progress.add_rows(series.map(|series| series.values.len() as u64).sum());
            progress.clear();
        }
        formatter.answer(answer, out)?;
    }
    formatter.finish(out)?;
    Ok(error.map_or(Outcome::Good, Outcome::Error))
}

fn surroundings(session: &Session, format: Format, ask: &Ask) -> Surroundings {
    Surroundings {
        pretty: session.settings.pretty,
        width: session.output.size().map(|(columns, _)| columns),
        is_terminal: session.output.is_watched(),
        schema: (format == Format::Line).then(|| schema_source(&session.connection, ask)),
    }
}

/// Asks for the tags and the types of fields of a measurement as line protocol meets it.
fn schema_source(connection: &Connection, ask: &Ask) -> SchemaSource {
    let connection = connection.clone();
    // The database of the first source, if the text names one.
    let database = named_database(&ask.text).unwrap_or_else(|| ask.database.clone());
    Box::new(move |measurement| {
        let from = quote_ident(measurement);
        let rows = |statement: String| {
            let ask = Ask { text: statement, database: database.clone(), ..Ask::default() };
            let answer = connection.query_whole(&ask).unwrap_or_default();
            answer.results.into_iter().flat_map(|result| result.series).flat_map(|series| series.values)
        };
        let mut schema = Schema::default();
        for row in rows(format!("SHOW TAG KEYS FROM {from}")) {
            schema.tag_keys.extend(row.first().map(plain));
        }
        for row in rows(format!("SHOW FIELD KEYS FROM {from}")) {
            let letter = match row.get(1).and_then(|kind| kind.as_str()) {
                Some("integer") => 'i',
                Some("unsigned") => 'u',
                _ => continue,
            };
            schema.integers.extend(row.first().map(|name| (plain(name), letter)));
        }
        schema
    })
}

fn named_database(text: &str) -> Option<String> {
    let query = parse_query(text, &Parameters::new()).ok()?;
    query.statements.iter().find_map(|statement| match statement {
        Statement::Select(select) => select.sources.iter().find_map(|source| match source {
            crate::influxql::Source::Measurement(measurement) => measurement.database.clone(),
            crate::influxql::Source::Subquery(_) => None,
        }),
        _ => None,
    })
}

fn tell(session: &Session, text: &str, outcome: Outcome) -> Result {
    let Outcome::Error(error) = outcome else { return Ok(()) };
    match session.output.is_terminal {
        true => {
            session.say(&format!("ERR: {}", error.lines().map(visible).collect::<Vec<_>>().join("\n")))?
        }
        false => session.say(&format!("ERR: {error}"))?,
    }
    if session.is_interactive
        && session.output.is_terminal
        && let Some(caret) = caret(text, &error)
    {
        session.say(&caret)?;
    }
    if session.settings.database.is_empty() {
        session.say("Warning: It is possible this error is due to not setting a database.")?;
        session.say("Please set a database with the command \"use <database>\".")?;
    }
    Err(Stop::Statement(error))
}

/// What changes names makes completion ask for them again.
fn forget_names(session: &Session, text: &str) {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !["select", "show", "explain"].iter().any(|word| first.eq_ignore_ascii_case(word)) {
        session.catalog.forget();
    }
}
