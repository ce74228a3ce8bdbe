//! Line protocol: text to batches with an error per line; values to text.
