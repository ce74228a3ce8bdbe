//! The words of `influx`, with its texts.

use std::io::{self, Write};

use super::answer::plain;
use super::backslash;
use super::connection::{Ask, Failure, WriteTo};
use super::editor;
use super::format::{FORMATS, Format, Tabwriter};
use super::names::{database_and_policy, insert};
use super::query::{self, View};
use super::session::{PRECISIONS, Result, Session, Stop};
use super::words;
use crate::influxql::quote_ident;

/// Runs a line: a word of the shell, or InfluxQL.
pub fn run(session: &mut Session, line: &str) -> Result {
    let lower = line.trim().to_lowercase();
    let Some(first) = lower.split_whitespace().next() else {
        return Err(Stop::Statement("empty input".to_owned()));
    };
    if first.starts_with('\\') {
        return backslash::run(session, line.trim());
    }
    match first.trim_end_matches(';') {
        "exit" | "quit" => Err(Stop::Quit),
        "gopher" => session.say(GOPHER),
        "connect" => session.connect(lower.replacen("connect", "", 1).trim()),
        "auth" => auth(session, line),
        "help" => session.say(words::help().trim_end()),
        "history" => session.history.iter().try_for_each(|line| session.say(line)),
        "format" => set_format(session, &argument(&lower, "format")),
        "precision" => set_precision(session, &argument(&lower, "precision")),
        "consistency" => set_consistency(session, &argument(&lower, "consistency")),
        "settings" => settings(session),
        "chunked" => {
            session.settings.chunked = !session.settings.chunked;
            let state = if session.settings.chunked { "enabled" } else { "disabled" };
            session.say(&format!("chunked responses {state}"))
        }
        "chunk" => set_chunk_size(session, &lower),
        "pretty" => {
            session.settings.pretty = !session.settings.pretty;
            let state = if session.settings.pretty { "enabled" } else { "disabled" };
            session.say(&format!("Pretty print {state}"))
        }
        "use" => use_database(session, line),
        "node" => node(session, line),
        "insert" => write(session, line),
        "clear" => clear(session, line),
        _ => {
            session.last_query = line.to_owned();
            query::run(session, line, View::Settings)
        }
    }
}

/// What follows the word, as `influx` finds it.
fn argument(lower: &str, word: &str) -> String {
    lower.replace(word, "").trim().trim_end_matches(';').trim().to_owned()
}

pub fn set_format(session: &mut Session, name: &str) -> Result {
    match Format::from_name(name) {
        Some(format) => {
            session.settings.format = format;
            session.settings.format_before = None;
            Ok(())
        }
        None => {
            let known = FORMATS.map(|(name, _)| name).join(", ");
            session.say(&format!("Unknown format {name:?}. Please use one of {known}."))
        }
    }
}

pub fn set_precision(session: &mut Session, name: &str) -> Result {
    if !PRECISIONS.contains(&name) {
        return session
            .say(&format!("Unknown precision {name:?}. Please use rfc3339, h, m, s, ms, u or ns."));
    }
    session.settings.precision = if name == "rfc3339" { String::new() } else { name.to_owned() };
    Ok(())
}

fn set_consistency(session: &mut Session, name: &str) -> Result {
    if !["any", "one", "quorum", "all"].contains(&name) {
        return session
            .say(&format!("Unknown consistency level {name:?}. Please use any, one, quorum, or all."));
    }
    session.settings.consistency = name.to_owned();
    Ok(())
}

fn set_chunk_size(session: &mut Session, lower: &str) -> Result {
    let words = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    let size = words.strip_prefix("chunk size ").unwrap_or(&words);
    let size = size.strip_prefix("chunk ").unwrap_or(size);
    match size.parse::<i64>() {
        Ok(size) => {
            session.settings.chunk_size = size.max(0) as u64;
            session.say(&format!("chunk size set to {}", session.settings.chunk_size))
        }
        Err(_) => session.say(&format!("unable to parse chunk size from {size:?}")),
    }
}

fn auth(session: &mut Session, line: &str) -> Result {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (username, password) = match words.as_slice() {
        [_, username, password] => ((*username).to_owned(), (*password).to_owned()),
        _ if !session.is_interactive => return session.refuse("auth needs a username and a password"),
        _ => {
            let Some(username) = editor::ask("username: ")? else { return Ok(()) };
            let Some(password) = editor::ask_secret("password: ")? else { return Ok(()) };
            (username.trim().to_owned(), password)
        }
    };
    session.connection = session.connection.with_user(&username, &password);
    session.reconnect_catalog();
    Ok(())
}

pub fn use_database(session: &mut Session, line: &str) -> Result {
    let trimmed = line.trim().trim_end_matches(';');
    let Some((_, names)) = trimmed.split_once(' ') else {
        return session.say(&format!("Could not parse database name from {line:?}."));
    };
    let Some((database, policy)) = database_and_policy(names) else {
        return session.say(&format!("Unable to parse database or retention policy from {names}"));
    };
    let hint = format!(
        "ERR: Database {database} doesn't exist. Run SHOW DATABASES for a list of existing databases."
    );
    if !exists(session, "SHOW DATABASES", &database, &hint)? {
        return session.say("DB does not exist!");
    }
    session.settings.database.clone_from(&database);
    session.catalog.set_database(&database);
    session.say(&format!("Using database {database}"))?;
    if policy.is_empty() {
        return Ok(());
    }
    let statement = format!("SHOW RETENTION POLICIES ON {}", quote_ident(&database));
    let hint = format!(
        "ERR: RETENTION POLICY {policy} doesn't exist. Run SHOW RETENTION POLICIES ON {database:?} for a list of \
         existing retention polices."
    );
    if exists(session, &statement, &policy, &hint)? {
        session.settings.retention_policy.clone_from(&policy);
        session.say(&format!("Using retention policy {policy}"))?;
    }
    Ok(())
}

