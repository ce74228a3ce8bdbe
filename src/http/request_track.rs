//! Who sends how many requests, counted only while somebody asks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::cores::{Cores, SenderCount};
use crate::runtime::Priority;

/// Different senders kept while counting.
const SENDERS_MAX: usize = 10_000;

/// One per core.
#[derive(Default)]
pub struct RequestTrack {
    askers: Cell<u32>,
    /// Per sender ("user:address"): writes, queries.
    counts: RefCell<BTreeMap<String, (u64, u64)>>,
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

    /// Somebody begins to want to know, or ends; the counts so far.
    pub fn count(&self, begin: bool) -> Vec<SenderCount> {
        let known = self.counts.borrow();
        let counts = known.iter().map(|(who, (writes, queries))| SenderCount {
            who: who.clone(),
            writes: *writes,
            queries: *queries,
        });
        let counts = counts.collect();
        drop(known);
        let askers = if begin { self.askers.get() + 1 } else { self.askers.get().saturating_sub(1) };
        self.askers.set(askers);
        if askers == 0 {
            self.counts.borrow_mut().clear();
        }
        counts
    }
}

/// Counting on all cores; ends when it is dropped.
pub struct Counting {
    cores: Cores,
    before: Vec<Vec<SenderCount>>,
    is_ended: bool,
}

impl Counting {
    pub async fn begin(cores: &Cores) -> Self {
        let mut counting = Self { cores: cores.clone(), before: Vec::new(), is_ended: false };
        for core in 0..cores.count() {
            counting.before.push(cores.count_senders(core, true).await.unwrap_or_default());
        }
        counting
    }

    /// What came in since it began.
    pub async fn end(mut self) -> BTreeMap<String, (u64, u64)> {
        let mut all = BTreeMap::<String, (u64, u64)>::new();
        self.is_ended = true;
        for (core, before) in self.before.iter().enumerate() {
            for count in self.cores.count_senders(core, false).await.unwrap_or_default() {
                let known = before.iter().find(|known| known.who == count.who);
                let (writes, queries) = known.map_or((0, 0), |known| (known.writes, known.queries));
                let sum = all.entry(count.who).or_default();
                sum.0 += count.writes - writes;
                sum.1 += count.queries - queries;
            }
        }
        all.retain(|_, count| *count != (0, 0));
        all
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        let (cores, begun) = (self.cores.clone(), self.before.len());
        self.cores.runtime().spawn(Priority::Control, async move {
            for core in 0..begun {
                let _ = cores.count_senders(core, false).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_only_while_somebody_asks() {
        let track = RequestTrack::default();
        track.note(|| "a".into(), true);
        assert_eq!(track.count(true), vec![]);
        track.note(|| "a".into(), true);
        track.note(|| "a".into(), false);
        track.count(true);
        track.note(|| "b".into(), false);
        let counts = track.count(false);
        assert_eq!(counts[0], SenderCount { who: "a".into(), writes: 1, queries: 1 });
        assert_eq!(track.count(false).len(), 2);
        assert_eq!(track.count(true), vec![]);
    }
}
