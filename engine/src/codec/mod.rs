//! Block encodings: chooser and layout table.
