//! One core's shards and WAL: open, replay, dispatch, background steps, close.
