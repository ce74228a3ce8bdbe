//! Why a text is not InfluxQL, in InfluxDB's wording. Clients see `error parsing query: ` before it.

use super::token::{Lexeme, Position};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    message: String,
}

impl ParseError {
    /// `found X, expected A, B at line L, char C`.
    pub(super) fn expected(found: &Lexeme, expected: &[&str]) -> Self {
        let message = format!("found {}, expected {}", found.found(), expected.join(", "));
        Self::at(found.position, &message)
    }

    pub(super) fn at(position: Position, message: &str) -> Self {
        Self { message: format!("{message} at line {}, char {}", position.line + 1, position.char + 1) }
    }

    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}
