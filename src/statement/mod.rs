//! Statements that change something, dispatched by kind.
