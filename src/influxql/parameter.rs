//! Bound parameters: values that stand for `$name` in a query text.
//!
//! A parameter becomes a token, so it can stand wherever such a token can, and can never change what the rest of the
//! text means.

use std::collections::BTreeMap;

use super::duration::format_duration;
use super::token::Token;

pub type Parameters = BTreeMap<String, Parameter>;

#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    String(String),
    Number(f64),
    Integer(i64),
    Boolean(bool),
    Identifier(String),
    Regex(String),
    /// As it is written: `10s`.
    Duration(String),
    /// A value of no use; the text is the error that is reported where it is used.
    Invalid(String),
}

impl Parameter {
    /// The object form `{kind: value}`, with `value` as it came: a string, number or boolean.
    pub fn typed(kind: &str, value: Self) -> Self {
        let type_name = value.go_type();
        let wrong = |what: &str| Self::Invalid(format!("{what}, got {type_name}"));
        match (kind, value) {
            ("identifier", Self::String(text)) => Self::Identifier(text),
            ("identifier", _) => wrong("identifier must be a string value"),
            ("regex", Self::String(text)) => Self::Regex(text),
            ("regex", _) => wrong("regex literal must be a string value"),
            ("string", Self::String(text)) => Self::String(text),
            ("string", _) => wrong("string literal must be a string value"),
            ("float" | "number", Self::Number(number)) => Self::Number(number),
            ("float" | "number", Self::Integer(integer)) => Self::Number(integer as f64),
            ("float", _) => wrong("float literal must be a float value"),
            ("number", _) => wrong("number literal must be a float value"),
            ("integer" | "int", Self::Integer(integer)) => Self::Integer(integer),
            ("integer" | "int", _) => wrong("integer literal must be an integer value"),
            ("boolean", Self::Boolean(boolean)) => Self::Boolean(boolean),
            ("boolean", _) => wrong("boolean literal must be a boolean value"),
            ("duration", Self::String(text)) => Self::Duration(text),
            ("duration", Self::Integer(nanoseconds)) => Self::Duration(format_duration(nanoseconds)),
            ("duration", _) => wrong("duration literal must be a string or integer value"),
            (kind, _) => Self::Invalid(format!("unknown bind object type: {kind}")),
        }
    }

    fn go_type(&self) -> &'static str {
        match self {
            Self::Number(_) => "float64",
            Self::Integer(_) => "int64",
            Self::Boolean(_) => "bool",
            _ => "string",
        }
    }

    /// The token this stands for and its text. Negative numbers come as one token.
    pub(super) fn token(&self) -> (Token, String) {
        match self {
            Self::String(text) => (Token::String, text.clone()),
            Self::Number(number) => (Token::Number, number.to_string()),
            Self::Integer(integer) => (Token::Integer, integer.to_string()),
            Self::Boolean(true) => (Token::True, String::new()),
            Self::Boolean(false) => (Token::False, String::new()),
            Self::Identifier(text) => (Token::Ident, text.clone()),
            Self::Regex(text) => (Token::Regex, text.clone()),
            Self::Duration(text) => (Token::Duration, text.clone()),
            Self::Invalid(text) => (Token::BoundParameter, text.clone()),
        }
    }
}
