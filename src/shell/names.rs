//! Names as `use` and `insert into` read them, which is as `influx` does.

/// `db`, `db.rp`, either in double quotes. `None`: more than two parts.
pub fn database_and_policy(text: &str) -> Option<(String, String)> {
    let (mut parts, mut is_quoted) = (vec![String::new()], false);
    for char in text.trim().chars() {
        match char {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(String::new()),
            char => {
                if let Some(last) = parts.last_mut() {
                    last.push(char);
                }
            }
        }
    }
    let mut parts = parts.into_iter();
    let names = (parts.next()?, parts.next().unwrap_or_default());
    parts.next().is_none().then_some(names)
}

/// What `insert` says: where to, and the line itself.
#[derive(Debug, PartialEq)]
pub struct Insert<'a> {
    pub database: Option<String>,
    pub retention_policy: Option<String>,
    pub line: &'a str,
}

/// Reads `insert [into [db.]rp] line`. `insert into m v=1` with a name that is followed by a comma or nothing is a point
/// of that measurement, as in `influx`.
pub fn insert(text: &str) -> Result<Insert<'_>, String> {
    let (word, rest) = identifier(text);
    if !word.eq_ignore_ascii_case("insert") {
        return Err(format!("found {word}, expected INSERT"));
    }
    let (word, after) = identifier(rest);
    if !word.eq_ignore_ascii_case("into") {
        return Ok(Insert { database: None, retention_policy: None, line: rest });
    }
    let (mut name, mut rest) = identifier(after);
    let (mut database, mut retention_policy) = (None, None);
    if let Some(behind) = rest.strip_prefix('.') {
        database = Some(name);
        (name, rest) = identifier(behind);
    }
    if let Some(behind) = rest.strip_prefix(' ') {
        retention_policy = Some(name);
        rest = behind;
    }
    Ok(Insert { database, retention_policy, line: rest })
}

/// The name at the beginning, plain or in double quotes, and the rest.
fn identifier(text: &str) -> (String, &str) {
    let start = text.trim_start_matches([' ', '\t', '\n']);
    if let Some(inner) = start.strip_prefix('"') {
        let mut is_escaped = false;
        for (at, char) in inner.char_indices() {
            match char {
                '\\' => is_escaped = true,
                '"' if !is_escaped => return (inner[..at].to_owned(), &inner[at + 1..]),
                '"' => is_escaped = false,
                _ => {}
            }
        }
        return (inner.to_owned(), "");
    }
    if !start.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_') {
        return (String::new(), start);
    }
    let end = start.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(start.len());
    (start[..end].to_owned(), &start[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_and_policies_may_be_quoted() {
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(database_and_policy("db"), pair("db", ""));
        assert_eq!(database_and_policy(" \"a.b\".\"c d\" "), pair("a.b", "c d"));
        assert_eq!(database_and_policy("a.b.c"), None);
    }

    #[test]
    fn insert_finds_its_target() {
        let check = |text: &'static str, database: Option<&str>, policy: Option<&str>, line: &'static str| {
            let want = Insert {
                database: database.map(str::to_owned),
                retention_policy: policy.map(str::to_owned),
                line,
            };
            assert_eq!(insert(text), Ok(want), "{text}");
        };
        check("insert cpu,h=a v=1", None, None, " cpu,h=a v=1");
        check("INSERT INTO rp cpu v=1 5", None, Some("rp"), "cpu v=1 5");
        check("insert into db.rp cpu v=1", Some("db"), Some("rp"), "cpu v=1");
        check("insert into \"d b\".\"r.p\" cpu v=1", Some("d b"), Some("r.p"), "cpu v=1");
        check("insert into,h=a v=1", None, None, ",h=a v=1");
        assert_eq!(insert("x y").unwrap_err(), "found x, expected INSERT");
    }
}
