//! The language against recorded expectations, and against itself.

use proptest::prelude::*;

use super::*;

/// Parameters as the conformance data writes them: JSON values, or objects of one key.
fn parameters(json: &serde_json::Value) -> Parameters {
    fn scalar(value: &serde_json::Value) -> Parameter {
        match value {
            serde_json::Value::String(text) => Parameter::String(text.clone()),
            serde_json::Value::Bool(boolean) => Parameter::Boolean(*boolean),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(integer) => Parameter::Integer(integer),
                None => Parameter::Number(number.as_f64().expect("a number")),
            },
            other => Parameter::Invalid(format!("unable to bind parameter with type {other}")),
        }
    }
    let Some(object) = json.as_object() else { return Parameters::new() };
    let bind = |value: &serde_json::Value| match value.as_object().and_then(|object| object.iter().next()) {
        Some((kind, value)) => Parameter::typed(kind, scalar(value)),
        None => scalar(value),
    };
    object.iter().map(|(name, value)| (name.clone(), bind(value))).collect()
}

/// Every recorded case: the same canonical text, or the same error. Needs the folder of recorded cases.
#[test]
fn recorded_cases_are_answered_alike() {
    let Ok(folder) = std::env::var("TIDEMARK_CONFORMANCE") else {
        eprintln!("skipped: TIDEMARK_CONFORMANCE is not set");
        return;
    };
    let text = std::fs::read_to_string(format!("{folder}/influxql.json")).expect("the recorded cases");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let mut failures = Vec::new();
    for case in &cases {
        let text = case["text"].as_str().expect("text");
        let got = if case["kind"] == "expr" {
            parse_expr(text).map(|expr| vec![expr.to_string()])
        } else {
            parse_query(text, &parameters(&case["params"]))
                .map(|query| query.statements.iter().map(Statement::to_string).collect())
        };
        let got = got.map_err(|error| error.to_string());
        let want = match case["error"].as_str() {
            Some(error) => Err(error.to_string()),
            None => Ok(case["canonical"]
                .as_array()
                .expect("canonical texts")
                .iter()
                .map(|text| text.as_str().expect("text").to_string())
                .collect::<Vec<_>>()),
        };
        if got != want {
            failures.push(format!("{}: {text}\n  want {want:?}\n  got  {got:?}", case["id"]));
        }
    }
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn error(text: &str) -> String {
    match parse_query(text, &Parameters::new()) {
        Ok(query) => panic!("{text} parsed as {query}"),
        Err(error) => error.to_string(),
    }
}

/// Recorded from influxd 1.6.7 for texts the shared cases do not have.
#[test]
fn errors_name_what_influxdb_names() {
    let cases = [
        ("SELECT x FROM y WHERE x 'a'", "found a, expected ; at line 1, char 24"),
        ("SELECT 'a", "found a, expected identifier, string, number, bool at line 1, char 7"),
        (r"SELECT 'a\q'", r"found \q, expected identifier, string, number, bool at line 1, char 11"),
        ("SELECT name FROM x", "found NAME, expected identifier, string, number, bool at line 1, char 8"),
        ("SELECT * FROM y WHERE x =~ /[/", "error parsing regexp: missing closing ]: `[` at line 1, char 27"),
        ("SELECT * FROM y WHERE x =~ 'a'", "found a, expected regex at line 1, char 27"),
        ("SELECT * FROM y WHERE x =~ /abc", "bad regex:  at line 1, char 27"),
        ("SELECT * FROM cpu /re/", "found  , expected regex at line 1, char 18"),
        ("SELECT * FROM a.b.c.d", "too many segments in \"a\".\"b\".\"c\".d at line 1, char 1"),
        ("SHOW TAG VALUES WITH KEY < a", "found <, expected IN, =, =~ at line 1, char 26"),
        ("SELECT a FROM b fill", "fill must be a function call"),
        ("SELECT a FROM b fill(x)", "expected number argument in fill()"),
        ("SELECT a FROM b ORDER BY foo", "only ORDER BY time supported at this time"),
        ("SELECT a FROM b tz('x')", "unable to find time zone x"),
        ("SELECT 99999999999999999999999 FROM b", "unable to parse integer at line 1, char 8"),
        ("SELECT *::foo FROM b", "found foo, expected field, tag at line 1, char 11"),
        ("SELECT -'a' FROM b", "found a, expected identifier, number, duration, ( at line 1, char 8"),
        (
            "CREATE DATABASE x WITH REPLICATION 0",
            "invalid value 0: must be 1 <= n <= 2147483647 at line 1, char 36",
        ),
        (
            "CREATE DATABASE x WITH REPLICATION 99999999999999999999",
            "strconv.Atoi: parsing \"99999999999999999999\": value out of range at line 1, char 36",
        ),
        (
            "ALTER RETENTION POLICY a ON b DURATION 1h DURATION 2h",
            "found duplicate DURATION option at line 1, char 43",
        ),
        (
            "CREATE CONTINUOUS QUERY a ON b BEGIN SELECT count(x) INTO z FROM y END",
            "found y, expected GROUP BY time(...) at line 1, char 66",
        ),
        (
            "CREATE CONTINUOUS QUERY a ON b BEGIN SELECT count(x) INTO z FROM y GROUP BY time(x) END",
            "found ), expected GROUP BY time(...), time dimension must have duration argument at line 1, char 83",
        ),
        (
            "CREATE CONTINUOUS QUERY a ON b RESAMPLE FOR 5s BEGIN SELECT count(x) INTO z FROM y GROUP BY time(1m) END",
            "FOR duration must be >= GROUP BY time duration: must be a minimum of 1m, got 5s",
        ),
        ("SELECT a INTO :MEASUREMENT FROM b", "found :, expected identifier at line 1, char 15"),
        ("SELECT a FROM b WHERE time > $x", "missing parameter: x"),
        ("SELECT a FROM $m", "found $m, expected identifier at line 1, char 15"),
        ("SELECT distinct, a FROM b", "found ,, expected (, identifier at line 1, char 16"),
        ("SELECT ''' FROM x", "found  FROM x, expected FROM at line 1, char 9"),
        ("DROP SERIES FROM a.b.c", "retention policy not supported at line 1, char 1"),
        ("SELECT * FROM x SELECT", "found SELECT, expected ; at line 1, char 17"),
        (
            "SELECT a.b > 1 FROM x",
            "invalid operator > in SELECT clause at line 1, char 8; operator is intended for WHERE clause",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(error(text), want, "{text}");
    }
}

#[test]
fn our_own_words_are_understood() {
    for text in [
        "EXPLAIN ESTIMATE SELECT a FROM b",
        "EXPLAIN ANALYZE SELECT a FROM b",
        "SHOW MEASUREMENTS ON *.*",
        "SHOW MEASUREMENTS ON db.*",
        "SHOW MEASUREMENTS ON db.rp WITH MEASUREMENT =~ /x/",
        "SHOW SERVERS",
        "SELECT a FROM b WHERE c = -9223372036854775808",
        "SELECT a FROM db.rp./x/, rp.y, (SELECT b FROM c) GROUP BY /t/, *",
        "SELECT a FROM b WHERE c > 0.123456",
    ] {
        assert_eq!(parse_statement(text).map(|statement| statement.to_string()).as_deref(), Ok(text));
    }
}

#[test]
fn passwords_are_not_displayed() {
    let text = parse_statement("CREATE USER a WITH PASSWORD 'secret' WITH ALL PRIVILEGES")
        .expect("parses")
        .to_string();
    assert_eq!(text, "CREATE USER a WITH PASSWORD [REDACTED] WITH ALL PRIVILEGES");
    let text = parse_statement("SET PASSWORD FOR a = 'secret'").expect("parses").to_string();
    assert_eq!(text, "SET PASSWORD FOR a = [REDACTED]");
}

/// Texts made to exhaust a parser's stack or memory are refused, or parsed in bounds; on a small stack.
#[test]
fn hostile_texts_are_refused_in_bounds() {
    let run = || {
        let too_deep = "query is nested too deeply: 100 levels are allowed";
        let too_large = "query is too large: it may have 100000 expressions at most";
        let nested = |open: &str, close: &str, count: usize| {
            format!("SELECT a FROM b WHERE {}1{} > 0", open.repeat(count), close.repeat(count))
        };
        assert_eq!(error(&nested("(", ")", 1_000_000)), too_deep);
        assert_eq!(error(&nested("f(", ")", 1_000_000)), too_deep);
        assert_eq!(error(&nested("-(", ")", 1_000_000)), too_deep);
        assert_eq!(error(&format!("SELECT a FROM {}", "(SELECT a FROM ".repeat(100_000))), too_deep);
        let terms =
            |count: usize, op: &str| format!("SELECT a FROM b WHERE {}", vec!["h = 'x'"; count].join(op));
        assert_eq!(error(&terms(1_000_000, " OR ")), too_large);
        assert_eq!(error(&format!("SELECT {} FROM b", vec!["a"; 200_000].join(" + "))), too_large);
        assert_eq!(error(&format!("SELECT {} FROM b", vec!["a"; 200].join(" + "))), too_deep);
        assert_eq!(error(&"SELECT a FROM b;".repeat(100_000)), too_large);
        let regexes = format!("SELECT a FROM b WHERE {}", vec!["h =~ /(x{100}){10}/"; 10_000].join(" OR "));
        assert_eq!(error(&regexes), too_large);
        let long = parse_query(&terms(40_000, " OR "), &Parameters::new()).expect("a long list is fine");
        assert!(long.to_string().len() > 400_000);
        assert_eq!(parse_query(&long.to_string(), &Parameters::new()), Ok(long));
    };
    std::thread::Builder::new()
        .stack_size(512 << 10)
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("no overflow");
}

// ------------------------------------------------------------------------------------------------ generated texts

/// Any text made of InfluxQL's own words and signs.
fn wordy_text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP",
        "BY",
        "time",
        "(",
        ")",
        ",",
        ";",
        ".",
        "..",
        "*",
        "/",
        "/a.b/",
        "=~",
        "!~",
        "=",
        "<",
        "+",
        "-",
        "--",
        "/*",
        "*/",
        "'a'",
        "\"a b\"",
        "'",
        "\"",
        "1",
        "1.5",
        "10m",
        "1h30m",
        "$x",
        "fill",
        "none",
        "LIMIT",
        "ORDER",
        "ASC",
        "SHOW",
        "TAG",
        "VALUES",
        "KEY",
        "WITH",
        "IN",
        "CREATE",
        "CONTINUOUS",
        "QUERY",
        "ON",
        "BEGIN",
        "END",
        "INTO",
        ":MEASUREMENT",
        "::",
        "field",
        "DISTINCT",
        "mean",
        "a",
        "b",
        "AND",
        "OR",
        "true",
        "DROP",
        "SERIES",
        "DELETE",
        "EXPLAIN",
        "é",
        "\n",
        "\r\n",
        "\\",
        "9223372036854775808",
        "tz",
        "'UTC'",
        "AS",
    ]);
    prop::collection::vec((word, prop::bool::ANY), 0..30).prop_map(|words| {
        words.into_iter().map(|(word, space)| format!("{word}{}", if space { " " } else { "" })).collect()
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_][a-z0-9_]{0,5}",
        "[ -~]{1,6}",
        Just("select".to_string()),
        Just("a\nb\"c\\d'é".to_string()),
    ]
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|integer| integer.to_string()),
        any::<u64>().prop_map(|unsigned| unsigned.to_string()),
        (-1e6..1e6f64).prop_map(|number| format!("{number:.6}")),
        name().prop_map(|text| quote_string(&text)),
        (1..10_000i64, prop::sample::select(vec!["ns", "u", "ms", "s", "m", "h", "d", "w"]))
            .prop_map(|(count, unit)| format!("{count}{unit}")),
        Just("true".to_string()),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let leaf =
        prop_oneof![literal(), name().prop_map(|name| quote_ident(&name)), Just("a.b::float".to_string())];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let op = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "&", "|", "^", "=", "!=", "<", "<=", ">", ">=", "AND", "OR",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.clone().prop_map(|inner| format!("-({inner})")),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|args| format!("f({})", args.join(", "))),
            (inner, prop::sample::select(vec!["=~", "!~"]))
                .prop_map(|(left, op)| format!("({left}) {op} /a\\/b.*/")),
        ]
    })
}

