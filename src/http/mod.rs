//! Route table: method, path, handler, rights.
