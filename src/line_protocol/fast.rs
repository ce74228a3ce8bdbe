//! The lines that look like one seen before.
use super::tables::Tables;
use super::{Options, Scratch, Sink};
use tidemark_engine::model::FieldType;

#[derive(Debug, Clone)]
pub(super) struct Pattern {}
impl Pattern {
    pub fn new(_fields: &[(FieldType, Vec<u8>)]) -> Option<Self> {
        None
    }
}
#[derive(Debug, Default)]
pub(super) struct Fast {}
impl Fast {
    pub fn clear(&mut self) {}
    pub fn learn(&mut self, _tables: &mut Tables, _spelling: u32, _shape: u32) {}
}
pub(super) enum Read {
    Taken { next: usize },
    Paused,
    Unknown,
}
pub(super) fn read_line<S: Sink>(
    _body: &[u8],
    _at: usize,
    _line: u32,
    _now: i64,
    _options: &Options,
    _scratch: &mut Scratch,
    _sink: &mut S,
) -> Read {
    Read::Unknown
}
