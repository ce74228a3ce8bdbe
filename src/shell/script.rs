//! Lines without a person: `-execute`, standard input, `\i`.

use super::commands;
use super::query::{self, View};
use super::session::{Result, Session, Stop};
use super::statement::{Completeness, completeness, script_parts};
use super::words;

/// `-execute`: a statement per line, as in `influx`; one that is not whole goes on in the next line.
pub fn run_lines(session: &mut Session, text: &str) -> Result {
    let mut pending = String::new();
    let mut is_empty = true;
    for line in text.split('\n') {
        if !pending.is_empty() {
            pending.push('\n');
        }
        pending.push_str(line);
        let wait = match completeness(&pending) {
            Completeness::Empty => true,
            Completeness::Unfinished => !words::is_word(&pending),
            Completeness::Whole | Completeness::Wrong => false,
        };
        if !wait {
            is_empty = false;
            commands::run(session, &std::mem::take(&mut pending))?;
        }
    }
    if completeness(&pending) != Completeness::Empty || is_empty {
        return commands::run(session, &pending);
    }
    Ok(())
}

/// Standard input or a file: as one query, as in `influx`, unless words of the shell stand between statements.
pub fn run(session: &mut Session, text: &str) -> Result {
    let parts = script_parts(text, words::is_word);
    for part in parts {
        let done = match words::is_word(&part) {
            true => commands::run(session, &part),
            false => query::run(session, &part, View::Settings),
        };
        match done {
            // At a prompt a script goes on like a person would.
            Err(Stop::Statement(_)) if session.is_interactive => {}
            done => done?,
        }
    }
    Ok(())
}
