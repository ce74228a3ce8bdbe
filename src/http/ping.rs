//! Whether the server is there, and whether it can do its work.

use std::rc::Rc;
use std::time::Duration;

use http::Response;
use serde_json::json;
use tidemark_net::http1::Answer;

use super::reply::{self, INFLUXDB_VERSION, JSON};
use super::{Head, Http};
use crate::cores::{CoreRequest, counters};
use crate::error::ApiError;

/// A core that does not answer within this is not well.
const CORE_ANSWER_MAX: Duration = Duration::from_secs(2);

impl Http {
    /// 204, or the version for `?verbose=true`.
    pub(super) async fn ping(self: &Rc<Self>, head: &Head) -> Result<Response<Answer>, ApiError> {
        counters::add(&self.cores.counters().ping_requests, 1);
        if self.config.http.ping_auth_enabled {
            self.authenticate(head).await?;
        }
        match head.parameters.get("verbose") {
            "" | "0" | "false" => Ok(reply::no_content()),
            _ => Ok(reply::whole(200, JSON, format!("{}\n", json!({ "version": INFLUXDB_VERSION })))),
        }
    }

    pub(super) fn status(&self) -> Result<Response<Answer>, ApiError> {
        counters::add(&self.cores.counters().status_requests, 1);
        Ok(reply::no_content())
    }

    /// 200 while every core answers and can write.
    pub(super) async fn health(self: &Rc<Self>, head: &Head) -> Result<Response<Answer>, ApiError> {
        if self.config.http.ping_auth_enabled {
            self.authenticate(head).await?;
        }
        let troubles = self.troubles().await;
        let (status, word, message) = match troubles.first() {
            None => (200, "pass", "ready for queries and writes".to_owned()),
            Some(trouble) => (503, "fail", trouble.clone()),
        };
        let checks: Vec<_> = troubles
            .iter()
            .map(|trouble| json!({ "name": "core", "status": "fail", "message": trouble }))
            .collect();
        let body = json!({
            "checks": checks,
            "message": message,
            "name": "influxdb",
            "status": word,
            "version": INFLUXDB_VERSION,
        });
        Ok(reply::whole(status, JSON, body.to_string()))
    }

    /// 200 when writes and reads are served; `for=write` and `for=read` ask for one.
    pub(super) async fn ready(self: &Rc<Self>, head: &Head) -> Result<Response<Answer>, ApiError> {
        if self.config.http.ping_auth_enabled {
            self.authenticate(head).await?;
        }
        let troubles = if head.parameters.get("for") == "read" { Vec::new() } else { self.troubles().await };
        let up_seconds = (self.cores.runtime().wall_ns() - self.started_ns) / 1_000_000_000;
        match troubles.first() {
            None => Ok(reply::whole(
                200,
                JSON,
                json!({ "status": "ready", "up": format!("{up_seconds}s") }).to_string(),
            )),
            Some(trouble) => Err(ApiError::overload(trouble.clone())),
        }
    }

    /// What keeps this node from writing, a sentence per core.
    async fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        for core in 0..self.cores.count() {
            let asked = self.cores.ask(core, CoreRequest::CheckWritable);
            match self.cores.runtime().timeout(CORE_ANSWER_MAX, asked).await {
                Some(Ok(())) => {}
                Some(Err(error)) => troubles.push(format!("core {core}: {error}")),
                None => troubles.push(format!("core {core} does not answer")),
            }
        }
        troubles
    }
}
