//! `\watch`: the same query again and again until Ctrl-C.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::query::{self, View};
use super::session::{Result, Session, Stop};

/// Between two runs, unless said otherwise.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MIN: Duration = Duration::from_millis(100);

pub fn run(session: &mut Session, argument: &str) -> Result {
    let (pause, text) = split(argument);
    if !text.is_empty() {
        session.last_query = text.to_owned();
    }
    if session.last_query.is_empty() {
        return session.refuse("\\watch repeats the last query, and there was none");
    }
    let (text, view) = match session.last_query.strip_prefix("\\chart ").map(str::trim) {
        Some(query) => (query.to_owned(), View::Chart),
        None => (session.last_query.clone(), View::Settings),
    };
    let pager = std::mem::replace(&mut session.output.pager, false);
    let done = repeat(session, pause, &text, view);
    session.output.pager = pager;
    session.interrupt.clear();
    done
}

fn repeat(session: &mut Session, pause: Duration, text: &str, view: View) -> Result {
    loop {
        let started = Instant::now();
        if session.output.is_watched() {
            let mut stdout = io::stdout().lock();
            // Home, and clear what follows.
            write!(stdout, "\x1b[H\x1b[2J")?;
            stdout.flush()?;
        }
        let now = chrono::Local::now().format("%Y-%m-%d %H:%M:%S");
        session.say(&format!("{now}  every {} s  (Ctrl-C ends)\n", pause.as_secs_f64()))?;
        match query::run(session, text, view) {
            // The server may be back at the next turn.
            Ok(()) | Err(Stop::Statement(_)) => {}
            other => return other,
        }
        while started.elapsed() < pause {
            if session.interrupt.is_set() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50).min(pause));
        }
        if session.interrupt.is_set() {
            return Ok(());
        }
    }
}

/// Seconds, if they come first, and the query.
fn split(argument: &str) -> (Duration, &str) {
    let (first, rest) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
    match first.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && (0.0..1e6).contains(&seconds) => {
            (Duration::from_secs_f64(seconds).max(PAUSE_MIN), rest.trim())
        }
        _ => (PAUSE, argument.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_come_first() {
        assert_eq!(split(""), (PAUSE, ""));
        assert_eq!(split("5"), (Duration::from_secs(5), ""));
        assert_eq!(split("0.5 SHOW STATS"), (Duration::from_millis(500), "SHOW STATS"));
        assert_eq!(split("0"), (PAUSE_MIN, ""));
        assert_eq!(split("SHOW STATS"), (PAUSE, "SHOW STATS"));
    }
}
