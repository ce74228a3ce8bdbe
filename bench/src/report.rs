//! A table for people and a JSON line for machines, from the same figures.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

/// Named figures in the order they are shown.
#[derive(Default)]
pub struct Report {
    rows: Vec<(String, Value)>,
}

impl Report {
    pub fn text(&mut self, name: &str, value: impl Into<String>) {
        self.rows.push((name.to_owned(), Value::from(value.into())));
    }

    pub fn count(&mut self, name: &str, value: u64) {
        self.rows.push((name.to_owned(), Value::from(value)));
    }

    /// A figure kept to four significant places.
    pub fn figure(&mut self, name: &str, value: f64) {
        self.rows.push((name.to_owned(), Value::from(round(value))));
    }

    pub fn print(&self, json: bool) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        for (name, value) in &self.rows {
            let shown = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            table.add_row(vec![name.replace('_', " "), shown]);
        }
        println!("{table}");
        if json {
            println!("{}", Value::Object(self.rows.iter().cloned().collect::<Map<_, _>>()));
        }
    }
}

pub fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}
