//! Subscriptions: what is written goes on to those who asked for it.
//!
//! One per core, for what is written by its connections; ends with it. ALL has a queue per destination, so that a slow one
//! holds nobody up; ANY has one queue whose sends take turns, and go to the next destination when one fails. Queues are
//! bounded in bodies and in bytes: nobody who writes waits for a subscriber, and what it loses is counted. A send that
//! may succeed later is tried again a few times.

mod destination;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::cores::{Cores, TaggedStats};
use crate::meta::{Data, SubscriptionMode};
use crate::runtime::Priority;
use crate::write::tap::{Lines, Tap};
use crate::write::{Owners, Writer};
use destination::{Destination, Link, Sent};

/// Bytes that may wait for one queue on one core.
const QUEUE_BYTES_MAX: u64 = 16 << 20;

/// Rounds over the destinations before a body is given up, and the pause before the second, which doubles.
const ROUNDS_MAX: u32 = 5;
const RETRY: Duration = Duration::from_millis(200);

/// `[subscriber]`.
#[derive(Clone)]
pub struct Settings {
    pub timeout: Duration,
    /// Sends of one queue at a time on this core.
    pub concurrency: usize,
    /// Bodies that may wait for one queue on this core.
    pub queue: usize,
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// What identifies a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subscription {
    database: String,
    retention_policy: String,
    name: String,
    mode: SubscriptionMode,
    urls: Vec<String>,
}

/// What came of sends to one destination.
#[derive(Default)]
struct Counts {
    points: Cell<u64>,
    failures: Cell<u64>,
}

/// A queue and those who empty it.
struct Queue {
    subscription: Subscription,
    tap: Tap,
    counts: Vec<Rc<Counts>>,
}

pub struct Subscriber {
    cores: Cores,
    writer: Rc<Writer<Owners>>,
    settings: Settings,
    queues: RefCell<Vec<Queue>>,
    create_failures: Cell<u64>,
}

impl Subscriber {
    pub fn new(cores: Cores, writer: Rc<Writer<Owners>>, settings: Settings) -> Self {
        Self { cores, writer, settings, queues: RefCell::default(), create_failures: Cell::new(0) }
    }

    /// Makes queues for new subscriptions, ends those of dropped ones.
    pub fn follow(&self, data: &Data) {
        let wanted = wanted(data);
        let mut queues = self.queues.borrow_mut();
        if queues.len() == wanted.len()
            && queues.iter().zip(&wanted).all(|(queue, one)| queue.subscription == *one)
        {
            return;
        }
        let mut former = std::mem::take(&mut *queues);
        for subscription in wanted {
            let known = former.iter().position(|queue| queue.subscription == subscription);
            let queue = match known {
                Some(at) => Some(former.swap_remove(at)),
                None => self.start(subscription),
            };
            queues.extend(queue);
        }
        self.writer.taps.replace(queues.iter().map(|queue| queue.tap.clone()).collect());
    }

    fn start(&self, subscription: Subscription) -> Option<Queue> {
        let parsed: Result<Vec<_>, _> = subscription.urls.iter().map(|url| Destination::parse(url)).collect();
        let destinations = match parsed {
            Ok(destinations) if !destinations.is_empty() => destinations,
            other => {
                let error = other.err().unwrap_or_else(|| "no destination".to_owned());
                tracing::warn!(name = subscription.name, error, "a subscription cannot be served");
                self.create_failures.set(self.create_failures.get() + 1);
                return None;
            }
        };
        let (sender, receiver) = flume::bounded(self.settings.queue.max(1));
        let tap = Tap {
            database: subscription.database.clone(),
            retention_policy: subscription.retention_policy.clone(),
            sender,
            bytes: Rc::default(),
            bytes_max: QUEUE_BYTES_MAX,
            points_lost: Rc::default(),
        };
        let counts: Vec<Rc<Counts>> = destinations.iter().map(|_| Rc::default()).collect();
        let shared = Rc::new(Shared {
            cores: self.cores.clone(),
            settings: self.settings.clone(),
            subscription: subscription.clone(),
            destinations,
            counts: counts.clone(),
            bytes: Rc::clone(&tap.bytes),
            next: Cell::new(0),
            is_failing: Cell::new(false),
        });
        for _ in 0..self.settings.concurrency.max(1) {
            let (shared, receiver) = (Rc::clone(&shared), receiver.clone());
            self.cores.runtime().spawn(Priority::Background, async move { shared.send_all(receiver).await });
        }
        Some(Queue { subscription, tap, counts })
    }

    /// Per destination, as InfluxDB has them.
    pub fn statistics(&self) -> Vec<TaggedStats> {
        let queues = self.queues.borrow();
        let mut all = vec![TaggedStats {
            name: "subscriber",
            tags: Vec::new(),
            values: vec![("createFailures", self.create_failures.get())],
        }];
        for queue in queues.iter() {
            let subscription = &queue.subscription;
            for (url, counts) in subscription.urls.iter().zip(&queue.counts) {
                all.push(TaggedStats {
                    name: "subscriber",
                    tags: vec![
                        ("database", subscription.database.clone()),
                        ("destination", without_login(url)),
                        ("mode", mode_name(subscription.mode).to_owned()),
                        ("name", subscription.name.clone()),
                        ("retention_policy", subscription.retention_policy.clone()),
                    ],
                    values: vec![
                        ("pointsWritten", counts.points.get()),
                        ("writeFailures", counts.failures.get()),
                        ("pointsDropped", queue.tap.points_lost.get()),
                    ],
                });
            }
        }
        all
    }
}

