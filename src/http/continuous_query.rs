//! `/data/process_continuous_queries`: has continuous queries run now, or as if it were another time.

use std::rc::Rc;

use http::Response;
use tidemark_net::http1::Answer;

use super::{Head, Http, reply};
use crate::error::ApiError;

impl Http {
    /// `db` and `name` choose (all, when they are empty), `time` is RFC 3339 or nanoseconds. The answer comes when they
    /// have run; what failed is logged, counted and shown.
    pub(super) async fn process_continuous_queries(
        self: &Rc<Self>,
        head: &Head,
    ) -> Result<Response<Answer>, ApiError> {
        self.authorize_admin(head).await?;
        if !self.config.continuous_queries.enabled {
            return Err(ApiError::new(501, "continuous queries are switched off"));
        }
        let parameters = &head.parameters;
        let time = match parameters.get("time") {
            "" => self.cores.runtime().wall_ns(),
            text => time(text).ok_or_else(|| ApiError::bad_request(format!("invalid time: {text}")))?,
        };
        let (database, name) = (parameters.get("db").to_owned(), parameters.get("name").to_owned());
        let ran = self.cores.run_continuous_queries(database, name, time).await;
        ran.map_err(|error| ApiError::internal(error.to_string()))?.map_err(ApiError::bad_request)?;
        Ok(reply::no_content())
    }
}

fn time(text: &str) -> Option<i64> {
    if let Ok(nanoseconds) = text.parse() {
        return Some(nanoseconds);
    }
    chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt()
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_rfc_3339_or_nanoseconds() {
        assert_eq!(time("-5"), Some(-5));
        assert_eq!(time("1970-01-01T01:00:00.000000001+01:00"), Some(1));
        assert_eq!(time("yesterday"), None);
        assert_eq!(time("9999-01-01T00:00:00Z"), None);
    }
}
