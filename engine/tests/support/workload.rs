//! A small load with everything in it, and what may be there after it was cut short.

use std::cell::RefCell;

use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::TimeRange;
use tidemark_engine::store::{DeleteRequest, Store};

use super::{Model, Point, SECOND, settle, shards, tidy, write, write_to};

/// Batches of the workload; a delete and pauses lie between them.
const BATCHES: i64 = 14;

fn points(batch: i64) -> Vec<Point> {
    (0..8)
        .map(|n| Point {
            measurement: 0,
            tag: (n % 2) as u8,
            time: batch * 10 + n / 2,
            fields: vec![(0, batch as u8), (1, n as u8)],
        })
        .collect()
}

/// What the outside knows: the batches acknowledged, and the one that was under way.
#[derive(Default)]
pub struct Known {
    pub acknowledged: Vec<i64>,
    pub under_way: Option<i64>,
    pub is_deleted: bool,
    pub is_deleting: bool,
}

const DELETED: TimeRange = TimeRange { start: 20, end: 42 };

/// Writes, a delete, snapshots and merges. The commit loop runs beside it.
pub async fn workload(store: &Store<SimDisk>, known: &RefCell<Known>) -> tidemark_engine::Result<()> {
    let mut now = SECOND;
    for batch in 0..BATCHES {
        known.borrow_mut().under_way = Some(batch);
        write(store, &points(batch), now, now).await?;
        known.borrow_mut().under_way = None;
        known.borrow_mut().acknowledged.push(batch);
        now += SECOND;
        if batch % 3 == 2 {
            // Cold enough for a snapshot, and once for a full merge.
            now += if batch == 8 { 20 * SECOND } else { 6 * SECOND };
            settle(store, now).await?;
        }
        if batch == 6 {
            known.borrow_mut().is_deleting = true;
            let request = DeleteRequest { shards: shards(), measurement: None, series: None, time: DELETED };
            store.delete(request, now).await?;
            known.borrow_mut().is_deleted = true;
        }
    }
    Ok(())
}

/// The possible contents: with and without the batch under way, with and without an unanswered delete.
pub fn possible(known: &Known) -> Vec<Model> {
    let mut contents = Vec::new();
    for with_under_way in [false, true] {
        for with_delete in [false, true] {
            if with_delete && !known.is_deleting || !with_delete && known.is_deleted {
                continue;
            }
            let mut model = Model::new();
            for &batch in known.acknowledged.iter().chain(known.under_way.iter().filter(|_| with_under_way)) {
                write_to(&mut model, &points(batch));
                if batch == 6 && with_delete {
                    model.values_mut().for_each(|series| series.retain(|time, _| !DELETED.contains(*time)));
                }
            }
            contents.push(tidy(model));
        }
    }
    contents
}
