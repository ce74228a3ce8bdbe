//! Nodes and clients for the tests.

pub mod client;
pub mod node;

pub use client::{Client, Reply};
pub use node::Node;
