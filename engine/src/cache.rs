//! Per series, rows in arrival order.
