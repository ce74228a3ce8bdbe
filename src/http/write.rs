//! `/write` and `/api/v2/write`: parameters and a body in, durable points or the exact refusal out.

use std::rc::Rc;

use http::Response;
use tidemark_net::http1::{Answer, Body, Encoding, RequestBody, content_length};
use tidemark_net::pool::Reservation;

use super::{Head, Http, reply};
use crate::cores::counters::{self, Active};
use crate::error::ApiError;
use crate::line_protocol::Precision;
use crate::meta::Privilege;
use crate::write::{Consistency, Early, Owners, WriteError, WriteRequest, Written};

/// Bytes of a body that `write-tracing` logs.
const TRACED_BYTES_MAX: usize = 64 << 10;

/// Bytes from which a body is read while it comes in; a shorter one is mostly there at once.
const EARLY_BYTES_MIN: u64 = 64 << 10;

/// Where the points of a request go.
pub(super) struct Target<'a> {
    pub database: &'a str,
    pub retention_policy: &'a str,
    pub precision: Precision,
}

impl Http {
    /// 1.x: `db`, `rp`, `precision`, `consistency`.
    pub(super) async fn write(
        self: &Rc<Self>,
        head: &Head,
        body: RequestBody,
    ) -> Result<Response<Answer>, ApiError> {
        let _place = self.throttle.enter(self.cores.runtime()).await.inspect_err(|_| {
            counters::add(&self.cores.counters().writes_throttled, 1);
        })?;
        let parameters = &head.parameters;
        let token = parameters.get("precision");
        let precision = Precision::from_token(token).filter(|_| !matches!(token, "us" | "µ"));
        let target = Target {
            database: parameters.get("db"),
            retention_policy: parameters.get("rp"),
            precision: precision.ok_or_else(|| WriteError::InvalidPrecision(token.to_owned()))?,
        };
        if target.database.is_empty() {
            return Err(WriteError::DatabaseRequired.into());
        }
        self.write_to(head, target, body).await
    }

    /// 2.x: `bucket` is `database/policy`.
    pub(super) async fn write_v2(
        self: &Rc<Self>,
        head: &Head,
        body: RequestBody,
    ) -> Result<Response<Answer>, ApiError> {
        let token = head.parameters.get("precision");
        let precision = match token {
            "" | "ns" => Precision::Nanosecond,
            "us" => Precision::Microsecond,
            "ms" => Precision::Millisecond,
            "s" => Precision::Second,
            _ => {
                return Err(ApiError::bad_request(format!(
                    "invalid precision \"{token}\" (use ns, us, ms or s)"
                )));
            }
        };
        let bucket = head.parameters.get("bucket");
        if bucket.is_empty() {
            return Err(ApiError::not_found(
                "bucket name \"\" is missing a slash; not in \"database/retention-policy\" format",
            ));
        }
        let (database, retention_policy) = bucket.split_once('/').unwrap_or((bucket, ""));
        if database.is_empty() {
            return Err(ApiError::not_found(format!(
                "bucket name \"{bucket}\" is in db/rp form but has an empty database"
            )));
        }
        self.write_to(head, Target { database, retention_policy, precision }, body).await
    }

    async fn write_to(
        self: &Rc<Self>,
        head: &Head,
        target: Target<'_>,
        body: RequestBody,
    ) -> Result<Response<Answer>, ApiError> {
        let counters = self.cores.counters();
        counters::add(&counters.write_requests, 1);
        let _active = Active::new(&counters.write_requests_active_now);
        let started_ns = self.cores.runtime().monotonic_ns();

        let consistency = self.authorized_target(head, &target).await?;
        let is_long = content_length(&head.parts.headers).is_none_or(|bytes| bytes >= EARLY_BYTES_MIN);
        if is_long
            && Encoding::of(&head.parts.headers) == Encoding::Identity
            && !self.config.http.write_tracing
            && let Some(early) = self.writer.begin(self.request(&target, consistency))
        {
            let written = self.write_early(head, body, early).await?;
            counters::add(&counters.write_requests_ns, self.cores.runtime().monotonic_ns() - started_ns);
            return written.map(|()| reply::no_content());
        }
        let body = self.body(head, body).await?;
        if self.config.http.write_tracing {
            let text = String::from_utf8_lossy(&body[..body.len().min(TRACED_BYTES_MAX)]);
            tracing::info!(database = target.database, bytes = body.len(), body = %text, "write body received");
        }
        counters::add(&counters.write_request_bytes, body.len() as u64);
        let written = self.write_body(&target, consistency, &body).await;
        counters::add(&counters.write_requests_ns, self.cores.runtime().monotonic_ns() - started_ns);
        written.map(|()| reply::no_content())
    }

