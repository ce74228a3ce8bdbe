//! The queries that run on a core: listed, killed, limited in number and time.
//!
//! One per core; ends with it. Ids are unique on the node without asking other cores: core `c` of `n` gives out
//! `c + 1`, `c + 1 + n`, and so on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::control::{Control, End};
use super::error::{QueryError, Result};
use crate::cores::{KillOutcome, QueryInfo};
use crate::runtime::Gauges;

/// Places beyond the limit that only administrators get.
const ADMINISTRATOR_PLACES: u64 = 1;

/// The running queries of one core; cheap to clone.
#[derive(Clone)]
pub struct Tracker(Rc<Inner>);

struct Inner {
    running: RefCell<BTreeMap<u64, Running>>,
    next: Cell<u64>,
    step: u64,
    core: usize,
    /// Queries running on each core of the node.
    counts: Gauges,
    /// Of the node; 0 is no limit.
    queries_max: u64,
}

/// What a query may claim when there are as many as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Usual,
    /// Finds a place that is kept for administrators.
    Administrator,
    /// Statements that only look at the server, or end a query, are never refused: nobody could see what keeps it busy.
    Free,
}

struct Running {
    /// Empty until the query first waits.
    text: String,
    database: String,
    started_ns: u64,
    control: Control,
}

/// A query from its begin to its end, which is when this is dropped.
pub struct Tracked {
    inner: Rc<Inner>,
    id: u64,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.inner.running.borrow_mut().remove(&self.id);
        self.inner.counts.add(self.inner.core, -1);
    }
}

impl Tracked {
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Says what lists show of the query. Nobody can ask before it first waits.
    pub fn name(&self, text: String) {
        if let Some(query) = self.inner.running.borrow_mut().get_mut(&self.id) {
            query.text = text;
        }
    }
}

impl Tracker {
    /// `counts` are the node's, and `queries_max` its limit.
    pub fn new(core: usize, counts: Gauges, queries_max: u64) -> Self {
        Self(Rc::new(Inner {
            running: RefCell::default(),
            next: Cell::new(core as u64 + 1),
            step: counts.len() as u64,
            core,
            counts,
            queries_max,
        }))
    }

    /// Begins a query, unless there are too many.
    pub fn begin(
        &self,
        database: &str,
        control: Control,
        now_ns: u64,
        standing: Standing,
    ) -> Result<Tracked> {
        let inner = &self.0;
        let running = inner.counts.sum();
        let places = match standing {
            Standing::Usual => inner.queries_max,
            Standing::Administrator => inner.queries_max + ADMINISTRATOR_PLACES,
            Standing::Free => u64::MAX,
        };
        if inner.queries_max > 0 && running >= places {
            let text = format!("max-concurrent-queries limit exceeded({running}, {})", inner.queries_max);
            return Err(QueryError::statement(text));
        }
        let id = inner.next.get();
        inner.next.set(id + inner.step);
        let (text, database) = (String::new(), database.to_owned());
        let query = Running { text, database, started_ns: now_ns, control };
        inner.running.borrow_mut().insert(id, query);
        inner.counts.add(inner.core, 1);
        Ok(Tracked { inner: Rc::clone(inner), id })
    }

    pub fn list(&self, now_ns: u64) -> Vec<QueryInfo> {
        let running = self.0.running.borrow();
        let info = |(id, query): (&u64, &Running)| QueryInfo {
            id: *id,
            text: query.text.clone(),
            database: query.database.clone(),
            duration_ns: now_ns.saturating_sub(query.started_ns),
            is_killed: query.control.is_ended(),
        };
        running.iter().map(info).collect()
    }

    /// Ends a query at its next step.
    pub fn kill(&self, id: u64) -> KillOutcome {
        match self.0.running.borrow().get(&id) {
            None => KillOutcome::Unknown,
            Some(query) if query.control.is_ended() => KillOutcome::AlreadyKilled,
            Some(query) => {
                query.control.end(End::Killed);
                KillOutcome::Killed
            }
        }
    }

    /// Ends all: the server stops.
    pub fn end_all(&self) {
        for query in self.0.running.borrow().values() {
            query.control.end(End::Shutdown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::rewrite::Limits;

    #[test]
    fn a_query_is_listed_killed_once_and_gone_when_it_ends() {
        let tracker = Tracker::new(1, Gauges::new(3), 0);
        let control = Control::new(Limits::default());
        let first = tracker.begin("db", control.clone(), 10, Standing::Usual).unwrap();
        first.name("SELECT 1".to_owned());
        let other = Control::new(Limits::default());
        let second = tracker.begin("db", other, 20, Standing::Usual).unwrap();
        assert_eq!((first.id(), second.id()), (2, 5));
        let listed = &tracker.list(15)[0];
        assert_eq!((listed.text.as_str(), listed.duration_ns), ("SELECT 1", 5));
        assert_eq!(tracker.kill(2), KillOutcome::Killed);
        assert!(control.is_ended());
        assert_eq!(tracker.kill(2), KillOutcome::AlreadyKilled);
        assert_eq!(tracker.kill(3), KillOutcome::Unknown);
        drop(first);
        assert_eq!(tracker.list(30).len(), 1);
    }

    #[test]
    fn beyond_the_limit_of_the_node_there_is_a_place_for_an_administrator_and_looking_is_free() {
        let counts = Gauges::new(2);
        let trackers = [Tracker::new(0, counts.clone(), 2), Tracker::new(1, counts, 2)];
        let begin =
            |core: usize, standing| trackers[core].begin("", Control::new(Limits::default()), 0, standing);
        let held = [begin(0, Standing::Usual).unwrap(), begin(1, Standing::Usual).unwrap()];
        let refused = "max-concurrent-queries limit exceeded(2, 2)";
        assert!(begin(1, Standing::Usual).is_err_and(|error| error.to_string() == refused));
        let administrator = begin(1, Standing::Administrator).unwrap();
        assert!(begin(0, Standing::Administrator).is_err());
        assert!(begin(0, Standing::Free).is_ok());
        drop((held, administrator));
        assert!(begin(0, Standing::Usual).is_ok());
    }
}
