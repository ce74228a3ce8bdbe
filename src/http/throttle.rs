//! How many writes are worked on at a time, and how many may wait for that.
//!
//! The limits are the node's; each core keeps its share, rounded up.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tidemark_net::pool::{Pool, Reservation};

use crate::config;
use crate::error::ApiError;
use crate::runtime::Runtime;

pub struct Throttle {
    /// Places of writes being worked on; none: no limit.
    places: Option<Pool>,
    waiting_max: u64,
    waiting: Rc<Cell<u64>>,
    wait_max: Duration,
}

/// A place, given up when dropped.
pub struct Place(#[expect(dead_code, reason = "held for its end")] Option<Reservation>);

struct Waiting(Rc<Cell<u64>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Throttle {
    pub fn new(config: &config::Http, cores: usize) -> Self {
        let share = |total: u64| total.div_ceil(cores.max(1) as u64);
        let places = share(config.max_concurrent_write_limit);
        Self {
            places: (places > 0).then(|| Pool::new(places)),
            waiting_max: share(config.max_enqueued_write_limit),
            waiting: Rc::default(),
            wait_max: config.enqueued_write_timeout.std(),
        }
    }

    /// Waits for a place as long as that is allowed.
    pub async fn enter(&self, runtime: &Runtime) -> Result<Place, ApiError> {
        let Some(places) = &self.places else { return Ok(Place(None)) };
        if let Ok(place) = places.try_reserve(1) {
            return Ok(Place(Some(place)));
        }
        if self.waiting.get() >= self.waiting_max {
            return Err(ApiError::overload("request throttled, queue full"));
        }
        self.waiting.set(self.waiting.get() + 1);
        let _waiting = Waiting(Rc::clone(&self.waiting));
        let place = if self.wait_max.is_zero() {
            Some(places.reserve(1).await)
        } else {
            runtime.timeout(self.wait_max, places.reserve(1)).await
        };
        match place {
            Some(Ok(place)) => Ok(Place(Some(place))),
            _ => Err(ApiError::overload("request throttled, exceeds timeout")),
        }
    }
}

#[cfg(all(test, feature = "sim"))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::runtime::sim::Simulation;

    #[test]
    fn beyond_the_limits_a_write_waits_then_is_refused() {
        let simulation = Simulation::new(1);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let throttle = Throttle {
                places: Some(Pool::new(1)),
                waiting_max: 1,
                waiting: Rc::default(),
                wait_max: Duration::from_secs(30),
            };
            let first = throttle.enter(&runtime).await.ok();
            let second = throttle.enter(&runtime);
            let third = async {
                runtime.sleep(Duration::from_secs(1)).await;
                throttle.enter(&runtime).await.err().map(|error| error.text)
            };
            let (second, third) = futures_lite::future::zip(second, third).await;
            assert_eq!(
                second.err().map(|error| error.text).as_deref(),
                Some("request throttled, exceeds timeout")
            );
            assert_eq!(third.as_deref(), Some("request throttled, queue full"));
            drop(first);
            assert!(throttle.enter(&runtime).await.is_ok());
        });
    }
}
