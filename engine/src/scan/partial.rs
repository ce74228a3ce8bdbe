//! Partial aggregates: what a core hands to the asker, and how parts are put together.
//!
//! A [`PartialTable`] holds one tag set: a slot per window, and per call one mergeable state per slot. Rows, block
//! statistics and other tables' columns are folded into it in any order of series; a series' own rows come in time
//! order. The rules that make the answer one and the same however the work was cut:
//! * count and integer sums add up (wrapping);
//! * a float sum is the sum of its pieces in the order they are folded; a piece is the rows of one block within one
//!   window, summed by [`kernel::sum_floats`], which is also what block statistics hold;
//! * min and max: on equal values the earlier time; first and last: on equal times the larger value.

use std::ops::Range;

use hashbrown::HashMap;

use super::request::{PartialCall, PartialColumn, PartialKind};
use super::window::runs;
use crate::model::kernel;
use crate::model::{Bitmap, Column, ColumnData, FieldType, StringColumn, Value, Window};
use crate::pace::Pace;

/// Floats of fewer rows are summed window by window: a processor overlaps short sums by itself.
const TOGETHER_ROWS_MIN: usize = 128;

/// Windows of another core's answer merged between two looks at who else waits, and about how long each takes, and
/// each value in it.
const MERGED_AT_ONCE: usize = 512;
const MERGE_NS: u64 = 30;

/// The partials of one tag set.
pub struct PartialTable {
    window: Option<Window>,
    /// Where the one window starts when there are no windows.
    unwindowed: i64,
    calls: Vec<PartialCall>,
    states: Vec<State>,
    /// Window starts in order of arrival: the slots.
    starts: Vec<i64>,
    slots: HashMap<i64, usize>,
    /// The slot found last: the next window asked for is mostly the next slot.
    recent: usize,
}

/// The state of one call: a slot per window.
enum State {
    Count(Vec<i64>),
    SumFloat(Totals<f64>),
    SumInteger(Totals<i64>),
    SumUnsigned(Totals<u64>),
    Float(Selected<f64>),
    Integer(Selected<i64>),
    Unsigned(Selected<u64>),
    Boolean(Selected<bool>),
    String(Selected<Vec<u8>>),
    /// A sum of what cannot be added: no window ever has a value.
    Never(FieldType),
}

struct Totals<T> {
    values: Vec<T>,
    present: Bitmap,
}

/// Selected values with their times.
struct Selected<T> {
    kind: PartialKind,
    values: Vec<T>,
    times: Vec<i64>,
    present: Bitmap,
    /// Of first and last: whether more than one value of that time was offered.
    tied: Bitmap,
}

impl PartialTable {
    /// A table without slots. `types` are the types of the columns the calls point at, by position.
    pub fn new(window: Option<Window>, unwindowed: i64, calls: &[PartialCall], types: &[FieldType]) -> Self {
        let states = calls.iter().map(|call| State::new(call.kind, types[call.column])).collect();
        Self {
            window,
            unwindowed,
            calls: calls.to_vec(),
            states,
            starts: Vec::new(),
            slots: HashMap::new(),
            recent: 0,
        }
    }

    /// Bytes held, not counting the text of selected strings.
    pub fn bytes(&self) -> usize {
        // A start, a map entry, and per call a value and a time.
        self.starts.len() * (8 + 20 + 17 * self.calls.len())
    }

    pub fn windows(&self) -> usize {
        self.starts.len()
    }

    /// Folds rows of one series, in ascending order of time.
    pub fn fold_rows(&mut self, times: &[i64], columns: &[Column]) {
        let mut runs = runs(self.window, self.unwindowed, times);
        loop {
            let mut slots = [0; kernel::TOGETHER];
            let mut rows: [Range<usize>; kernel::TOGETHER] = Default::default();
            let mut count = 0;
            for run in runs.by_ref().take(kernel::TOGETHER) {
                (slots[count], rows[count]) = (self.slot(run.start), run.rows);
                count += 1;
            }
            if count == 0 {
                return;
            }
            for (state, call) in self.states.iter_mut().zip(&self.calls) {
                state.fold_runs(&slots[..count], times, &columns[call.column], &rows);
            }
        }
    }

    /// Folds the rows of one call only, all within the window of `slot`.
    pub fn fold_call(&mut self, slot: usize, call: usize, times: &[i64], column: &Column) {
        self.states[call].fold(slot, times, column, 0..times.len());
    }

