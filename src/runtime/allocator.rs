//! How long the process keeps memory that was freed.
//!
//! Every snapshot frees a generation of the cache that the next writes fill again. mimalloc by itself gives what was free for
//! a second back to the kernel, when memory is next asked for: just before it is needed again, page by page. A page
//! given back and taken anew costs more than what is written into it.

use std::ffi::{c_int, c_long};
use std::time::Duration;

/// Memory freed once in a while, by a burst or a huge query, is given back after this time.
const KEPT: Duration = Duration::from_secs(300);

/// `mi_option_purge_delay` of mimalloc 3, which its binding does not name.
const PURGE_DELAY: c_int = 15;

/// Has the allocator keep freed memory for [`KEPT`]. What `MIMALLOC_PURGE_DELAY` of the environment says goes first.
pub fn keep_freed_memory() {
    // SAFETY: the allocator takes any option and any value, and ignores options it does not have.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT.as_millis() as c_long) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_delay_of_giving_memory_back() {
        // SAFETY: as above.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        // A second, in milliseconds, is the value mimalloc documents; the options beside it are switches and counts.
        assert_eq!(delay(), 1_000);
        keep_freed_memory();
        assert_eq!(delay(), 300_000);
    }
}