fn statement() -> impl Strategy<Value = String> {
    let from = prop_oneof![
        name().prop_map(|name| quote_ident(&name)),
        (name(), name()).prop_map(|(policy, name)| format!(
            "{}.{}",
            quote_ident(&policy),
            quote_ident(&name)
        )),
        name().prop_map(|database| format!("{}..m", quote_ident(&database))),
        Just("/cpu.*/".to_string()),
        Just("(SELECT mean(a) FROM b GROUP BY time(1m), *)".to_string()),
    ];
    let tail = prop::sample::select(vec![
        "",
        " GROUP BY time(1m, -5s), host fill(1.5)",
        " GROUP BY * fill(previous) ORDER BY time DESC LIMIT 3 SOFFSET 2",
        " ORDER BY DESC TZ('Europe/Berlin')",
        " GROUP BY /x/ fill(0)",
    ]);
    prop_oneof![
        (literal(), from, expression(), tail).prop_map(|(field, from, condition, tail)| format!(
            "SELECT f({field}), -a AS \"x y\" FROM {from} WHERE {condition}{tail}"
        )),
        (name(), name(), expression()).prop_map(|(database, key, condition)| format!(
            "SHOW TAG VALUES ON {} WITH KEY != {} WHERE {condition} LIMIT 5",
            quote_ident(&database),
            quote_ident(&key)
        )),
        (name(), 0..1_000_000_000_000_000i64, 1..9u64).prop_map(|(name, duration, replication)| format!(
            "CREATE DATABASE {} WITH DURATION {} REPLICATION {replication} NAME {}",
            quote_ident(&name),
            duration::format_duration(duration),
            quote_ident(&name)
        )),
        (name(), 1..1_000_000_000_000_000i64).prop_map(|(name, duration)| format!(
            "ALTER RETENTION POLICY {} ON d SHARD DURATION {} DEFAULT",
            quote_ident(&name),
            duration::format_duration(duration)
        )),
        (name(), expression())
            .prop_map(|(name, condition)| format!("DELETE FROM {} WHERE {condition}", quote_ident(&name))),
        (name(), name()).prop_map(|(name, url)| format!(
            "CREATE SUBSCRIPTION {} ON d.r DESTINATIONS ANY {}, 'b'",
            quote_ident(&name),
            quote_string(&url)
        )),
    ]
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC*") {
        fuzz(&text);
    }

    #[test]
    fn any_text_of_our_words_is_parsed_or_refused(text in wordy_text()) {
        fuzz(&text);
    }

    #[test]
    fn a_name_reads_back(name in name()) {
        prop_assert_eq!(parse_expr(&quote_ident(&name)), Ok(Expr::var(name)));
    }

    #[test]
    fn a_displayed_statement_reads_back(text in statement()) {
        match parse_query(&text, &Parameters::new()) {
            Ok(_) => fuzz(&text),
            // A random number may be out of range; everything else must parse.
            Err(error) => prop_assert!(
                error.message().contains("underflows") || error.message().contains("deeply"),
                "{}: {}", text, error
            ),
        }
    }
}
