//! Asks the processor for memory that is read soon. Among millions of series every look-up misses its caches; misses that
//! are asked for together are waited for once.

/// Asks for the item at `at`; an `at` beyond the slice does nothing useful and no harm.
#[inline(always)]
pub fn prefetch<T>(slice: &[T], at: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = slice.as_ptr().wrapping_add(at);
        // SAFETY: a prefetch reads nothing the program sees and faults on no address; the address is made without claiming
        // that anything is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (slice, at);
}
