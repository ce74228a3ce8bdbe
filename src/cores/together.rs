//! Futures side by side in one task.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Runs futures side by side in one task; their values in order.
pub async fn together<T, F: Future<Output = T>>(futures: Vec<F>) -> Vec<T> {
    let mut running: Vec<(Option<Pin<Box<F>>>, Option<T>)> =
        futures.into_iter().map(|future| (Some(Box::pin(future)), None)).collect();
    poll_fn(move |cx| {
        let mut is_done = true;
        for (future, value) in &mut running {
            let Some(pinned) = future else { continue };
            match pinned.as_mut().poll(cx) {
                Poll::Ready(ready) => {
                    *value = Some(ready);
                    *future = None;
                }
                Poll::Pending => is_done = false,
            }
        }
        if is_done {
            Poll::Ready(running.drain(..).filter_map(|(_, value)| value).collect())
        } else {
            Poll::Pending
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, yield_now};

    use super::together;

    #[test]
    fn values_come_in_order_whichever_is_ready_first() {
        let slow_first = (0..5).map(|at| async move {
            for _ in at..5 {
                yield_now().await;
            }
            at
        });
        assert_eq!(block_on(together(slow_first.collect())), [0, 1, 2, 3, 4]);
    }
}
