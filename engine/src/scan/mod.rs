//! The read path inside one core, step by step.

pub mod request;
