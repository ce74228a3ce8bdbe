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

/// The running queries of one core; cheap to clone.
#[derive(Clone)]
pub struct Tracker(Rc<Inner>);

struct Inner {
    running: RefCell<BTreeMap<u64, Running>>,
    next: Cell<u64>,
    step: u64,
    /// Of this core; 0 is no limit.
    queries_max: u64,
}

struct Running {
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
    }
}

impl Tracked {
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Tracker {
    /// `queries_max` is the limit of the node; each core keeps its share, rounded up.
    pub fn new(core: usize, cores: usize, queries_max: u64) -> Self {
        Self(Rc::new(Inner {
            running: RefCell::default(),
            next: Cell::new(core as u64 + 1),
            step: cores as u64,
            queries_max: queries_max.div_ceil(cores.max(1) as u64),
        }))
    }

    /// Begins a query. `is_free`: statements that only look at the server are never refused, or nobody could see
    /// what keeps it busy.
    pub fn begin(
        &self,
        text: String,
        database: &str,
        control: Control,
        now_ns: u64,
        is_free: bool,
    ) -> Result<Tracked> {
        let inner = &self.0;
        let running = inner.running.borrow().len() as u64;
        if inner.queries_max > 0 && running >= inner.queries_max && !is_free {
            let text = format!("max-concurrent-queries limit exceeded({running}, {})", inner.queries_max);
            return Err(QueryError::statement(text));
        }
        let id = inner.next.get();
        inner.next.set(id + inner.step);
        let query = Running { text, database: database.to_owned(), started_ns: now_ns, control };
        inner.running.borrow_mut().insert(id, query);
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
        let tracker = Tracker::new(1, 3, 0);
        let control = Control::new(Limits::default());
        let first = tracker.begin("SELECT 1".into(), "db", control.clone(), 10, false).unwrap();
        let second =
            tracker.begin("SELECT 2".into(), "db", Control::new(Limits::default()), 20, false).unwrap();
        assert_eq!((first.id(), second.id()), (2, 5));
        assert_eq!(tracker.list(15)[0].duration_ns, 5);
        assert_eq!(tracker.kill(2), KillOutcome::Killed);
        assert!(control.is_ended());
        assert_eq!(tracker.kill(2), KillOutcome::AlreadyKilled);
        assert_eq!(tracker.kill(3), KillOutcome::Unknown);
        drop(first);
        assert_eq!(tracker.list(30).len(), 1);
    }

    #[test]
    fn beyond_the_limit_only_looking_is_allowed() {
        let tracker = Tracker::new(0, 1, 1);
        let begin = |is_free| tracker.begin(String::new(), "", Control::new(Limits::default()), 0, is_free);
        let _held = begin(false).unwrap();
        assert!(
            begin(false)
                .is_err_and(|error| error.to_string() == "max-concurrent-queries limit exceeded(1, 1)")
        );
        assert!(begin(true).is_ok());
    }
}
