//! What may stand at the cursor: decided from the words before it, filled with the catalog's names.

use std::ops::Range;

use super::catalog::{Catalog, List, quoted_value};
use super::format::FORMATS;
use super::words::{BACKSLASH, WORDS};
use crate::influxql::quote_ident;
use crate::influxql::spans::{SpanKind, keywords, spans};

/// Offered at once; whoever wants others types a letter more.
const CANDIDATES_MAX: usize = 200;

/// Functions with what they are.
const FUNCTIONS: &[(&str, &str)] = &[
    ("count", "aggregate"),
    ("distinct", "aggregate"),
    ("integral", "aggregate"),
    ("mean", "aggregate"),
    ("median", "aggregate"),
    ("mode", "aggregate"),
    ("spread", "aggregate"),
    ("stddev", "aggregate"),
    ("sum", "aggregate"),
    ("bottom", "selector"),
    ("first", "selector"),
    ("last", "selector"),
    ("max", "selector"),
    ("min", "selector"),
    ("percentile", "selector"),
    ("sample", "selector"),
    ("top", "selector"),
    ("abs", "transformation"),
    ("acos", "transformation"),
    ("asin", "transformation"),
    ("atan", "transformation"),
    ("atan2", "transformation"),
    ("ceil", "transformation"),
    ("cos", "transformation"),
    ("cumulative_sum", "transformation"),
    ("derivative", "transformation"),
    ("difference", "transformation"),
    ("elapsed", "transformation"),
    ("exp", "transformation"),
    ("floor", "transformation"),
    ("histogram", "transformation"),
    ("ln", "transformation"),
    ("log", "transformation"),
    ("log2", "transformation"),
    ("log10", "transformation"),
    ("moving_average", "transformation"),
    ("non_negative_derivative", "transformation"),
    ("non_negative_difference", "transformation"),
    ("pow", "transformation"),
    ("round", "transformation"),
    ("sin", "transformation"),
    ("sqrt", "transformation"),
    ("tan", "transformation"),
    ("holt_winters", "predictor"),
    ("holt_winters_with_fit", "predictor"),
    ("chande_momentum_oscillator", "technical"),
    ("exponential_moving_average", "technical"),
    ("double_exponential_moving_average", "technical"),
    ("triple_exponential_moving_average", "technical"),
    ("triple_exponential_derivative", "technical"),
    ("kaufmans_efficiency_ratio", "technical"),
    ("kaufmans_adaptive_moving_average", "technical"),
    ("relative_strength_index", "technical"),
    ("fill", "empty windows"),
    ("tz", "time zone"),
    ("null", "fill"),
    ("none", "fill"),
    ("previous", "fill"),
    ("linear", "fill"),
];

/// Statements, and what follows their first words.
const STATEMENTS: [&str; 13] = [
    "SELECT", "SHOW", "CREATE", "DROP", "DELETE", "ALTER", "EXPLAIN", "GRANT", "REVOKE", "SET", "KILL",
    "INSERT", "USE",
];
const AFTER_SHOW: [&str; 18] = [
    "DATABASES",
    "MEASUREMENTS",
    "SERIES",
    "TAG KEYS",
    "TAG VALUES",
    "FIELD KEYS",
    "RETENTION POLICIES",
    "QUERIES",
    "CONTINUOUS QUERIES",
    "USERS",
    "GRANTS FOR",
    "STATS",
    "DIAGNOSTICS",
    "SHARDS",
    "SHARD GROUPS",
    "SUBSCRIPTIONS",
    "SERIES CARDINALITY",
    "MEASUREMENT CARDINALITY",
];
const AFTER_CREATE: [&str; 5] = ["DATABASE", "RETENTION POLICY", "CONTINUOUS QUERY", "USER", "SUBSCRIPTION"];
const AFTER_DROP: [&str; 8] = [
    "DATABASE",
    "MEASUREMENT",
    "SERIES",
    "RETENTION POLICY",
    "CONTINUOUS QUERY",
    "USER",
    "SHARD",
    "SUBSCRIPTION",
];
const AFTER_SOURCE: [&str; 9] =
    ["WHERE", "GROUP BY", "ORDER BY time DESC", "LIMIT", "OFFSET", "SLIMIT", "SOFFSET", "WITH KEY =", "INTO"];
