//! The language alone: tokens, syntax tree, parser, display. No engine or meta types.
//!
//! Text goes through [`scanner`] (characters to tokens) and [`parser`] (tokens to the tree of [`ast`]); [`display`]
//! writes the tree as text again. [`regex`] is what regular expressions mean, [`redact`] keeps passwords out of logs,
//! [`spans`] tells an editor what each piece of a text is.

pub mod ast;
pub mod display;
pub mod duration;
mod error;
mod parameter;
mod parser;
mod redact;
pub mod regex;
mod scanner;
pub mod spans;
mod token;

#[cfg(test)]
mod tests;

pub use ast::*;
pub use display::{quote_ident, quote_string};
pub use error::ParseError;
pub use parameter::{Parameter, Parameters};
pub use parser::{parse_expr, parse_query, parse_statement};
pub use redact::redact_passwords;

/// For fuzzing: any text is parsed or refused, and what is parsed is written as text that parses to the same.
pub fn fuzz(text: &str) {
    let _ = redact_passwords(text);
    let Ok(query) = parse_query(text, &Parameters::new()) else { return };
    for statement in &query.statements {
        // Passwords are not written, and a pattern with a line break has no literal.
        let hidden = matches!(statement, Statement::CreateUser { .. } | Statement::SetPassword { .. });
        if !hidden {
            let text = statement.to_string();
            assert_eq!(
                parse_statement(&text).as_ref(),
                Ok(statement),
                "BUG: {text:?} reads as another statement"
            );
        }
    }
}
