//! The calls that cores fold where the data lies: which of them can be, and of which parts they are made.

use hashbrown::HashMap;
use tidemark_engine::scan::request::{PartialCall, PartialKind};

use super::functions::reduce::Reduce;
use super::inputs::Input;
use super::plan::{CallInput, CallNode};
use super::types::Type;

/// What the cores fold, each once.
#[derive(Debug, Default)]
pub struct Partials {
    pub calls: Vec<PartialCall>,
    at: HashMap<(usize, PartialKind), usize>,
}

impl Partials {
    fn add(&mut self, call: PartialCall) {
        let next = self.calls.len();
        if *self.at.entry((call.column, call.kind)).or_insert(next) == next {
            self.calls.push(call);
        }
    }

    /// Where a call's partials stand in an answer of the cores.
    pub fn position(&self, column: usize, kind: PartialKind) -> Option<usize> {
        self.at.get(&(column, kind)).copied()
    }
}

/// The kinds a function is made of, and whether the cores' rules are the language's for the type.
pub fn partial_kinds(function: &Reduce, kind: Type) -> Option<&'static [PartialKind]> {
    let number = kind.is_number();
    Some(match function {
        Reduce::Count => &[PartialKind::Count],
        Reduce::Sum if number => &[PartialKind::Sum],
        Reduce::Mean if number => &[PartialKind::Sum, PartialKind::Count],
        Reduce::Spread if number => &[PartialKind::Min, PartialKind::Max],
        Reduce::Min if number => &[PartialKind::Min],
        Reduce::Max if number => &[PartialKind::Max],
        Reduce::First if number => &[PartialKind::First],
        Reduce::Last if number => &[PartialKind::Last],
        _ => return None,
    })
}

pub fn add_partials(
    node: &CallNode,
    inputs: &[Input],
    read: (i64, i64),
    partials: &mut Partials,
) -> Option<()> {
    match node {
        CallNode::Reduce { function, from: CallInput::Column(column), windows, .. } => {
            if (windows.start, windows.end) != read || inputs[*column].kind == Type::Tag {
                return None;
            }
            for kind in partial_kinds(function, inputs[*column].kind)? {
                partials.add(PartialCall { column: *column, kind: *kind });
            }
            Some(())
        }
        CallNode::Transform { from: CallInput::Call(inner), .. }
        | CallNode::HoltWinters { from: CallInput::Call(inner), .. } => {
            add_partials(&inner.node, inputs, read, partials)
        }
        _ => None,
    }
}
