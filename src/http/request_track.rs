//! Who sends how many requests, counted only while somebody asks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::runtime::Runtime;

/// Different senders kept while counting.
const SENDERS_MAX: usize = 10_000;

/// Per sender ("user:address"): writes, queries.
pub type Counts = BTreeMap<String, (u64, u64)>;

/// One per core.
#[derive(Default)]
pub struct RequestTrack {
    askers: Rc<Cell<u32>>,
    counts: RefCell<Counts>,
}

struct Asker(Rc<Cell<u32>>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl RequestTrack {
    /// Counts one request, if anybody wants to know.
    pub fn note(&self, who: impl FnOnce() -> String, is_write: bool) {
        if self.askers.get() == 0 {
            return;
        }
        let mut counts = self.counts.borrow_mut();
        let who = who();
        if counts.len() >= SENDERS_MAX && !counts.contains_key(&who) {
            return;
        }
        let count = counts.entry(who).or_default();
        if is_write { count.0 += 1 } else { count.1 += 1 }
    }

    /// What came in during `interval`.
    pub async fn track(&self, runtime: &Runtime, interval: Duration) -> Counts {
        if self.askers.get() == 0 {
            self.counts.borrow_mut().clear();
        }
        let before = self.counts.borrow().clone();
        self.askers.set(self.askers.get() + 1);
        let _asker = Asker(Rc::clone(&self.askers));
        runtime.sleep(interval).await;
        let mut counts = self.counts.borrow().clone();
        for (who, (writes, queries)) in before {
            if let Some(count) = counts.get_mut(&who) {
                *count = (count.0 - writes, count.1 - queries);
            }
        }
        counts.retain(|_, count| *count != (0, 0));
        counts
    }
}