    /// The slot of the window that starts at `start`, made when it is new.
    #[inline]
    pub fn slot(&mut self, start: i64) -> usize {
        for near in [self.recent, self.recent + 1] {
            if self.starts.get(near) == Some(&start) {
                self.recent = near;
                return near;
            }
        }
        let new = self.starts.len();
        let slot = *self.slots.entry(start).or_insert(new);
        if slot == new {
            self.starts.push(start);
            self.states.iter_mut().for_each(State::add_slot);
        }
        self.recent = slot;
        slot
    }

    /// Adds `count` values whose number alone is asked for.
    pub fn add_count(&mut self, slot: usize, call: usize, count: u64) {
        if let State::Count(counts) = &mut self.states[call] {
            counts[slot] = counts[slot].wrapping_add(count as i64);
        }
    }

    /// Adds a sum made elsewhere by the same rules; one of another type than the column's counts for nothing.
    pub fn add_sum(&mut self, slot: usize, call: usize, sum: &Value) {
        match (&mut self.states[call], sum) {
            (State::SumFloat(totals), Value::Float(sum)) => totals.add(slot, |held| held + sum),
            (State::SumInteger(totals), Value::Integer(sum)) => {
                totals.add(slot, |held| held.wrapping_add(*sum))
            }
            (State::SumUnsigned(totals), Value::Unsigned(sum)) => {
                totals.add(slot, |held| held.wrapping_add(*sum));
            }
            _ => {}
        }
    }

    /// Offers one value of a selecting call.
    pub fn offer(&mut self, slot: usize, call: usize, time: i64, value: &Value) {
        match (&mut self.states[call], value) {
            (State::Float(held), Value::Float(value)) => held.offer(slot, time, *value),
            (State::Integer(held), Value::Integer(value)) => held.offer(slot, time, *value),
            (State::Unsigned(held), Value::Unsigned(value)) => held.offer(slot, time, *value),
            (State::Boolean(held), Value::Boolean(value)) => held.offer(slot, time, *value),
            (State::String(held), Value::String(value)) => held.offer_string(slot, time, value),
            _ => {}
        }
    }

    /// Whether a value like this, at the earliest at `earliest` and at the latest at `latest`, could change the state:
    /// if not, a block known by its statistics need not be read.
    pub fn could_win(&self, slot: usize, call: usize, value: &Value, earliest: i64, latest: i64) -> bool {
        match (&self.states[call], value) {
            (State::Float(held), Value::Float(value)) => held.could_win(slot, value, earliest, latest),
            (State::Integer(held), Value::Integer(value)) => held.could_win(slot, value, earliest, latest),
            (State::Unsigned(held), Value::Unsigned(value)) => held.could_win(slot, value, earliest, latest),
            (State::Boolean(held), Value::Boolean(value)) => held.could_win(slot, value, earliest, latest),
            (State::String(held), Value::String(value)) => held.could_win(slot, value, earliest, latest),
            _ => false,
        }
    }

    /// Whether any value of a first or last call, at the earliest at `earliest` and at the latest at `latest`, could
    /// change the state; true for other calls.
    pub fn could_win_at(&self, slot: usize, call: usize, earliest: i64, latest: i64) -> bool {
        match &self.states[call] {
            State::Float(held) => held.could_win_at(slot, earliest, latest),
            State::Integer(held) => held.could_win_at(slot, earliest, latest),
            State::Unsigned(held) => held.could_win_at(slot, earliest, latest),
            State::Boolean(held) => held.could_win_at(slot, earliest, latest),
            State::String(held) => held.could_win_at(slot, earliest, latest),
            _ => true,
        }
    }

    /// Makes room for so many windows more.
    fn reserve(&mut self, windows: usize) {
        self.starts.reserve(windows);
        self.slots.reserve(windows);
    }

    /// Folds some windows of another table's answer for the same calls.
    fn merge(&mut self, windows: &[i64], partials: &[PartialColumn], part: Range<usize>) {
        for from in part {
            let slot = self.slot(windows[from]);
            for (state, partial) in self.states.iter_mut().zip(partials) {
                state.merge(slot, partial, from);
                if partial.tied && partial.times.get(from).copied() == state.selected_time(slot) {
                    state.tie(slot);
                }
            }
        }
    }