const PRECISIONS: [&str; 7] = ["rfc3339", "h", "m", "s", "ms", "u", "ns"];
const CONSISTENCIES: [&str; 4] = ["any", "one", "quorum", "all"];

/// What may be written, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub text: String,
    pub kind: String,
}

/// What may stand in `range` of the line.
#[derive(Debug, PartialEq)]
pub struct Completion {
    pub range: Range<usize>,
    pub candidates: Vec<Candidate>,
}

/// A piece of the statement that has a meaning.
struct Piece {
    text: String,
    kind: SpanKind,
    range: Range<usize>,
}

impl Piece {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    /// The name it stands for.
    fn name(&self) -> String {
        match self.kind {
            SpanKind::QuotedName => {
                let inner = self.text.trim_matches('"');
                inner.replace("\\\"", "\"").replace("\\\\", "\\")
            }
            _ => self.text.clone(),
        }
    }

    fn is_name(&self) -> bool {
        matches!(self.kind, SpanKind::Name | SpanKind::QuotedName)
    }
}

/// Completes the line at the cursor.
pub fn complete(line: &str, cursor: usize, catalog: &Catalog) -> Completion {
    let before = &line[..cursor];
    if before.trim_start().starts_with('\\') || is_word_line(before) {
        return complete_word(before, catalog);
    }
    let start = statement_start(before);
    let whole = pieces(&line[start..], start);
    let mut known: Vec<Piece> = pieces(&line[start..cursor], start);
    let range = match known.last() {
        Some(last) if last.range.end == cursor && is_unfinished(last) => {
            let range = last.range.clone();
            known.pop();
            range
        }
        _ => cursor..cursor,
    };
    let place = Place { known: &known, whole: &whole, catalog };
    let prefix = &line[range.clone()];
    Completion { candidates: matching(prefix, place.candidates()), range }
}

/// A piece that further letters may belong to.
fn is_unfinished(piece: &Piece) -> bool {
    match piece.kind {
        SpanKind::Name | SpanKind::Keyword => true,
        // A quote that is not closed.
        SpanKind::Bad => piece.text.starts_with(['\'', '"']),
        _ => false,
    }
}

fn statement_start(before: &str) -> usize {
    spans(before).iter().rfind(|span| span.kind == SpanKind::Semicolon).map_or(0, |span| span.range.end)
}

fn pieces(text: &str, offset: usize) -> Vec<Piece> {
    spans(text)
        .into_iter()
        .filter(|span| !matches!(span.kind, SpanKind::Space | SpanKind::Comment))
        .map(|span| Piece {
            text: text[span.range.clone()].to_owned(),
            kind: span.kind,
            range: span.range.start + offset..span.range.end + offset,
        })
        .collect()
}

/// Lines of the shell's words that have arguments.
fn is_word_line(before: &str) -> bool {
    let first = before.split_whitespace().next().unwrap_or_default().to_lowercase();
    let has_arguments = before.trim_start().contains(char::is_whitespace);
    has_arguments
        && matches!(
            first.as_str(),
            "use" | "format" | "precision" | "consistency" | "insert" | "clear" | "chunk"
        )
}