    /// Checks in InfluxDB's order: the database, the right, the consistency.
    pub(super) async fn authorized_target(
        self: &Rc<Self>,
        head: &Head,
        target: &Target<'_>,
    ) -> Result<Consistency, ApiError> {
        if self.cores.view().current().database(target.database).is_none() {
            return Err(WriteError::DatabaseNotFound(target.database.to_owned()).into());
        }
        self.authorize_write(head, target.database).await?;
        let token = head.parameters.get("consistency");
        Ok(Consistency::from_token(token).ok_or(WriteError::InvalidConsistency)?)
    }

    /// Stores lines, and counts what became of them.
    pub(super) async fn write_body(
        &self,
        target: &Target<'_>,
        consistency: Consistency,
        body: &[u8],
    ) -> Result<(), ApiError> {
        self.count(self.writer.write_lines(&self.request(target, consistency), body).await)
    }

    fn request<'t>(&self, target: &Target<'t>, consistency: Consistency) -> WriteRequest<'t> {
        WriteRequest {
            database: target.database,
            retention_policy: target.retention_policy,
            precision: target.precision,
            consistency,
            now: self.cores.runtime().wall_ns(),
            unsigned: false,
            validate_keys: self.config.data.validate_keys,
        }
    }

    /// Reads a body while it comes in; the outer error is one of the body, of which nothing is stored then.
    async fn write_early(
        &self,
        head: &Head,
        body: RequestBody,
        mut early: Early<'_, '_, Owners>,
    ) -> Result<Result<(), ApiError>, ApiError> {
        let (limit, reservation) = self.reserve(head).await?;
        let mut pieces = body.pieces(limit, reservation);
        while let Some(piece) = pieces.next().await.inspect_err(|error| self.note_refusal(error))? {
            early.push(&piece).await;
        }
        counters::add(&self.cores.counters().write_request_bytes, pieces.bytes());
        Ok(self.count(early.finish().await))
    }

    fn count(&self, written: Result<Written, WriteError>) -> Result<(), ApiError> {
        let counters = self.cores.counters();
        match written {
            Ok(written) => {
                counters::add(&counters.points_written_ok, written.points);
                Ok(())
            }
            Err(error) => {
                match &error {
                    WriteError::Partial { dropped, written, .. } => {
                        counters::add(&counters.points_written_ok, *written);
                        counters::add(&counters.points_written_dropped, *dropped);
                    }
                    WriteError::Timeout => counters::add(&counters.write_timeouts, 1),
                    _ => counters::add(&counters.points_written_fail, 1),
                }
                Err(error.into())
            }
        }
    }

    /// The whole body, decompressed. It waits for room as long as a write may take.
    pub(super) async fn body(&self, head: &Head, body: RequestBody) -> Result<Body, ApiError> {
        let (limit, reservation) = self.reserve(head).await?;
        let collected = body.collect(Encoding::of(&head.parts.headers), limit, reservation).await;
        Ok(collected.inspect_err(|error| self.note_refusal(error))?)
    }

    /// How long a body may be, and room for it.
    async fn reserve(&self, head: &Head) -> Result<(u64, Reservation), ApiError> {
        let limit = match self.config.http.max_body_size.0 {
            0 => u64::MAX,
            limit => limit,
        };
        let headers = &head.parts.headers;
        let first = RequestBody::first_reservation(headers, limit)?;
        let wait_max = self.config.coordinator.write_timeout.std();
        let reserved = self.cores.runtime().timeout(wait_max, self.bodies.reserve(first)).await;
        let refused = || counters::add(&self.cores.counters().bodies_refused, 1);
        match reserved {
            Some(reserved) => Ok((limit, reserved.inspect_err(|_| refused())?)),
            None => {
                refused();
                Err(ApiError::overload("timed out waiting for room for the request's body"))
            }
        }
    }

    fn note_refusal(&self, error: &tidemark_net::Error) {
        if matches!(error, tidemark_net::Error::PoolFull { .. }) {
            counters::add(&self.cores.counters().bodies_refused, 1);
        }
    }

    async fn authorize_write(self: &Rc<Self>, head: &Head, database: &str) -> Result<(), ApiError> {
        if !self.config.http.auth_enabled {
            return Ok(());
        }
        let Some(user) = self.authenticate(head).await? else {
            return Err(ApiError::forbidden(format!("user is required to write to database \"{database}\"")));
        };
        if user.may(Privilege::Write, database) {
            return Ok(());
        }
        counters::add(&self.cores.counters().auth_failures, 1);
        Err(ApiError::forbidden(format!(
            "\"{}\" user is not authorized to write to database \"{database}\"",
            user.name
        )))
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        Self { status: error.status(), retry_after_seconds: error.retry_after(), text: error.to_string() }
    }
}
