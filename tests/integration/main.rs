//! Starts real nodes and speaks to them as clients do.

mod kill;
mod restart;
mod shell;
mod support;
mod write_and_query;
