//! The TSM file format and its parts.
