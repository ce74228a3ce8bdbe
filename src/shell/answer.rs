//! What the server answers, as the shell reads it. Numbers keep the text they came with.

use serde::Deserialize;
use serde_json::{Map, Value};

/// One document of an answer: all of it, or a chunk.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub results: Vec<StatementResult>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StatementResult {
    pub series: Vec<Series>,
    pub messages: Vec<Message>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Series {
    pub name: String,
    pub tags: Map<String, Value>,
    pub columns: Vec<String>,
    pub values: Vec<Vec<Value>>,
    /// More of this series follows in a later chunk.
    pub partial: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Message {
    pub level: String,
    pub text: String,
}

impl Answer {
    /// The answer's own error, or that of the first statement that has one.
    pub fn first_error(&self) -> Option<&str> {
        self.error.as_deref().or_else(|| self.results.iter().find_map(|result| result.error.as_deref()))
    }
}

impl Series {
    /// Tags by key.
    pub fn sorted_tags(&self) -> Vec<(&str, &str)> {
        let mut tags: Vec<(&str, &str)> =
            self.tags.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())).collect();
        tags.sort_unstable();
        tags
    }

    /// The same series as `other`, so that its rows continue the other's.
    pub fn continues(&self, other: &Series) -> bool {
        self.name == other.name && self.tags == other.tags && self.columns == other.columns
    }

    /// The series without its rows.
    pub fn head(&self) -> Series {
        Series {
            name: self.name.clone(),
            tags: self.tags.clone(),
            columns: self.columns.clone(),
            ..Self::default()
        }
    }
}

/// A value as plain text; nothing for null.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_text() {
        let text = r#"{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","v"],"values":[[1000000000000000001,1.50],[2,1e+21],[3,null]]}]}]}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        let rows = &answer.results[0].series[0].values;
        assert_eq!(plain(&rows[0][0]), "1000000000000000001");
        assert_eq!(plain(&rows[0][1]), "1.50");
        assert_eq!(plain(&rows[1][1]), "1e+21");
        assert_eq!(plain(&rows[2][1]), "");
    }

    #[test]
    fn the_first_error_is_found_wherever_it_stands() {
        let answer: Answer =
            serde_json::from_str(r#"{"results":[{"statement_id":0},{"statement_id":1,"error":"no"}]}"#)
                .unwrap();
        assert_eq!(answer.first_error(), Some("no"));
        let answer: Answer = serde_json::from_str(r#"{"error":"bad"}"#).unwrap();
        assert_eq!(answer.first_error(), Some("bad"));
    }
}
