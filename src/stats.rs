//! Sums the cores' counters.
