//! Measurement, tag key and tag value to sorted positions; set operations.
