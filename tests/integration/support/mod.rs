//! Nodes and clients for the tests.

pub mod client;
pub mod node;

pub use client::Client;
pub use node::Node;
