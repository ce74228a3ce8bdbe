//! The read path inside one core, step by step.

pub mod filter;
pub mod partial;
pub mod request;
pub mod window;

pub use partial::merge_partials;