/// Whether a name is in the first column. A user who may not ask is believed.
fn exists(session: &Session, statement: &str, name: &str, hint: &str) -> Result<bool> {
    let ask = Ask { text: statement.to_owned(), ..Ask::default() };
    let answer = match session.connection.query_whole(&ask) {
        Ok(answer) => answer,
        Err(failure) => {
            session.say(&format!("ERR: {failure}"))?;
            return Ok(false);
        }
    };
    if let Some(error) = answer.first_error() {
        let is_named = !session.connection.target().username.is_empty();
        session.say(&format!("{}: {error}", if is_named { "WARN" } else { "ERR" }))?;
        return Ok(is_named);
    }
    let mut rows = answer.results.iter().flat_map(|result| &result.series).flat_map(|series| &series.values);
    let found = rows.any(|row| row.first().map(plain).as_deref() == Some(name));
    if !found {
        session.say(hint)?;
    }
    Ok(found)
}

fn node(session: &mut Session, line: &str) -> Result {
    let trimmed = line.trim().trim_end_matches(';');
    let words: Vec<&str> = trimmed.split(' ').collect();
    match words.as_slice() {
        [_, "clear"] => session.settings.node = 0,
        [_, id] => match id.parse() {
            Ok(id) => session.settings.node = id,
            Err(_) => {
                return session
                    .say(&format!("Unable to parse node id from {id}. Must be an integer or 'clear'."));
            }
        },
        _ => return session.say("Improper number of arguments for 'node' command, requires exactly one."),
    }
    Ok(())
}

fn write(session: &mut Session, line: &str) -> Result {
    let insert = match insert(line) {
        Ok(insert) => insert,
        Err(error) => return session.say(&format!("ERR: {error}")),
    };
    let settings = &session.settings;
    let to = WriteTo {
        database: insert.database.unwrap_or_else(|| settings.database.clone()),
        retention_policy: insert.retention_policy.unwrap_or_else(|| settings.retention_policy.clone()),
        precision: settings.precision.clone(),
        consistency: settings.consistency.clone(),
    };
    session.interrupt.clear();
    if let Err(failure) = session.connection.write(&to, insert.line.as_bytes()) {
        match &failure {
            // A script sees the answer's body, as it is used to; a person its words.
            Failure::Refused { body, .. } if !session.is_interactive => {
                session.say(&format!("ERR: {body}"))?
            }
            failure => session.say(&format!("ERR: {failure}"))?,
        }
        if session.settings.database.is_empty() {
            session.say("Note: error may be due to not setting a database or retention policy.")?;
            session.say("Please set a database with the command \"use <database>\" or")?;
            session.say("INSERT INTO <database>.<retention-policy> <point>")?;
        }
    }
    session.catalog.forget();
    Ok(())
}

fn clear(session: &mut Session, line: &str) -> Result {
    let trimmed = line.trim().trim_end_matches(';');
    let what = trimmed.split_once(' ').map(|(_, what)| what.trim().to_lowercase()).unwrap_or_default();
    match what.as_str() {
        "database" | "db" => {
            session.settings.database.clear();
            session.catalog.set_database("");
            session.say("database context cleared")
        }
        "retention policy" | "rp" => {
            session.settings.retention_policy.clear();
            session.say("retention policy context cleared")
        }
        _ => {
            if !what.is_empty() {
                session.say(&format!("invalid command {what:?}."))?;
            }
            session.say(CLEAR_HELP)
        }
    }
}

fn settings(session: &Session) -> Result {
    let target = session.connection.target();
    let settings = &session.settings;
    let place = match &target.unix {
        Some(path) => path.display().to_string(),
        None => target.address.url(),
    };
    let text = format!(
        "Setting\tValue\n--------\t--------\nURL\t{place}\nUsername\t{}\nDatabase\t{}\nRetentionPolicy\t{}\nPretty\t{}\n\
         Format\t{}\nWrite Consistency\t{}\nChunked\t{}\nChunk Size\t{}\n\n",
        target.username,
        settings.database,
        settings.retention_policy,
        settings.pretty,
        settings.format.name(),
        settings.consistency,
        settings.chunked,
        settings.chunk_size,
    );
    let mut stdout = io::stdout().lock();
    let mut writer = Tabwriter::default();
    writer.write(&text, &mut stdout)?;
    writer.flush(&mut stdout)?;
    Ok(stdout.flush()?)
}

const CLEAR_HELP: &str = "\
Possible commands for 'clear' are:
    # Clear the database context
    clear database
    clear db

    # Clear the retention policy context
    clear retention policy
    clear rp
\t\t";

const GOPHER: &str = r"
        ,_---~~~~~----._
  _,,_,*^____      _____``*g*\'*,
 / __/ /'     ^.  /      \ ^@q   f
[  @f | @))    |  | @))   l  0 _/
 \`/   \~____ / __ \_____/    \
  |           _l__l_           I
  }          [______]           I
  ]            | | |            |
  ]             ~ ~             |
  |                            |
   |                           |";
