//! What the server tells about itself: `/debug/vars` for agents, `/metrics` for Prometheus, per core.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use http::Response;
use serde_json::{Map, Value, json};
use tidemark_net::http1::Answer;

use super::reply::{self, JSON};
use super::request_track::Counting;
use super::{Head, Http};
use crate::cores::CoreStats;
use crate::error::ApiError;
use crate::stats;

/// Longest interval of `/debug/requests`.
const REQUESTS_INTERVAL_MAX: Duration = Duration::from_secs(6 * 3600);

const PROMETHEUS: http::HeaderValue =
    http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

impl Http {
    async fn all_stats(&self) -> Vec<CoreStats> {
        stats::of_all_cores(&self.cores).await
    }

    /// InfluxDB's shape: a member per statistic with name, tags and values.
    pub(super) async fn debug_vars(self: &Rc<Self>, head: &Head) -> Result<Response<Answer>, ApiError> {
        self.authorize_debug(head).await?;
        let cores = self.all_stats().await;
        let mut vars = Map::new();
        let now_ns = self.cores.runtime().wall_ns();
        let time = |ns: i64| chrono::DateTime::from_timestamp_nanos(ns).to_rfc3339();
        vars.insert(
            "system".into(),
            json!({
                "currentTime": time(now_ns),
                "started": time(self.started_ns),
                "uptime": (now_ns - self.started_ns) / 1_000_000_000,
            }),
        );
        vars.insert("cmdline".into(), json!(std::env::args().collect::<Vec<_>>()));
        vars.insert("memstats".into(), stats::memory());
        let tagged = stats::tagged(&self.cores).await;
        let of_shards = stats::shards::statistics(&self.cores, &self.config).await;
        for statistic in stats::statistics(&cores, &self.config).into_iter().chain(tagged).chain(of_shards) {
            let values: Map<String, Value> =
                statistic.values.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            let tags: Map<String, Value> =
                statistic.tags.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            vars.insert(statistic.key, json!({ "name": statistic.name, "tags": tags, "values": values }));
        }
        let mut body = serde_json::to_string_pretty(&Value::Object(vars)).unwrap_or_default();
        body.push('\n');
        Ok(reply::whole(200, JSON, body))
    }

    pub(super) async fn metrics(self: &Rc<Self>, head: &Head) -> Result<Response<Answer>, ApiError> {
        if self.config.http.ping_auth_enabled {
            self.authenticate(head).await?;
        }
        let cores = self.all_stats().await;
        let mut text = String::with_capacity(32 << 10);
        for metric in stats::metrics(&cores) {
            let kind = if metric.is_gauge { "gauge" } else { "counter" };
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", metric.name, metric.help, metric.name);
            for (core, value) in metric.values.iter().enumerate() {
                let _ = writeln!(text, "{}{{core=\"{core}\"}} {value}", metric.name);
            }
        }
        for (name, help, value) in stats::process() {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        Ok(reply::whole(200, PROMETHEUS, text))
    }

    /// Requests per user and address over some seconds. What is counted is what comes in meanwhile.
    pub(super) async fn debug_requests(self: &Rc<Self>, head: &Head) -> Result<Response<Answer>, ApiError> {
        self.authorize_debug(head).await?;
        let seconds = match head.parameters.get("seconds") {
            "" => 10,
            text => text.parse().map_err(|_| ApiError::bad_request(format!("invalid seconds: {text}")))?,
        };
        let interval = Duration::from_secs(seconds);
        if interval > REQUESTS_INTERVAL_MAX {
            return Err(ApiError::bad_request(format!(
                "exceeded maximum interval time: {seconds}s > 6h0m0s"
            )));
        }
        let counting = Counting::begin(&self.cores).await;
        self.cores.runtime().sleep(interval).await;
        let tracked = counting.end().await;
        let body: Map<String, Value> = tracked
            .into_iter()
            .map(|(who, (writes, queries))| (who, json!({ "writes": writes, "queries": queries })))
            .collect();
        Ok(reply::whole(200, JSON, format!("{}\n", Value::Object(body))))
    }
}
