//! The targets, each named after what it serves.

mod files;
mod texts;
mod wire;

pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Inputs the mutator starts from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 9] = [
    Target { name: "line_protocol", run: tidemark::line_protocol::fuzz, seeds: texts::line_protocol_seeds },
    Target { name: "influxql", run: texts::influxql, seeds: texts::influxql_seeds },
    Target { name: "http1", run: wire::http1, seeds: wire::http1_seeds },
    Target { name: "batch", run: wire::batch, seeds: wire::batch_seeds },
    Target { name: "meta", run: files::meta, seeds: files::meta_seeds },
    Target { name: "wal", run: files::wal, seeds: files::wal_seeds },
    Target { name: "tsm", run: files::tsm, seeds: files::tsm_seeds },
    Target { name: "manifest", run: files::manifest, seeds: files::manifest_seeds },
    Target { name: "codec", run: files::codec, seeds: files::codec_seeds },
];