    /// Window starts and one column per call; windows without any value are left out.
    pub fn finish(mut self, descending: bool) -> (Vec<i64>, Vec<PartialColumn>) {
        let mut order: Vec<usize> = (0..self.starts.len())
            .filter(|slot| self.states.iter().any(|state| state.is_present(*slot)))
            .collect();
        order.sort_unstable_by_key(|slot| self.starts[*slot]);
        if descending {
            order.reverse();
        }
        let windows = order.iter().map(|slot| self.starts[*slot]).collect();
        let partials = self.states.iter_mut().map(|state| state.take(&order)).collect();
        (windows, partials)
    }
}

/// Puts the partials that several cores gave for one tag set together. `parts` are windows and columns as in
/// [`super::request::ScanChunk::Partials`], any number of chunks of any core; all have one column per kind. Gives way in
/// between.
pub async fn merge_partials(
    kinds: &[PartialKind],
    descending: bool,
    parts: &[(&[i64], &[PartialColumn])],
    pace: &Pace,
) -> (Vec<i64>, Vec<PartialColumn>) {
    let Some((_, model)) = parts.first() else { return (Vec::new(), Vec::new()) };
    if let [(windows, partials)] = parts {
        return (windows.to_vec(), partials.to_vec());
    }
    let types: Vec<FieldType> = model.iter().map(|partial| partial.values.field_type()).collect();
    let calls: Vec<PartialCall> =
        kinds.iter().enumerate().map(|(column, kind)| PartialCall { column, kind: *kind }).collect();
    // The width of the windows does not matter here: their starts are given.
    let mut table = PartialTable::new(None, 0, &calls, &types);
    table.reserve(parts.iter().map(|(windows, _)| windows.len()).max().unwrap_or(0));
    for (windows, partials) in parts {
        for from in (0..windows.len()).step_by(MERGED_AT_ONCE) {
            let part = from..windows.len().min(from + MERGED_AT_ONCE);
            let values = part.len() * (1 + kinds.len());
            table.merge(windows, partials, part);
            pace.spent(MERGE_NS * values as u64).await;
        }
    }
    table.finish(descending)
}

impl State {
    fn new(kind: PartialKind, field_type: FieldType) -> Self {
        match (kind, field_type) {
            (PartialKind::Count, _) => Self::Count(Vec::new()),
            (PartialKind::Sum, FieldType::Float) => Self::SumFloat(Totals::new()),
            (PartialKind::Sum, FieldType::Integer) => Self::SumInteger(Totals::new()),
            (PartialKind::Sum, FieldType::Unsigned) => Self::SumUnsigned(Totals::new()),
            (PartialKind::Sum, other) => Self::Never(other),
            (_, FieldType::Float) => Self::Float(Selected::new(kind)),
            (_, FieldType::Integer) => Self::Integer(Selected::new(kind)),
            (_, FieldType::Unsigned) => Self::Unsigned(Selected::new(kind)),
            (_, FieldType::Boolean) => Self::Boolean(Selected::new(kind)),
            (_, FieldType::String) => Self::String(Selected::new(kind)),
        }
    }

    fn add_slot(&mut self) {
        match self {
            Self::Count(counts) => counts.push(0),
            // The neutral element of float addition: -0.0 + x is x for every x.
            Self::SumFloat(totals) => totals.add_slot(-0.0),
            Self::SumInteger(totals) => totals.add_slot(0),
            Self::SumUnsigned(totals) => totals.add_slot(0),
            Self::Float(selected) => selected.add_slot(0.0),
            Self::Integer(selected) => selected.add_slot(0),
            Self::Unsigned(selected) => selected.add_slot(0),
            Self::Boolean(selected) => selected.add_slot(false),
            Self::String(selected) => selected.add_slot(Vec::new()),
            Self::Never(_) => {}
        }
    }