fn complete_word(before: &str, catalog: &Catalog) -> Completion {
    let is_end = |char: char| char.is_whitespace() || char == '.' || char == ',';
    let last_end = before.char_indices().rfind(|&(_, char)| is_end(char));
    let start = last_end.map_or(0, |(at, char)| at + char.len_utf8());
    let (head, prefix) = before.split_at(start);
    let words: Vec<&str> = head.split_whitespace().collect();
    let database = catalog.database();
    let named =
        |names: &[&str], kind: &str| names.iter().map(|name| candidate(*name, kind)).collect::<Vec<_>>();
    let measurements = || names(catalog, List::Measurements { database: database.clone() }, "measurement");
    let candidates = match words.first().map(|word| word.to_lowercase()).as_deref() {
        None => BACKSLASH.iter().map(|word| candidate(word.name, word.help)).collect(),
        Some("use" | "\\c") => match head.trim_end().strip_suffix('.') {
            Some(head) => {
                let database =
                    head.split_whitespace().last().unwrap_or_default().trim_matches('"').to_owned();
                names(catalog, List::Policies { database }, "retention policy")
            }
            None => names(catalog, List::Databases, "database"),
        },
        Some("format" | "\\f") => named(&FORMATS.map(|(name, _)| name), "format"),
        Some("precision") => named(&PRECISIONS, "precision"),
        Some("consistency") => named(&CONSISTENCIES, "level"),
        Some("clear") => named(&["database", "retention policy"], "setting"),
        Some("chunk") => named(&["size"], ""),
        Some("\\d" | "\\dt") => measurements(),
        Some("\\drp") => names(catalog, List::Databases, "database"),
        Some("\\chart" | "\\watch") => {
            // A query follows, after the number of seconds if there is one.
            let rest =
                before.trim_start().trim_start_matches(|char: char| !char.is_whitespace()).trim_start();
            let skip = before.len() - rest.len();
            let digits = before[skip..].len()
                - before[skip..].trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
            let begin = skip + digits;
            let inner = complete(&before[begin..], before.len() - begin, catalog);
            return Completion {
                range: inner.range.start + begin..inner.range.end + begin,
                candidates: inner.candidates,
            };
        }
        Some("insert") if words.len() == 1 && !head.contains(',') => measurements(),
        Some("insert") if words.len() == 2 && words[1].contains(',') && head.ends_with(',') => {
            let measurement = words[1].split(',').next().unwrap_or_default().to_owned();
            names(catalog, List::Tags { database, measurement }, "tag")
        }
        Some(_) => Vec::new(),
    };
    Completion { range: start..before.len(), candidates: matching(prefix, candidates) }
}

/// The cursor's place in a statement.
struct Place<'a> {
    /// Before the cursor, without the word at it.
    known: &'a [Piece],
    /// Before and behind.
    whole: &'a [Piece],
    catalog: &'a Catalog,
}

