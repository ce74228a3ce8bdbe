//! DOOR 2: streams and listeners.
