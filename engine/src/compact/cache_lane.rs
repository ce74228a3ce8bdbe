//! A sealed cache generation as the newest input of a merge: its series in key order, each with its rows.

use std::cell::RefCell;
use std::rc::Rc;

use crate::cache::{Cache, ReusedRows};
use crate::compact::snapshot::{look_ahead, read_series};
use crate::index::active::{ActiveIndex, SeriesPosition, sorted_positions};
use crate::model::Rows;
use crate::pace::Pace;
use crate::tsm::Version;

/// See the head of this file.
pub(super) struct CacheLane {
    index: Rc<RefCell<ActiveIndex>>,
    sealed: Rc<RefCell<Cache>>,
    sorted: Rc<Vec<SeriesPosition>>,
    /// Positions of `sorted` that are done, the series at hand among them.
    at: usize,
    key: Vec<u8>,
    rows: ReusedRows,
    has_series: bool,
}

impl CacheLane {
    /// Begins with the first series.
    pub async fn open(index: Rc<RefCell<ActiveIndex>>, sealed: Rc<RefCell<Cache>>, pace: &Pace) -> Self {
        let sorted = sorted_positions(&index, pace).await;
        let (key, rows) = Default::default();
        let mut lane = Self { index, sealed, sorted, at: 0, key, rows, has_series: false };
        lane.advance(pace).await;
        lane
    }

    /// Goes to the next series that has rows.
    pub async fn advance(&mut self, pace: &Pace) {
        self.has_series = false;
        while let Some(&position) = self.sorted.get(self.at) {
            look_ahead(&self.index.borrow(), &self.sealed.borrow(), &self.sorted[self.at..]);
            self.at += 1;
            if read_series(&self.index, &self.sealed, position, &mut self.rows, pace).await {
                self.key.clear();
                self.key.extend_from_slice(self.index.borrow().key(position));
                self.has_series = true;
                return;
            }
            pace.spent(8).await;
        }
    }

    /// Key and rows, in time order and merged, of the series at hand.
    pub fn series(&self) -> Option<(&Vec<u8>, &Rows)> {
        self.has_series.then_some((&self.key, &*self.rows))
    }

    /// Least and greatest version of the batches in it.
    pub fn versions(&self) -> (Version, Version) {
        self.sealed.borrow().versions()
    }
}