/// The queues the catalogue asks for.
fn wanted(data: &Data) -> Vec<Subscription> {
    let mut all = Vec::new();
    for database in &data.databases {
        for policy in &database.retention_policies {
            for info in &policy.subscriptions {
                let one = |urls: &[String]| Subscription {
                    database: database.name.clone(),
                    retention_policy: policy.name.clone(),
                    name: info.name.clone(),
                    mode: info.mode,
                    urls: urls.to_vec(),
                };
                match info.mode {
                    SubscriptionMode::All => all.extend(info.destinations.chunks(1).map(one)),
                    SubscriptionMode::Any => all.push(one(&info.destinations)),
                }
            }
        }
    }
    all
}

fn mode_name(mode: SubscriptionMode) -> &'static str {
    match mode {
        SubscriptionMode::All => "ALL",
        SubscriptionMode::Any => "ANY",
    }
}

/// A URL as it may be shown.
fn without_login(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let at = rest[..end].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[at..])
        }
        None => url.to_owned(),
    }
}

/// What the senders of one queue share.
struct Shared {
    cores: Cores,
    settings: Settings,
    subscription: Subscription,
    destinations: Vec<Destination>,
    counts: Vec<Rc<Counts>>,
    bytes: Rc<Cell<u64>>,
    /// Whose turn it is.
    next: Cell<usize>,
    is_failing: Cell<bool>,
}

impl Shared {
    async fn send_all(&self, queue: flume::Receiver<Lines>) {
        let mut links: Vec<Option<Link>> = self.destinations.iter().map(|_| None).collect();
        while let Ok(lines) = queue.recv_async().await {
            self.send(&lines, &mut links).await;
            self.bytes.set(self.bytes.get() - lines.bytes.len() as u64);
        }
    }

    /// Sends to the destination whose turn it is, or the next that takes it.
    async fn send(&self, lines: &Lines, links: &mut [Option<Link>]) {
        let first = self.next.get() % self.destinations.len();
        self.next.set(first + 1);
        let mut pause = RETRY;
        for round in 0..ROUNDS_MAX {
            if round > 0 {
                self.cores.runtime().sleep(pause).await;
                pause *= 2;
            }
            for turn in 0..self.destinations.len() {
                let at = (first + turn) % self.destinations.len();
                match self.try_send(at, lines, &mut links[at]).await {
                    Sent::Done => {
                        let counts = &self.counts[at];
                        counts.points.set(counts.points.get() + lines.points);
                        self.tell(None);
                        return;
                    }
                    Sent::Failed(error) => {
                        links[at] = None;
                        self.failed(at, &error);
                    }
                    Sent::Refused(error) => {
                        links[at] = None;
                        self.failed(at, &error);
                        return;
                    }
                }
            }
        }
    }

    async fn try_send(&self, at: usize, lines: &Lines, link: &mut Option<Link>) -> Sent {
        let (runtime, destination) = (self.cores.runtime(), &self.destinations[at]);
        let sending = async {
            // A server may have closed an idle connection: that is found out once, not counted.
            if let Some(open) = link {
                let sent = destination.send(
                    open,
                    &self.subscription.database,
                    &self.subscription.retention_policy,
                    &lines.bytes,
                );
                if let done @ (Sent::Done | Sent::Refused(_)) = sent.await {
                    return done;
                }
                *link = None;
            }
            let open = match destination.connect(runtime, &self.settings.tls).await {
                Ok(open) => link.insert(open),
                Err(error) => return Sent::Failed(error.to_string()),
            };
            destination
                .send(open, &self.subscription.database, &self.subscription.retention_policy, &lines.bytes)
                .await
        };
        let sent = runtime.timeout(self.settings.timeout, sending).await;
        sent.unwrap_or_else(|| Sent::Failed("timeout".to_owned()))
    }

    fn failed(&self, at: usize, error: &str) {
        let counts = &self.counts[at];
        counts.failures.set(counts.failures.get() + 1);
        self.tell(Some((at, error)));
    }

    /// Logs when sends begin to fail and when they go well again, not each of them.
    fn tell(&self, failure: Option<(usize, &str)>) {
        let was_failing = self.is_failing.replace(failure.is_some());
        let name = &self.subscription.name;
        match failure {
            Some((at, error)) if !was_failing => {
                let destination = without_login(&self.subscription.urls[at]);
                tracing::warn!(name, destination, error, "a subscriber does not take points");
            }
            None if was_failing => tracing::info!(name, "a subscriber takes points again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Command;
    use crate::meta::apply::apply;

    #[test]
    fn all_has_a_queue_for_each_destination_and_any_has_one() {
        let mut data = Data::default();
        let create = |name: &str, mode| Command::CreateSubscription {
            database: "db".into(),
            retention_policy: "autogen".into(),
            name: name.into(),
            mode,
            destinations: vec!["http://a:1".into(), "udp://b:2".into()],
        };
        let database = Command::CreateDatabase { name: "db".into(), spec: None, autocreate: true };
        for command in [database, create("one", SubscriptionMode::All), create("two", SubscriptionMode::Any)]
        {
            apply(&mut data, &command).expect("applies");
        }
        let counts: Vec<_> = wanted(&data).into_iter().map(|one| (one.name, one.urls.len())).collect();
        assert_eq!(counts, [("one".to_owned(), 1), ("one".to_owned(), 1), ("two".to_owned(), 2)]);
    }

    #[test]
    fn passwords_in_urls_are_not_shown() {
        assert_eq!(without_login("http://me:secret@h:1/x@y"), "http://h:1/x@y");
        assert_eq!(without_login("udp://h:1"), "udp://h:1");
    }
}