    #[inline]
    fn fold(&mut self, slot: usize, times: &[i64], column: &Column, rows: Range<usize>) {
        let present = column.present.as_ref();
        match (self, &column.data) {
            (Self::Count(counts), _) => counts[slot] += kernel::count_present(present, rows) as i64,
            (Self::SumFloat(totals), ColumnData::Float(values)) => {
                if let Some(sum) = kernel::sum_floats(values, present, rows) {
                    totals.add(slot, |held| held + sum);
                }
            }
            (Self::SumInteger(totals), ColumnData::Integer(values)) => {
                if let Some(sum) = kernel::sum_integers(values, present, rows) {
                    totals.add(slot, |held| held.wrapping_add(sum));
                }
            }
            (Self::SumUnsigned(totals), ColumnData::Unsigned(values)) => {
                if let Some(sum) = kernel::sum_unsigned(values, present, rows) {
                    totals.add(slot, |held| held.wrapping_add(sum));
                }
            }
            (Self::Float(held), ColumnData::Float(values)) => held.fold(slot, times, values, present, rows),
            (Self::Integer(held), ColumnData::Integer(values)) => {
                held.fold(slot, times, values, present, rows)
            }
            (Self::Unsigned(held), ColumnData::Unsigned(values)) => {
                held.fold(slot, times, values, present, rows);
            }
            (Self::Boolean(held), ColumnData::Boolean(values)) => {
                held.fold(slot, times, values, present, rows)
            }
            (Self::String(held), ColumnData::String(values)) => {
                held.fold_strings(slot, times, values, present, rows);
            }
            _ => {}
        }
    }

    /// [`Self::fold`] for each slot with its rows.
    fn fold_runs(
        &mut self,
        slots: &[usize],
        times: &[i64],
        column: &Column,
        rows: &[Range<usize>; kernel::TOGETHER],
    ) {
        if let (Self::SumFloat(totals), ColumnData::Float(values), None) =
            (&mut *self, &column.data, &column.present)
            && slots.len() > 1
            && rows[slots.len() - 1].end - rows[0].start >= TOGETHER_ROWS_MIN
        {
            for (slot, sum) in slots.iter().zip(kernel::sums_of_floats(values, rows)) {
                totals.add(*slot, |held| held + sum);
            }
            return;
        }
        for (slot, rows) in slots.iter().zip(rows) {
            self.fold(*slot, times, column, rows.clone());
        }
    }

    fn merge(&mut self, slot: usize, partial: &PartialColumn, from: usize) {
        if !partial.values.is_present(from) {
            return;
        }
        let time = partial.times.get(from).copied();
        match (self, &partial.values.data, time) {
            (Self::Count(counts), ColumnData::Integer(values), _) => {
                counts[slot] = counts[slot].wrapping_add(values[from]);
            }
            (Self::SumFloat(totals), ColumnData::Float(values), _) => {
                totals.add(slot, |held| held + values[from]);
            }
            (Self::SumInteger(totals), ColumnData::Integer(values), _) => {
                totals.add(slot, |held| held.wrapping_add(values[from]));
            }
            (Self::SumUnsigned(totals), ColumnData::Unsigned(values), _) => {
                totals.add(slot, |held| held.wrapping_add(values[from]));
            }
            (Self::Float(held), ColumnData::Float(values), Some(time)) => {
                held.offer(slot, time, values[from])
            }
            (Self::Integer(held), ColumnData::Integer(values), Some(time)) => {
                held.offer(slot, time, values[from]);
            }
            (Self::Unsigned(held), ColumnData::Unsigned(values), Some(time)) => {
                held.offer(slot, time, values[from]);
            }
            (Self::Boolean(held), ColumnData::Boolean(values), Some(time)) => {
                held.offer(slot, time, values[from]);
            }
            (Self::String(held), ColumnData::String(values), Some(time)) => {
                held.offer_string(slot, time, values.get(from));
            }
            _ => {}
        }
    }

    fn is_present(&self, slot: usize) -> bool {
        match self {
            Self::Count(counts) => counts[slot] != 0,
            Self::SumFloat(totals) => totals.present.get(slot),
            Self::SumInteger(totals) => totals.present.get(slot),
            Self::SumUnsigned(totals) => totals.present.get(slot),
            Self::Float(selected) => selected.present.get(slot),
            Self::Integer(selected) => selected.present.get(slot),
            Self::Unsigned(selected) => selected.present.get(slot),
            Self::Boolean(selected) => selected.present.get(slot),
            Self::String(selected) => selected.present.get(slot),
            Self::Never(_) => false,
        }
    }

