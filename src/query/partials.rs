//! The calls that cores fold where the data lies: which of them can be, and of which parts they are made.

use hashbrown::{HashMap, HashSet};
use tidemark_engine::scan::request::{PartialCall, PartialKind};

use super::functions::reduce::Reduce;
use super::inputs::Input;
use super::plan::{CallInput, CallNode, CallPlan, PlannedSource};
use super::types::Type;
use super::window::Windows;

/// What the cores fold, each once.
#[derive(Debug, Default)]
pub struct Partials {
    pub calls: Vec<PartialCall>,
    at: HashMap<(usize, PartialKind), usize>,
}

impl Partials {
    /// What the cores fold, when they can do all the folding.
    pub fn of(
        calls: &[CallPlan],
        aux: &[usize],
        inputs: &[Input],
        sources: &[PlannedSource],
        read: (i64, i64),
        windows: Windows,
    ) -> Option<Self> {
        if calls.is_empty() || !aux.is_empty() || windows.zone.is_some() {
            return None;
        }
        let mut names: HashSet<&[u8]> = HashSet::new();
        for source in sources {
            let PlannedSource::Measurement(scan) = source else { return None };
            // Every column must be read of every measurement, and no name may come twice.
            if scan.positions.iter().any(Option::is_none) || !names.insert(&scan.at.schema.measurement) {
                return None;
            }
        }
        let mut partials = Self::default();
        for call in calls {
            add_partials(&call.node, inputs, read, &mut partials)?;
        }
        Some(partials)
    }

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
fn partial_kinds(function: &Reduce, kind: Type) -> Option<&'static [PartialKind]> {
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

fn add_partials(node: &CallNode, inputs: &[Input], read: (i64, i64), partials: &mut Partials) -> Option<()> {
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
