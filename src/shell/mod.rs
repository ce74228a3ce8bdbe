//! The interactive client, `tidemark`: what InfluxDB's `influx` does, with the same flags, words and texts, and what
//! people like in `psql`, `pgcli` and `clickhouse-client`.
//!
//! [`run`] is the whole program: flags → [`session`] (connects) → an import, a script, or the prompt. A line goes
//! through [`commands`] (words of `influx`), [`backslash`] (words of `psql`) or [`query`] (InfluxQL), and an answer
//! through [`format`] to [`output`]. It is a client: it blocks, and knows nothing of cores, engine and meta.

mod answer;
mod backslash;
mod catalog;
mod chart;
mod commands;
mod completion;
mod connection;
mod editor;
mod flags;
mod format;
mod highlight;
mod history;
mod import;
mod interrupt;
mod names;
mod output;
mod progress;
mod query;
mod script;
mod session;
mod socket;
mod statement;
mod watch;
mod words;

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use editor::{Editor, Typed};
use flags::{Flags, Refusal, USAGE};
use session::{Session, Stop};

/// Runs the shell with these arguments (without the program's name).
pub fn run(arguments: &[String]) -> ExitCode {
    let flags = match Flags::parse(arguments) {
        Ok(flags) => flags,
        Err(Refusal::Help) => {
            print(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(Refusal::Flag(text)) => {
            eprintln!("{text}");
            print(USAGE);
            return ExitCode::from(2);
        }
        Err(Refusal::Arguments(text)) => {
            eprintln!("unknown arguments: {text}");
            print(USAGE);
            return ExitCode::FAILURE;
        }
    };
    if flags.version {
        print(&format!("{}\n", version()));
        return ExitCode::SUCCESS;
    }
    match with_flags(flags) {
        Ok(()) | Err(Stop::Quit) => ExitCode::SUCCESS,
        Err(Stop::Output(error)) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(Stop::Output(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(Stop::Statement(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What `-version` says; the fourth word is what scripts look for.
fn version() -> String {
    format!("InfluxDB shell version: {} (Tidemark {})", crate::INFLUXDB_VERSION, env!("CARGO_PKG_VERSION"))
}

fn print(text: &str) {
    use io::Write;
    // A pipe nobody reads is no reason to complain.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn with_flags(mut flags: Flags) -> session::Result {
    let fail = |text: String| Err(Stop::Statement(text));
    let has_terminal = io::stdin().is_terminal();
    if flags.password_prompt && !has_terminal {
        return fail("unable to prompt for a password with no TTY".to_owned());
    }
    let from_environment = |name| std::env::var(name).unwrap_or_default();
    if flags.username.is_empty() {
        flags.username = from_environment("INFLUX_USERNAME");
    }
    if flags.password_prompt {
        match editor::ask_secret("password: ")? {
            Some(password) => flags.password = password,
            None => return fail("Unable to parse password".to_owned()),
        }
    } else if flags.password.is_empty() {
        flags.password = from_environment("INFLUX_PASSWORD");
    }
    let is_interactive = has_terminal && flags.execute.is_empty() && !flags.import;
    let mut session = match Session::start(&flags, is_interactive) {
        Ok(session) => session,
        Err(error) => return fail(error),
    };
    if !flags.precision.is_empty() {
        commands::set_precision(&mut session, &flags.precision.to_lowercase())?;
    }
    match format::Format::from_name(&flags.format.to_lowercase()) {
        Some(format) => session.settings.format = format,
        None if flags.format.is_empty() => {}
        None => return fail(format!("Unknown output format {:?}.", flags.format)),
    }
    if !flags.execute.is_empty() {
        return script::run_lines(&mut session, &flags.execute);
    }
    if flags.import {
        return import::run(&session, &flags).or_else(|error| fail(format!("ERROR: {error}")));
    }
    if !has_terminal {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return script::run(&mut session, &text);
    }
    interact(&mut session)
}

fn interact(session: &mut Session) -> session::Result {
    let url = session.connection.target().address.url();
    match &session.server_version {
        Some(version) => session.say(&format!("Connected to {url} version {version}"))?,
        None => {
            session.say(&format!("WARN: Connected to {url}, but found no server version."))?;
            session.say("Are you sure a server is listening at the given address?")?;
        }
    }
    session.say(&version())?;
    session.say("Type \\? for help.")?;
    session.interrupt.listen()?;
    let mut editor = Editor::new(session.catalog.clone(), history::path().as_deref());
    loop {
        let line = match editor.read(&session.prompt())? {
            Typed::Line(line) => line,
            Typed::Dropped => continue,
            Typed::End => return Ok(()),
        };
        session.history = editor.history();
        for part in statement::script_parts(&line, words::is_word) {
            match commands::run(session, &part) {
                // It has been told.
                Ok(()) | Err(Stop::Statement(_)) => {}
                stop => return stop,
            }
        }
    }
}
