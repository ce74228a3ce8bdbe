//! Nodes, clients, loads and disks for the tests.

pub mod client;
pub mod load;
pub mod node;
pub mod receiver;
pub mod volume;

pub use client::{Client, Reply, encode};
pub use load::Load;
pub use node::{Node, free_port};
pub use receiver::Receiver;
pub use volume::Volume;
