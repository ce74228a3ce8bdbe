//! Nodes, clients, loads and disks for the tests.

pub mod client;
pub mod load;
pub mod node;
pub mod receiver;
pub mod volume;

use std::time::{Duration, Instant};

pub use client::{Client, Reply, encode};
pub use load::Load;
pub use node::{Node, free_port};
pub use receiver::Receiver;
pub use volume::Volume;

/// Something comes true within this: it takes a quarter of a second at most by design, the rest is for machines that are
/// busy with other tests.
const TRUE_WITHIN: Duration = Duration::from_secs(15);

/// Waits until something is so; how long that took.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < TRUE_WITHIN, "{what}: not within {TRUE_WITHIN:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}
