//! A core that has just answered a question stays awake for a while: who asks one question after another asks the next one
//! soon, and a processor that went to sleep takes long to wake up and has forgotten what it worked with.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::TaskQueueHandle;

use super::ticker::Ticker;
use super::{SPIN_BEFORE_PARK, spawn_into};

/// From an answer to the next question of a client on the same machine: it is woken, reads, and asks.
const AWAKE: Duration = Duration::from_micros(100);

/// A timer that rings this often keeps an executor looking for work: it sleeps when it has found none for longer.
const TICK: Duration = SPIN_BEFORE_PARK.checked_div(4).expect("four is not zero").saturating_mul(3);

/// One per core.
pub struct Awake {
    queue: TaskQueueHandle,
    until: Cell<Instant>,
    is_ticking: Cell<bool>,
    /// That of all other work.
    others: Rc<Ticker>,
}

impl Awake {
    pub fn new(queue: TaskQueueHandle, others: Rc<Ticker>) -> Rc<Self> {
        Rc::new(Self { queue, until: Cell::new(Instant::now()), is_ticking: Cell::new(false), others })
    }

    /// Keeps the core awake from now on. Beside other work it has no need: whoever brings that has it awake, and may need the
    /// processor itself.
    pub fn stay(self: &Rc<Self>) {
        if self.others.is_quick.get() {
            return;
        }
        self.until.set(Instant::now() + AWAKE);
        if self.is_ticking.replace(true) {
            return;
        }
        let awake = Rc::clone(self);
        spawn_into(self.queue, async move {
            while Instant::now() < awake.until.get() && !awake.others.is_quick.get() {
                glommio::timer::sleep(TICK).await;
            }
            awake.is_ticking.set(false);
        });
    }
}

#[cfg(test)]
mod tests {
    use glommio::LocalExecutor;

    use super::*;

    #[test]
    fn a_core_stays_awake_for_a_while_and_only_while_there_is_no_other_work() {
        LocalExecutor::default().run(async {
            let queue = glommio::executor().current_task_queue();
            let others = Ticker::of_others(queue);
            let awake = Awake::new(queue, Rc::clone(&others));
            awake.stay();
            awake.stay();
            assert!(awake.is_ticking.get());
            glommio::timer::sleep(AWAKE * 20).await;
            assert!(!awake.is_ticking.get(), "it may sleep again");
            awake.stay();
            assert!(awake.is_ticking.get());
            others.note();
            glommio::timer::sleep(TICK * 2).await;
            assert!(!awake.is_ticking.get(), "it had time left, but there is other work");
            awake.stay();
            assert!(!awake.is_ticking.get());
        });
    }
}
