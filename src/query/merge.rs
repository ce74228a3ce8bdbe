//! Joins what the cores answer.
