//! Requests on their way between two cores, and their replies: both sides of a [`Letter::Call`](super::Letter::Call).
//!
//! A question whose asker is gone ends where it is answered. What changes anything runs to its end, whoever waits for it:
//! a future that is dropped in the midst of a change would leave half of it.

use std::future::Future;

use tidemark_engine::{Error, Result};
use tidemark_net::pool::Reservation;

use super::given_up::{GivenUp, part, until_given_up};
use super::{CoreReply, CoreRequest, Letter};
use crate::runtime::{Priority, Runtime};

/// A reply under way. Dropped early, a task keeps the credit until the reply is there or the question has ended.
pub struct Answered<'a> {
    receiver: flume::Receiver<CoreReply>,
    credit: Option<Reservation>,
    /// Of a question: whoever answers it ends at a word.
    end: Option<flume::Sender<()>>,
    given_up: &'a GivenUp,
    runtime: &'a Runtime,
}

impl<'a> Answered<'a> {
    /// The letter for a request, and its reply to be. The credit comes back when the core has answered, even if nobody
    /// waits for the answer any more: until then the request stands in its mailbox.
    pub fn to(
        request: CoreRequest,
        credit: Reservation,
        given_up: &'a GivenUp,
        runtime: &'a Runtime,
    ) -> (Letter, Self) {
        let (reply, receiver) = flume::bounded(1);
        let (end, cancel) = request.is_question().then(part).unzip();
        (
            Letter::Call { request, reply, cancel },
            Self { receiver, credit: Some(credit), end, given_up, runtime },
        )
    }

    pub async fn wait(mut self) -> Result<CoreReply> {
        let reply = self.receiver.recv_async().await.map_err(|_| Error::Closed);
        self.credit = None;
        reply
    }
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        let Some(credit) = self.credit.take() else { return };
        if let Some(end) = &self.end {
            self.given_up.add(end);
        }
        let receiver = self.receiver.clone();
        self.runtime.spawn(Priority::Control, async move {
            let _ = receiver.recv_async().await;
            drop(credit);
        });
    }
}

/// Serves a call: a question until it is given up.
pub async fn answer(
    served: impl Future<Output = CoreReply>,
    reply: flume::Sender<CoreReply>,
    cancel: Option<flume::Receiver<()>>,
) {
    let answered = async {
        let _ = reply.send(served.await);
    };
    match cancel {
        None => answered.await,
        Some(cancel) => until_given_up(answered, cancel).await,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    use futures_lite::future::{block_on, poll_once, zip};
    use tidemark_engine::model::TimeRange;
    use tidemark_engine::scan::request::{CatalogKind, CatalogReply, CatalogRequest};
    use tidemark_net::pool::Pool;

    use super::*;
    use crate::runtime::{Door, LocalFuture};

    /// Keeps what is started.
    #[derive(Default)]
    pub struct Tasks(RefCell<Vec<LocalFuture<()>>>);

    impl Door for Tasks {
        fn spawn(&self, _: Priority, task: LocalFuture<()>) {
            self.0.borrow_mut().push(task);
        }
        fn sleep(&self, _: Duration) -> LocalFuture<()> {
            Box::pin(pending())
        }
        fn wall_ns(&self) -> i64 {
            0
        }
        fn monotonic_ns(&self) -> u64 {
            0
        }
        fn random(&self) -> u64 {
            0
        }
        fn offload(&self, _: Box<dyn FnOnce() + Send>) {}
    }

    fn question() -> CoreRequest {
        CoreRequest::Catalog(CatalogRequest {
            shards: Vec::new(),
            measurements: None,
            time: TimeRange::ALL,
            series: None,
            what: CatalogKind::Measurements,
            limit: 0,
            budget_bytes: 0,
        })
    }

    /// The core that is asked works for ever, or until it is told otherwise.
    struct Asked {
        tasks: Rc<Tasks>,
        runtime: Runtime,
        given_up: GivenUp,
        credits: Pool,
    }

    impl Asked {
        fn new() -> Self {
            let tasks = Rc::new(Tasks::default());
            let runtime = Runtime::new(tasks.clone());
            Self { tasks, runtime, given_up: GivenUp::default(), credits: Pool::new(100) }
        }

        fn ask(&self, request: CoreRequest) -> (Letter, Answered<'_>) {
            let credit = self.credits.try_reserve(60).expect("there is room");
            Answered::to(request, credit, &self.given_up, &self.runtime)
        }
    }

    fn served(letter: Letter, work: impl Future<Output = CoreReply>) -> impl Future<Output = ()> {
        let Letter::Call { reply, cancel, .. } = letter else { panic!("no call") };
        answer(work, reply, cancel)
    }

    #[test]
    fn a_question_whose_asker_is_gone_ends_and_is_waited_for() {
        let asked = Asked::new();
        let (letter, answered) = asked.ask(question());
        let mut serving = Box::pin(served(letter, pending()));
        assert!(block_on(poll_once(&mut serving)).is_none());
        drop(answered);
        assert!(block_on(poll_once(asked.given_up.are_over())).is_none(), "it may hold memory");
        block_on(zip(asked.given_up.are_over(), serving));
        let keeps_credit = asked.tasks.0.borrow_mut().pop().expect("a task keeps the credit");
        assert_eq!(asked.credits.used(), 60);
        block_on(keeps_credit);
        assert_eq!(asked.credits.used(), 0);
    }

    #[test]
    fn a_question_that_was_answered_is_not_waited_for() {
        let asked = Asked::new();
        let (letter, answered) = asked.ask(question());
        let work = async { CoreReply::Catalog(Ok(CatalogReply::Measurements(Vec::new()))) };
        let (reply, ()) = block_on(zip(answered.wait(), served(letter, work)));
        assert!(matches!(reply, Ok(CoreReply::Catalog(Ok(_)))));
        assert!(asked.given_up.is_empty() && asked.tasks.0.borrow().is_empty());
        assert_eq!(asked.credits.used(), 0);
    }

    #[test]
    fn a_change_runs_to_its_end_without_its_asker() {
        let asked = Asked::new();
        let (letter, answered) = asked.ask(CoreRequest::Refuse(Error::Closed));
        let (is_wanted, is_done) = (flume::bounded(1), Cell::new(false));
        let work = async {
            let _ = is_wanted.1.recv_async().await;
            is_done.set(true);
            CoreReply::Done(Ok(()))
        };
        let mut serving = Box::pin(served(letter, work));
        drop(answered);
        assert!(block_on(poll_once(&mut serving)).is_none());
        is_wanted.0.send(()).expect("it waits");
        block_on(serving);
        assert!(is_done.get() && asked.given_up.is_empty());
    }
}
