//! Every upper bound of this crate, each with its reason.

use std::time::Duration;

/// Bytes hyper may buffer of one connection: a TSBS-like body of 200 KB arrives in one or two reads. Smaller makes more
/// system calls per body, larger costs memory per busy connection.
pub const READ_BUFFER_BYTES_MAX: usize = 256 << 10;

/// Headers of one request; a request line with a long query fits beside them in the read buffer.
pub const HEADERS_MAX: usize = 100;

/// A body of unknown length reserves memory in steps of this many bytes.
pub const BODY_STEP_BYTES: u64 = 1 << 20;

/// Compressed bytes handed to inflate between two looks at the task queue.
pub const INFLATE_STEP_BYTES: usize = 32 << 10;

/// From the first byte of a request (or accept) to the end of its head: a slow sender of headers holds a slot only so
/// long.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Without a single byte of a body that has begun.
pub const BODY_SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Without taking a single byte of an answer.
pub const WRITE_SILENCE_TIMEOUT: Duration = Duration::from_secs(120);

/// A kept-alive connection without a request. Agents write every 10 s to a few minutes.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(900);

/// Waiting connections in the kernel's queue of one listener.
pub const ACCEPT_BACKLOG: i32 = 1024;

/// A connection that asked nothing for so long does not count as load where a new one is placed.
pub const QUIET_AFTER: Duration = Duration::from_secs(2);
