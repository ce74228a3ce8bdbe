//! The core's WAL: what is durable when append returns.
