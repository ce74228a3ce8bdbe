//! Lines of series that pass by: each is seen once in a long while, so that remembering it costs more than reading it.
//!
//! A million senders' bodies name other series each time. When what is remembered had to be forgotten without having
//! served, bodies are read without a memory of series: the key is brought to its canonical form and hashed, and
//! that is all, until a sample of them tells that they come again (`recurrence`). Shapes are remembered as ever. The
//! rule of `fast` holds here too.

use tidemark_engine::model::series_key;

use super::canonical::Spelled;
use super::fast::{Fast, Read, read_rest};
use super::{Flow, Options, PASSING, Point, Scratch, Sink};

/// Reads the line at `at` and hands it to the sink; `None` when it is not of the usual kind.
#[inline]
pub(super) fn read_line<S: Sink>(
    body: &[u8],
    at: usize,
    line: u32,
    now: i64,
    options: &Options,
    scratch: &mut Scratch,
    sink: &mut S,
) -> Option<Read> {
    let Scratch { tables, fast: Fast { structure, values, habits, canonical }, .. } = scratch;
    let mut guess = habits.last_shape.checked_sub(1)?;
    let positions = structure.find(body, at)?;
    let (name, end) = (&body[at..*positions.first()? as usize], *positions.last()? as usize);
    let spelled = canonical.read(body, at, positions, options)?;
    for _ in 0..2 {
        let shape = tables.shape(guess);
        if shape.measurement == name
            && let Some(pattern) = &shape.pattern
            && let Some(rest) = read_rest(body, end + 1, pattern, options, now, values)
        {
            let key = match spelled {
                Spelled::Canonical => &body[at..end],
                Spelled::Otherwise => canonical.key(),
            };
            let hash = series_key::hash(key);
            let point = Point {
                line,
                series: PASSING,
                hash,
                key,
                shape,
                timestamp: rest.timestamp,
                values: &values[..rest.values],
                text: &body[at..rest.end],
            };
            if sink.point(&point) == Flow::Pause {
                return Some(Read::Paused);
            }
            habits.note_line(guess);
            tables.note_passed(hash);
            return Some(Read::Taken { next: rest.end + 1 });
        }
        guess = habits.line_after.get(guess as usize)?.checked_sub(1)?;
    }
    None
}
