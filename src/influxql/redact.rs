//! Passwords out of query texts, before a text reaches a log or a list of running queries.

use super::scanner::Scanner;
use super::token::Token;

/// The text with `[REDACTED]` in place of every password. A text that is no InfluxQL is redacted as well as it
/// goes: a string that is never closed hides all that follows.
pub fn redact_passwords(text: &str) -> String {
    let mut scanner = Scanner::new(text);
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut state = State::Elsewhere;
    loop {
        let start = scanner.offset();
        let lexeme = scanner.scan();
        state = match (state, lexeme.token) {
            (_, Token::End) => break,
            (state, Token::Space | Token::Comment) => state,
            (State::Elsewhere, Token::Password) => State::Password,
            (State::Password, Token::For) => State::For,
            (State::For, Token::Equal) => State::Password,
            // Whatever the user's name is, it ends at the equals sign.
            (State::For, token) if token != Token::Semicolon => State::For,
            (State::Password, Token::Semicolon) => State::Elsewhere,
            (State::Password, token) => {
                out.push_str(&text[copied..start]);
                out.push_str("[REDACTED]");
                copied = scanner.offset();
                if matches!(token, Token::BadString | Token::BadEscape) {
                    return out;
                }
                State::Elsewhere
            }
            _ => State::Elsewhere,
        };
    }
    out.push_str(&text[copied..]);
    out
}

#[derive(Clone, Copy)]
enum State {
    Elsewhere,
    /// The next token is the password, or `FOR`.
    Password,
    /// After `PASSWORD FOR`, before `=`.
    For,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_survive() {
        let cases = [
            ("CREATE USER a WITH PASSWORD 'x y'", "CREATE USER a WITH PASSWORD [REDACTED]"),
            (
                "create user \"a\" with password 'x' with all privileges; SHOW USERS",
                "create user \"a\" with password [REDACTED] with all privileges; SHOW USERS",
            ),
            ("SET PASSWORD FOR \"a\" = 'it\\'s'", "SET PASSWORD FOR \"a\" = [REDACTED]"),
            ("set password /* = */ for a='x'; SELECT 1", "set password /* = */ for a=[REDACTED]; SELECT 1"),
            ("CREATE USER a WITH PASSWORD 'open SELECT", "CREATE USER a WITH PASSWORD [REDACTED]"),
            ("CREATE USER a WITH PASSWORD \"x\"", "CREATE USER a WITH PASSWORD [REDACTED]"),
            ("SELECT a FROM b WHERE c = 'password'", "SELECT a FROM b WHERE c = 'password'"),
        ];
        for (text, want) in cases {
            assert_eq!(redact_passwords(text), want);
        }
    }
}
