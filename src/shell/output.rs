//! Answers as people or programs want them: columns, CSV or the server's JSON.

use std::io::Write;

use serde_json::Value;

/// Writes the series of an answer in columns: a name, the tags when there are any, a header, rows.
pub fn write_columns(out: &mut impl Write, answer: &Value, is_fresh: &mut bool) -> std::io::Result<()> {
    for series in series_of(answer) {
        let name = series["name"].as_str().unwrap_or("");
        let columns = texts(&series["columns"]);
        if !std::mem::take(is_fresh) {
            writeln!(out)?;
        }
        if !name.is_empty() {
            writeln!(out, "name: {name}")?;
        }
        if let Some(tags) = series["tags"].as_object() {
            let tags: Vec<String> =
                tags.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
            writeln!(out, "tags: {}", tags.join(", "))?;
        }
        let mut rows = vec![columns.clone(), columns.iter().map(|name| "-".repeat(width(name))).collect()];
        rows.extend(rows_of(series).iter().map(|row| row.iter().map(cell).collect::<Vec<String>>()));
        let widths: Vec<usize> = (0..columns.len())
            .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|text| width(text)).max().unwrap_or(0))
            .collect();
        for row in &rows {
            let mut line = String::new();
            for (at, text) in row.iter().enumerate() {
                line.push_str(text);
                if at + 1 < row.len() {
                    line.push_str(&" ".repeat(widths[at] - width(text) + 1));
                }
            }
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Writes the series of an answer as CSV: a header whenever columns or tags change.
pub fn write_csv(out: &mut impl Write, answer: &Value) -> std::io::Result<()> {
    for series in series_of(answer) {
        let tags = series["tags"].as_object().map(|tags| {
            tags.iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
                .collect::<Vec<_>>()
                .join(",")
        });
        let mut header = vec!["name".to_owned()];
        header.extend(tags.is_some().then(|| "tags".to_owned()));
        header.extend(texts(&series["columns"]));
        writeln!(out, "{}", csv_line(&header))?;
        for row in rows_of(series) {
            let mut line = vec![series["name"].as_str().unwrap_or("").to_owned()];
            line.extend(tags.clone());
            line.extend(row.iter().map(cell));
            writeln!(out, "{}", csv_line(&line))?;
        }
    }
    Ok(())
}

/// The errors of an answer: its own, and those of its statements.
pub fn errors(answer: &Value) -> Vec<String> {
    let statements = answer["results"].as_array().into_iter().flatten();
    std::iter::once(answer)
        .chain(statements)
        .filter_map(|value| value["error"].as_str().map(str::to_owned))
        .collect()
}

/// The messages of an answer's statements.
pub fn messages(answer: &Value) -> Vec<String> {
    answer["results"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|result| result["messages"].as_array().into_iter().flatten())
        .filter_map(|message| {
            Some(format!("{}: {}", message["level"].as_str()?.to_uppercase(), message["text"].as_str()?))
        })
        .collect()
}

fn series_of(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["results"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|result| result["series"].as_array().into_iter().flatten())
}

fn rows_of(series: &Value) -> Vec<&Vec<Value>> {
    series["values"].as_array().into_iter().flatten().filter_map(Value::as_array).collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(cell).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(cell).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn csv_line(cells: &[String]) -> String {
    let quoted: Vec<String> = cells
        .iter()
        .map(|cell| match cell.contains([',', '"', '\n', '\r']) || cell.starts_with(' ') {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        })
        .collect();
    quoted.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        serde_json::json!({"results": [{"statement_id": 0, "series": [
            {"name": "cpu", "tags": {"host": "a"}, "columns": ["time", "v"], "values": [[10, 1.5], [2000, null]]},
            {"name": "cpu", "tags": {"host": "b"}, "columns": ["time", "v"], "values": [[0, "x,y"]]},
        ]}]})
    }

    #[test]
    fn columns_are_aligned_under_their_names() {
        let mut out = Vec::new();
        write_columns(&mut out, &answer(), &mut true).expect("memory takes it");
        let want = "name: cpu\ntags: host=a\ntime v\n---- -\n10   1.5\n2000 \n\nname: cpu\ntags: host=b\ntime v\n---- -\n0    x,y\n";
        assert_eq!(String::from_utf8(out).expect("text"), want);
    }

    #[test]
    fn csv_has_a_header_for_each_series_and_quotes_commas() {
        let mut out = Vec::new();
        write_csv(&mut out, &answer()).expect("memory takes it");
        let want =
            "name,tags,time,v\ncpu,host=a,10,1.5\ncpu,host=a,2000,\nname,tags,time,v\ncpu,host=b,0,\"x,y\"\n";
        assert_eq!(String::from_utf8(out).expect("text"), want);
    }
}
