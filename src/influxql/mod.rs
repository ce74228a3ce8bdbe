//! The language alone: tokens, syntax tree, parser, display. No engine or meta types.

pub mod ast;

pub use ast::*;
