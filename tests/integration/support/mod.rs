//! Nodes, clients, loads and disks for the tests.

pub mod client;
pub mod load;
pub mod node;
pub mod volume;

pub use client::{Client, Reply};
pub use load::Load;
pub use node::Node;
pub use volume::Volume;
