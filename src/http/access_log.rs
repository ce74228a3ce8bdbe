//! The access log: Apache's combined form, with the request's id and microseconds.

use std::fmt::Write as _;

use http::Response;
use http::header::{self, HeaderName};
use tidemark_net::http1::{Answer, answer_length};

use super::{Head, Parameters};
use crate::config;

/// Where lines go: to a thread that writes them. A full queue drops lines, never delays a request.
#[derive(Clone)]
pub struct AccessLog {
    lines: flume::Sender<String>,
    /// "4xx", "401": only these statuses; empty: all.
    filters: Vec<String>,
}

impl AccessLog {
    pub fn new(lines: flume::Sender<String>, config: &config::Http) -> Self {
        Self { lines, filters: config.access_log_status_filters.clone() }
    }

    pub(super) fn write(
        &self,
        config: &config::Http,
        head: &Head,
        reply: &Response<Answer>,
        now_ns: i64,
        took_ns: u64,
    ) {
        let status = reply.status().as_u16();
        if config.suppress_write_log && status < 300 && head.parts.uri.path().ends_with("/write") {
            return;
        }
        if !passes(&self.filters, status) {
            return;
        }
        let _ = self.lines.try_send(line(head, reply, now_ns, took_ns));
    }
}

/// "4xx", "40x" and "404" let a 404 pass.
fn passes(filters: &[String], status: u16) -> bool {
    let status = status.to_string();
    filters.is_empty()
        || filters.iter().any(|filter| {
            filter.len() == 3
                && filter
                    .bytes()
                    .zip(status.bytes())
                    .all(|(want, digit)| want.eq_ignore_ascii_case(&b'x') || want == digit)
        })
}

fn line(head: &Head, reply: &Response<Answer>, now_ns: i64, took_ns: u64) -> String {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { one_line(text) };
    let user = match head.parameters.get("u") {
        "" => super::auth::basic_user(&head.parts.headers).unwrap_or_default(),
        user => user.to_owned(),
    };
    let time = chrono::DateTime::from_timestamp_nanos(now_ns).format("%d/%b/%Y:%H:%M:%S +0000");
    let mut line = format!(
        "{} - {} [{time}] \"{} {} {:?}{}\" {} {} \"{}\" \"{}\" {} {}",
        from(head),
        or_dash(&user),
        head.parts.method,
        target(head.parts.uri.path(), &head.parameters),
        head.parts.version,
        head.form.get().map(form).unwrap_or_default(),
        reply.status().as_u16(),
        answer_length(reply.body()).map_or("-".to_owned(), |length| length.to_string()),
        or_dash(head.header(header::REFERER)),
        or_dash(head.header(header::USER_AGENT)),
        head.request_id.to_str().unwrap_or("-"),
        took_ns / 1000,
    );
    line.push('\n');
    line
}

/// Who sends: the hosts a proxy names, then the peer.
fn from(head: &Head) -> String {
    match head.header(HeaderName::from_static("x-forwarded-for")) {
        "" => head.peer.to_string(),
        hosts => format!("{},{}", one_line(hosts).replace(' ', ""), head.peer),
    }
}

/// The fields of a form, passwords taken out.
fn form(parameters: &Parameters) -> String {
    let fields = parameters
        .iter()
        .map(|(name, value)| format!("'{}': '{}'", one_line(name), one_line(&shown(name, value))));
    format!(" {{{}}}", fields.collect::<Vec<_>>().join(", "))
}

/// A parameter's value as it may be logged.
fn shown(name: &str, value: &str) -> String {
    match name {
        "p" => "[REDACTED]".to_owned(),
        "q" => redact(value),
        _ => value.to_owned(),
    }
}

/// Path and parameters, passwords taken out.
fn target(path: &str, parameters: &Parameters) -> String {
    let mut text = path.to_owned();
    let mut separator = '?';
    for (name, value) in parameters.iter() {
        let _ = write!(text, "{separator}{}={}", encode(name), encode(&shown(name, value)));
        separator = '&';
    }
    text
}

/// Takes passwords out of a statement: `WITH PASSWORD '…'` and `SET PASSWORD FOR … = '…'`.
pub fn redact(statement: &str) -> String {
    let lower = statement.to_ascii_lowercase();
    let mut out = String::with_capacity(statement.len());
    let mut at = 0;
    while let Some(found) = lower[at..].find("password") {
        let from = at + found;
        let Some(quote) = statement[from..].find('\'').map(|quote| from + quote) else { break };
        // A statement in between ends the search: its quotes are its own.
        if statement[from..quote].contains(';') {
            out.push_str(&statement[at..from + "password".len()]);
            at = from + "password".len();
            continue;
        }
        let end = end_of_string(statement, quote + 1);
        out.push_str(&statement[at..quote]);
        out.push_str("[REDACTED]");
        at = end;
    }
    out.push_str(&statement[at..]);
    out
}

/// Just behind the closing quote of a string that begins at `from`.
fn end_of_string(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'\'' => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control() || c == '"', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_never_reach_the_log() {
        for (text, want) in [
            (
                "CREATE USER a WITH PASSWORD 's3c\\'ret' WITH ALL PRIVILEGES",
                "CREATE USER a WITH PASSWORD [REDACTED] WITH ALL PRIVILEGES",
            ),
            ("set password for \"a\" = 'x'; show users", "set password for \"a\" = [REDACTED]; show users"),
            ("create user a with password 'open", "create user a with password [REDACTED]"),
            ("select password from t; select 'a'", "select password from t; select 'a'"),
            ("select 1", "select 1"),
        ] {
            assert_eq!(redact(text), want);
        }
        let parameters = Parameters::parse("u=me&p=secret&db=x y");
        assert_eq!(target("/query", &parameters), "/query?u=me&p=%5BREDACTED%5D&db=x+y");
        let parameters = Parameters::parse("p=secret&q=SET+PASSWORD+FOR+a+%3D+'x'");
        assert_eq!(form(&parameters), " {'p': '[REDACTED]', 'q': 'SET PASSWORD FOR a = [REDACTED]'}");
    }

    #[test]
    fn filters_choose_statuses() {
        let filters = ["4xx".to_owned(), "50X".to_owned()];
        assert!(
            passes(&filters, 404)
                && passes(&filters, 503)
                && !passes(&filters, 204)
                && !passes(&filters, 510)
        );
        assert!(passes(&[], 200));
    }
}
