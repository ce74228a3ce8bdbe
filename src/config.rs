//! The configuration: InfluxDB-shaped TOML to one plain struct.