impl Place<'_> {
    fn candidates(&self) -> Vec<Candidate> {
        let Some(first) = self.known.first() else {
            let mut all = keywords_of(&STATEMENTS);
            all.extend(WORDS.iter().map(|word| candidate(word.name, word.help)));
            return all;
        };
        let last = &self.known[self.known.len() - 1];
        if last.is("ON") {
            return names(self.catalog, List::Databases, "database");
        }
        if last.is(".") && self.is_in_source() {
            return self.after_dot();
        }
        if self.known.len() == 1 {
            match first.text.to_ascii_uppercase().as_str() {
                "SHOW" => return keywords_of(&AFTER_SHOW),
                "CREATE" => return keywords_of(&AFTER_CREATE),
                "DROP" => return keywords_of(&AFTER_DROP),
                "EXPLAIN" => return keywords_of(&["ANALYZE", "SELECT"]),
                "ALTER" => return keywords_of(&["RETENTION POLICY"]),
                "DELETE" => return keywords_of(&["FROM", "WHERE"]),
                "KILL" => return keywords_of(&["QUERY"]),
                _ => {}
            }
        }
        if self.known.len() == 2 && first.is("DROP") && last.is("MEASUREMENT") {
            return names(self.catalog, List::Measurements { database: self.database() }, "measurement");
        }
        if self.known.len() == 2 && first.is("DROP") && last.is("DATABASE") {
            return names(self.catalog, List::Databases, "database");
        }
        if self.is_source_wanted(last) {
            return self.sources();
        }
        if let Some(values) = self.tag_values(last) {
            return values;
        }
        match self.clause().as_str() {
            "SELECT" => self.columns(true),
            "WHERE" => self.condition(last),
            "BY" => self.group_by(last),
            "KEY" => self.tags(),
            "FROM" => keywords_of(&AFTER_SOURCE),
            _ => keywords().map(|word| candidate(word, "keyword")).collect(),
        }
    }

    /// The last keyword that begins a clause.
    fn clause(&self) -> String {
        let begins =
            ["SELECT", "FROM", "INTO", "WHERE", "BY", "KEY", "LIMIT", "OFFSET", "SLIMIT", "SOFFSET", "ORDER"];
        let found = self.known.iter().rev().find_map(|piece| begins.iter().find(|word| piece.is(word)));
        found.map(|word| (*word).to_owned()).unwrap_or_default()
    }

    fn is_in_source(&self) -> bool {
        matches!(self.clause().as_str(), "FROM" | "INTO" | "MEASUREMENT")
    }

    fn is_source_wanted(&self, last: &Piece) -> bool {
        last.is("FROM") || last.is("INTO") || (last.is(",") && self.clause() == "FROM")
    }

    fn sources(&self) -> Vec<Candidate> {
        let mut all = names(self.catalog, List::Measurements { database: self.database() }, "measurement");
        all.extend(names(self.catalog, List::Databases, "database"));
        all
    }

    /// After `db.` a retention policy, after `db.rp.` or `rp.` a measurement.
    fn after_dot(&self) -> Vec<Candidate> {
        let parts: Vec<&Piece> = self
            .known
            .iter()
            .rev()
            .take_while(|piece| piece.is(".") || piece.is_name())
            .filter(|piece| piece.is_name())
            .collect();
        match parts.as_slice() {
            [one] => {
                let one = one.name();
                let is_database =
                    self.catalog.names(List::Databases).iter().any(|database| database.text == one);
                match is_database {
                    true => names(self.catalog, List::Policies { database: one }, "retention policy"),
                    false => {
                        names(self.catalog, List::Measurements { database: self.database() }, "measurement")
                    }
                }
            }
            [_, database, ..] => {
                names(self.catalog, List::Measurements { database: database.name() }, "measurement")
            }
            [] => Vec::new(),
        }
    }

    /// The database the statement reads: that of `ON`, of a source, or of the session.
    fn database(&self) -> String {
        let named = self.whole.windows(2).find(|pair| pair[0].is("ON") && pair[1].is_name());
        named.map_or_else(|| self.source().0, |pair| pair[1].name())
    }

    /// Database and measurement of the first source; an empty measurement if there is none yet.
    fn source(&self) -> (String, String) {
        let after =
            self.whole.iter().position(|piece| piece.is("FROM")).map_or(self.whole.len(), |at| at + 1);
        let path: Vec<&Piece> =
            self.whole[after..].iter().take_while(|piece| piece.is_name() || piece.is(".")).collect();
        // Two names in a row: the second belongs to what follows.
        let mut segments: Vec<String> = Vec::new();
        let mut was_name = false;
        for piece in path {
            if piece.is_name() && was_name {
                break;
            }
            was_name = piece.is_name();
            if was_name {
                segments.push(piece.name());
            }
        }
        let measurement = segments.last().cloned().unwrap_or_default();
        let is_named = segments.len() == 3
            || (segments.len() == 2
                && self.catalog.names(List::Databases).iter().any(|database| database.text == segments[0]));
        match is_named {
            true => (segments.swap_remove(0), measurement),
            false => (self.catalog.database(), measurement),
        }
    }

    fn tags(&self) -> Vec<Candidate> {
        let measurement = self.source().1;
        names(self.catalog, List::Tags { database: self.database(), measurement }, "tag")
    }

    fn fields(&self) -> Vec<Candidate> {
        let measurement = self.source().1;
        let fields = self.catalog.names(List::Fields { database: self.database(), measurement });
        fields
            .iter()
            .map(|name| candidate(quote_ident(&name.text), &format!("{} field", name.field_type)))
            .collect()
    }

    fn columns(&self, with_functions: bool) -> Vec<Candidate> {
        let mut all = self.fields();
        all.extend(self.tags());
        if with_functions {
            all.extend(functions(|kind| !matches!(kind, "fill" | "empty windows" | "time zone")));
        }
        all.extend(keywords_of(&["FROM", "AS", "INTO", "DISTINCT"]));
        all
    }

    fn condition(&self, last: &Piece) -> Vec<Candidate> {
        let is_begin = ["WHERE", "AND", "OR", "("].iter().any(|word| last.is(word));
        let is_comparison = last.kind == SpanKind::Operator && !last.is(")");
        if is_begin || is_comparison {
            let mut all = vec![candidate("time", "timestamp")];
            all.extend(self.tags());
            all.extend(self.fields());
            all.push(candidate("now()", "time"));
            return all;
        }
        keywords_of(&["AND", "OR", "GROUP BY", "ORDER BY time DESC", "LIMIT", "SLIMIT", "OFFSET"])
    }

    fn group_by(&self, last: &Piece) -> Vec<Candidate> {
        if last.is("BY") || last.is(",") {
            let mut all = vec![candidate("time(", "windows"), candidate("*", "all tags")];
            all.extend(self.tags());
            return all;
        }
        let mut all = functions(|kind| matches!(kind, "empty windows" | "fill" | "time zone"));
        all.extend(keywords_of(&["ORDER BY time DESC", "LIMIT", "SLIMIT", "OFFSET"]));
        all
    }

    /// After `tag =` in a condition.
    fn tag_values(&self, last: &Piece) -> Option<Vec<Candidate>> {
        let is_comparison = ["=", "!=", "<>"].iter().any(|operator| last.is(operator));
        let name = self.known.len().checked_sub(2).map(|at| &self.known[at])?;
        if !is_comparison || !(name.is_name() || name.kind == SpanKind::Keyword) || self.clause() != "WHERE" {
            return None;
        }
        let (database, measurement) = (self.database(), self.source().1);
        let tag = name.name();
        let tags =
            self.catalog.names(List::Tags { database: database.clone(), measurement: measurement.clone() });
        if !tags.iter().any(|known| known.text == tag) {
            return None;
        }
        let values = self.catalog.names(List::TagValues { database, measurement, tag });
        Some(values.iter().map(|name| candidate(quoted_value(&name.text), "value")).collect())
    }
}

