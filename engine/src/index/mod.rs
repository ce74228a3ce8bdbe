//! What series exist and under which tags.