    fn is_tied(&self, slot: usize) -> bool {
        match self {
            Self::Float(selected) => selected.tied.get(slot),
            Self::Integer(selected) => selected.tied.get(slot),
            Self::Unsigned(selected) => selected.tied.get(slot),
            Self::Boolean(selected) => selected.tied.get(slot),
            Self::String(selected) => selected.tied.get(slot),
            _ => false,
        }
    }

    fn tie(&mut self, slot: usize) {
        match self {
            Self::Float(selected) => selected.tied.set(slot, true),
            Self::Integer(selected) => selected.tied.set(slot, true),
            Self::Unsigned(selected) => selected.tied.set(slot, true),
            Self::Boolean(selected) => selected.tied.set(slot, true),
            Self::String(selected) => selected.tied.set(slot, true),
            _ => {}
        }
    }

    /// The time of what is selected.
    fn selected_time(&self, slot: usize) -> Option<i64> {
        let (times, present) = match self {
            Self::Float(selected) => (&selected.times, &selected.present),
            Self::Integer(selected) => (&selected.times, &selected.present),
            Self::Unsigned(selected) => (&selected.times, &selected.present),
            Self::Boolean(selected) => (&selected.times, &selected.present),
            Self::String(selected) => (&selected.times, &selected.present),
            _ => return None,
        };
        present.get(slot).then(|| times[slot])
    }

    fn take(&mut self, order: &[usize]) -> PartialColumn {
        let mut bits = Bitmap::default();
        order.iter().for_each(|slot| bits.push(self.is_present(*slot)));
        let present = (bits.count() != order.len()).then_some(bits);
        let (data, times) = match self {
            Self::Count(counts) => (ColumnData::Integer(pick(counts, order)), Vec::new()),
            Self::SumFloat(totals) => (ColumnData::Float(totals.take(order)), Vec::new()),
            Self::SumInteger(totals) => (ColumnData::Integer(totals.take(order)), Vec::new()),
            Self::SumUnsigned(totals) => (ColumnData::Unsigned(totals.take(order)), Vec::new()),
            Self::Float(held) => (ColumnData::Float(pick(&held.values, order)), pick(&held.times, order)),
            Self::Integer(held) => (ColumnData::Integer(pick(&held.values, order)), pick(&held.times, order)),
            Self::Unsigned(held) => {
                (ColumnData::Unsigned(pick(&held.values, order)), pick(&held.times, order))
            }
            Self::Boolean(held) => (ColumnData::Boolean(pick(&held.values, order)), pick(&held.times, order)),
            Self::String(held) => {
                let mut strings = StringColumn::default();
                order.iter().for_each(|slot| strings.push(&held.values[*slot]));
                (ColumnData::String(strings), pick(&held.times, order))
            }
            Self::Never(field_type) => {
                let values = Column::absent(*field_type, order.len());
                return PartialColumn { values, times: Vec::new(), tied: false };
            }
        };
        let tied = order.iter().any(|slot| self.is_tied(*slot));
        PartialColumn { values: Column { data, present }, times, tied }
    }
}

fn pick<T: Copy>(values: &[T], order: &[usize]) -> Vec<T> {
    order.iter().map(|slot| values[*slot]).collect()
}

impl<T: Copy + Default> Totals<T> {
    fn new() -> Self {
        Self { values: Vec::new(), present: Bitmap::default() }
    }

    fn add_slot(&mut self, neutral: T) {
        self.values.push(neutral);
        self.present.push(false);
    }

    #[inline]
    fn add(&mut self, slot: usize, add: impl FnOnce(T) -> T) {
        self.values[slot] = add(self.values[slot]);
        self.present.set(slot, true);
    }

    /// Slots without a value hold the type's zero, as everywhere in columns.
    fn take(&self, order: &[usize]) -> Vec<T> {
        order
            .iter()
            .map(|slot| if self.present.get(*slot) { self.values[*slot] } else { T::default() })
            .collect()
    }
}

impl<T: PartialOrd> Selected<T> {
    fn new(kind: PartialKind) -> Self {
        Self {
            kind,
            values: Vec::new(),
            times: Vec::new(),
            present: Bitmap::default(),
            tied: Bitmap::default(),
        }
    }

    fn add_slot(&mut self, zero: T) {
        self.values.push(zero);
        self.times.push(0);
        self.present.push(false);
        self.tied.push(false);
    }

