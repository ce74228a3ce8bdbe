//! The errors a client can see: HTTP status and InfluxDB's exact text, once.
