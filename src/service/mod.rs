//! Periodic work, one job each. A service runs on core 0 where nothing else is said, decides from the catalogue what is
//! due (a pure function), and proposes commands; it holds no state that a restart would miss.

pub mod continuous_query;
pub mod monitor;
pub mod precreate;
pub mod retention;
pub mod subscriber;