fn candidate(text: impl Into<String>, kind: &str) -> Candidate {
    Candidate { text: text.into(), kind: kind.to_owned() }
}

fn names(catalog: &Catalog, list: List, kind: &str) -> Vec<Candidate> {
    catalog.names(list).iter().map(|name| candidate(quote_ident(&name.text), kind)).collect()
}

fn keywords_of(words: &[&str]) -> Vec<Candidate> {
    words.iter().map(|word| candidate(*word, "keyword")).collect()
}

fn functions(wanted: impl Fn(&str) -> bool) -> Vec<Candidate> {
    let takes_none = ["null", "none", "previous", "linear"];
    FUNCTIONS
        .iter()
        .filter(|(_, kind)| wanted(kind))
        .map(|(name, kind)| {
            candidate(if takes_none.contains(name) { (*name).to_owned() } else { format!("{name}(") }, kind)
        })
        .collect()
}

/// Those that begin with the prefix, then those that contain it; keywords in the letters' case the user types.
fn matching(prefix: &str, all: Vec<Candidate>) -> Vec<Candidate> {
    let wanted = prefix.trim_start_matches(['"', '\'']).to_lowercase();
    let is_lower = prefix.starts_with(|first: char| first.is_lowercase());
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for mut candidate in all {
        let text = candidate.text.trim_start_matches(['"', '\'']).to_lowercase();
        if is_lower && candidate.kind == "keyword" {
            candidate.text = candidate.text.to_lowercase();
        }
        if text.starts_with(&wanted) {
            first.push(candidate);
        } else if !wanted.is_empty() && text.contains(&wanted) && candidate.kind != "keyword" {
            second.push(candidate);
        }
    }
    first.extend(second);
    let mut seen = std::collections::HashSet::new();
    first.retain(|candidate| seen.insert(candidate.text.clone()));
    first.truncate(CANDIDATES_MAX);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let catalog = Catalog::new();
        catalog.set_database("d");
        let (database, cpu) = (|| "d".to_owned(), || "cpu".to_owned());
        catalog.know(List::Databases, &[("d", ""), ("other", "")]);
        catalog.know(List::Policies { database: "other".into() }, &[("autogen", ""), ("short", "")]);
        catalog
            .know(List::Measurements { database: database() }, &[("cpu", ""), ("disk io", ""), ("from", "")]);
        catalog.know(List::Measurements { database: "other".into() }, &[("far", "")]);
        catalog
            .know(List::Tags { database: database(), measurement: cpu() }, &[("host", ""), ("region", "")]);
        catalog.know(List::Fields { database: database(), measurement: cpu() }, &[("usage", "float")]);
        let values = List::TagValues { database: database(), measurement: cpu(), tag: "host".into() };
        catalog.know(values, &[("it's", ""), ("web1", "")]);
        catalog
    }

    /// `|` is the cursor.
    fn check(line: &str, want: &[&str]) {
        let cursor = line.find('|').unwrap();
        let completion = complete(&line.replace('|', ""), cursor, &catalog());
        let texts: Vec<&str> =
            completion.candidates.iter().map(|candidate| candidate.text.as_str()).collect();
        assert!(texts.starts_with(want), "{line}: {texts:?}");
    }

    #[test]
    fn names_stand_where_they_are_wanted() {
        check("SELECT * FROM |", &["cpu", "\"disk io\"", "\"from\"", "d", "other"]);
        check("SELECT * FROM d|", &["\"disk io\"", "d"]);
        check("SELECT * FROM other.|", &["autogen", "short"]);
        check("SELECT * FROM other.autogen.|", &["far"]);
        check("SELECT | FROM cpu", &["usage", "host", "region", "count("]);
        check("SELECT me| FROM cpu", &["mean(", "median("]);
        check("SELECT mean(usa| FROM cpu", &["usage"]);
        check("SELECT x FROM cpu WHERE |", &["time", "host", "region", "usage"]);
        check("SELECT x FROM cpu WHERE host = |", &["'it\\'s'", "'web1'"]);
        check("SELECT x FROM cpu WHERE host = 'w|", &["'web1'"]);
        check("SELECT x FROM cpu WHERE time > now() AND ho|", &["host"]);
        check("SELECT x FROM cpu GROUP BY |", &["time(", "*", "host", "region"]);
        check("SELECT x FROM cpu GROUP BY time(1m) f|", &["fill("]);
        check("SHOW TAG VALUES FROM cpu WITH KEY = |", &["host", "region"]);
        check("SHOW TAG KEYS ON |", &["d", "other"]);
        check("SHOW DATABASES; DROP MEASUREMENT c|", &["cpu"]);
    }

    #[test]
    fn keywords_keep_the_case_that_is_typed() {
        check("sel|", &["select"]);
        check("SH|", &["SHOW"]);
        check("show ta|", &["tag keys", "tag values"]);
        check("select x from cpu wh|", &["where"]);
    }

    #[test]
    fn the_words_of_the_shell_have_arguments_too() {
        check("use |", &["d", "other"]);
        check("use other.|", &["autogen", "short"]);
        check("format v|", &["vertical"]);
        check("\\d c|", &["cpu"]);
        check("\\ti|", &["\\timing"]);
        check("insert c|", &["cpu"]);
        check("insert cpu,|", &["host", "region"]);
        check("\\watch 2 SELECT * FROM c|", &["cpu"]);
        check("prec|", &["precision"]);
    }

    #[test]
    fn any_text_and_cursor_is_survived() {
        for line in ["SELECT \"a, 'é FROM x.y.z WHERE b=~/c/ ; \\x", "use\u{a0}é\u{3000}", "\\watch\u{a0}1 é"]
        {
            for cursor in (0..=line.len()).filter(|&at| line.is_char_boundary(at)) {
                complete(line, cursor, &Catalog::new());
            }
        }
    }
}
