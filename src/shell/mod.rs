//! The interactive client.
