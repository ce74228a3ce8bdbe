//! What a core counts, beside what its store and its connections count themselves. Plain numbers of one core; another
//! core gets a copy.

use std::cell::Cell;

use tidemark_engine::stats::Stats as StoreStats;
use tidemark_net::stats::Stats as NetStats;

macro_rules! counters {
    ($($name:ident: $help:literal,)*) => {
        /// Counters of one core. They only grow, except those called `…_now`.
        #[derive(Default)]
        pub struct Counters { $(#[doc = $help] pub $name: Cell<u64>,)* }

        /// A copy of [`Counters`].
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct CounterValues { $(#[doc = $help] pub $name: u64,)* }

        impl Counters {
            pub fn values(&self) -> CounterValues {
                CounterValues { $($name: self.$name.get(),)* }
            }
        }

        impl CounterValues {
            /// Name, help and value of each.
            pub fn list(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help, self.$name),)*]
            }

            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    requests: "HTTP requests",
    requests_active_now: "HTTP requests being answered",
    requests_ns: "time spent on HTTP requests",
    query_requests: "requests of /query",
    query_requests_ns: "time spent on requests of /query",
    query_response_bytes: "bytes of answers of /query",
    write_requests: "requests of /write",
    write_requests_active_now: "requests of /write being answered",
    write_requests_ns: "time spent on requests of /write",
    write_request_bytes: "bytes of bodies of /write, as they were sent",
    ping_requests: "requests of /ping",
    status_requests: "requests of /status",
    client_errors: "answers of 400 to 499",
    server_errors: "answers of 500 to 599",
    auth_failures: "requests without the right to what they asked",
    points_written_ok: "points taken by /write",
    points_written_dropped: "points of /write that were refused while others were stored",
    points_written_fail: "points of /write that failed whole",
    writes_throttled: "writes refused because too many waited",
    bodies_refused: "bodies refused because their pool was full",
    write_timeouts: "writes whose owner did not answer in time",
    queries_active_now: "queries being executed",
    queries_executed: "queries begun",
    queries_finished: "queries ended",
    query_duration_ns: "time spent on queries",
    query_memory_bytes: "memory queries held at their peaks, added up",
    mailbox_requests: "requests sent to other cores",
    scans_elsewhere: "scans asked of other cores",
    mailbox_full: "requests refused because another core's mailbox was full",
    continuous_queries_ok: "runs of continuous queries that went well",
    continuous_queries_failed: "runs of continuous queries that failed",
    continuous_query_points: "points written by continuous queries",
    prometheus_writes: "requests of Prometheus remote write",
    prometheus_reads: "requests of Prometheus remote read",
    tcp_points: "points received by TCP",
    udp_points: "points received by UDP",
}

/// Adds to a counter.
pub fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

/// Counts one up for as long as it lives.
pub struct Active<'a>(&'a Cell<u64>);

impl<'a> Active<'a> {
    pub fn new(counter: &'a Cell<u64>) -> Self {
        add(counter, 1);
        Self(counter)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// All numbers of one core.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoreStats {
    pub counters: CounterValues,
    pub store: StoreStats,
    pub net: NetStats,
    pub body_pool_used: u64,
    pub body_pool_limit: u64,
}
