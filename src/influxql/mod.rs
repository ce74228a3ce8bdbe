//! The language alone: tokens, syntax tree, parser, display.