    #[inline]
    fn offer(&mut self, slot: usize, time: i64, value: T) {
        if matches!(self.kind, PartialKind::First | PartialKind::Last) && self.present.get(slot) {
            let is_tie = time == self.times[slot];
            if is_tie || self.could_win_at(slot, time, time) {
                self.tied.set(slot, is_tie);
            }
        }
        if self.could_win(slot, &value, time, time) {
            self.set(slot, time, value);
        }
    }

    fn set(&mut self, slot: usize, time: i64, value: T) {
        self.values[slot] = value;
        self.times[slot] = time;
        self.present.set(slot, true);
    }

    fn could_win_at(&self, slot: usize, earliest: i64, latest: i64) -> bool {
        !self.present.get(slot)
            || match self.kind {
                PartialKind::First => earliest <= self.times[slot],
                PartialKind::Last => latest >= self.times[slot],
                _ => true,
            }
    }

    #[inline]
    fn could_win(&self, slot: usize, value: &T, earliest: i64, latest: i64) -> bool {
        if !self.present.get(slot) {
            return true;
        }
        let (held, held_time) = (&self.values[slot], self.times[slot]);
        match self.kind {
            PartialKind::Min => value < held || (value == held && earliest < held_time) || is_nan(held),
            PartialKind::Max => value > held || (value == held && earliest < held_time) || is_nan(held),
            PartialKind::First => earliest < held_time || (earliest == held_time && value > held),
            PartialKind::Last => latest > held_time || (latest == held_time && value > held),
            PartialKind::Count | PartialKind::Sum => false,
        }
    }
}

#[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
fn is_nan<T: PartialOrd>(value: &T) -> bool {
    value != value
}

impl<T: kernel::Scalar> Selected<T> {
    #[inline]
    fn fold(
        &mut self,
        slot: usize,
        times: &[i64],
        values: &[T],
        present: Option<&Bitmap>,
        rows: Range<usize>,
    ) {
        let is_extreme = matches!(self.kind, PartialKind::Min | PartialKind::Max);
        if is_extreme && present.is_none() && self.present.get(slot) {
            // Of many series few have a window's extreme: where the others have theirs does not matter.
            let Some((earliest, latest)) = rows.clone().next().zip(rows.clone().next_back()) else { return };
            let best = kernel::extreme_value(&values[rows.clone()], self.kind == PartialKind::Max);
            if best.is_some_and(|best| !self.could_win(slot, &best, times[earliest], times[latest])) {
                return;
            }
        }
        let row = match self.kind {
            PartialKind::Min => kernel::least(values, present, rows),
            PartialKind::Max => kernel::greatest(values, present, rows),
            PartialKind::First => kernel::first_present(present, rows),
            PartialKind::Last => kernel::last_present(present, rows),
            PartialKind::Count | PartialKind::Sum => None,
        };
        if let Some(row) = row {
            self.offer(slot, times[row], values[row]);
        }
    }
}

impl Selected<Vec<u8>> {
    fn offer_string(&mut self, slot: usize, time: i64, value: &[u8]) {
        // Most offers of a full slot lose by their time alone; only a winner, or a tie, is copied.
        let wins_by_time = match self.kind {
            PartialKind::First => time <= self.times[slot],
            PartialKind::Last => time >= self.times[slot],
            _ => true,
        };
        if !self.present.get(slot) || wins_by_time {
            self.offer(slot, time, value.to_vec());
        }
    }

    fn fold_strings(
        &mut self,
        slot: usize,
        times: &[i64],
        values: &StringColumn,
        present: Option<&Bitmap>,
        rows: Range<usize>,
    ) {
        let mut best: Option<usize> = None;
        match self.kind {
            PartialKind::First => best = kernel::first_present(present, rows),
            PartialKind::Last => best = kernel::last_present(present, rows),
            PartialKind::Min => kernel::for_each_present(present, rows, |row| {
                if best.is_none_or(|held| values.get(row) < values.get(held)) {
                    best = Some(row);
                }
            }),
            PartialKind::Max => kernel::for_each_present(present, rows, |row| {
                if best.is_none_or(|held| values.get(row) > values.get(held)) {
                    best = Some(row);
                }
            }),
            PartialKind::Count | PartialKind::Sum => {}
        }
        if let Some(row) = best {
            self.offer_string(slot, times[row], values.get(row));
        }
    }
}

#[cfg(test)]
mod tests;
