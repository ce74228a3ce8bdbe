//! A core's read-only copy of the catalogue.
//!
//! One per core; ends with it. The state itself is immutable and shared; a newer one replaces it whole. The core that
//! decides answers a command only after every core of the node has the state it led to, so that whoever saw the answer
//! sees its effect on every connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::data::Data;

/// Cheap to clone within its core.
#[derive(Clone, Default)]
pub struct View {
    data: Rc<RefCell<Arc<Data>>>,
}

impl View {
    pub fn new(data: Arc<Data>) -> Self {
        Self { data: Rc::new(RefCell::new(data)) }
    }

    /// The state now. Keep it for one request, not longer.
    pub fn current(&self) -> Arc<Data> {
        self.data.borrow().clone()
    }

    /// Takes over a newer state; an older one is left aside.
    pub fn install(&self, data: Arc<Data>) {
        let mut current = self.data.borrow_mut();
        if data.index >= current.index {
            *current = data;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_state_never_replaces_a_newer_one() {
        let view = View::default();
        let at = |index| Arc::new(Data { index, ..Data::default() });
        view.install(at(3));
        view.install(at(2));
        assert_eq!(view.current().index, 3);
        view.install(at(4));
        assert_eq!(view.current().index, 4);
    }
}
