//! Composition root: build, start order, stop order.
