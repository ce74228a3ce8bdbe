//! Line protocol against recorded answers, against a second opinion, and against itself.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemark_engine::model::batch::take_value;
use tidemark_engine::model::{FieldType, Value, series_key};

use super::*;

const NOW: i64 = 1_600_000_000_123_456_789;

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    key: Vec<u8>,
    measurement: Vec<u8>,
    fields: BTreeMap<Vec<u8>, Value>,
    timestamp: i64,
    text: Vec<u8>,
}

#[derive(Default)]
struct Collector {
    points: Vec<Seen>,
    refusals: Vec<String>,
}

impl Sink for Collector {
    fn point(&mut self, point: &Point<'_>) -> Flow {
        let mut values = point.values;
        let fields = point
            .shape
            .fields
            .iter()
            .map(|(field_type, name)| (name.clone(), take_value(&mut values, *field_type).expect("value")))
            .collect();
        self.points.push(Seen {
            key: point.key.to_vec(),
            measurement: point.shape.measurement.clone(),
            fields,
            timestamp: point.timestamp,
            text: point.text.to_vec(),
        });
        Flow::Continue
    }

    fn refuse(&mut self, _line: u32, reason: &Refusal<'_>) {
        self.refusals.push(reason.to_string());
    }
}

fn options(precision: &str) -> Options {
    Options {
        precision: Precision::from_token(precision).expect("a precision"),
        now: NOW,
        unsigned: false,
        validate_keys: false,
    }
}

fn parse_with(body: &[u8], options: Options) -> (Collector, Option<String>) {
    let mut parser = Parser::new(options, Scratch::default());
    let mut sink = Collector::default();
    while parser.step(body, &mut sink, 1 << 20) != Step::Done {}
    (sink, parser.into_errors().0)
}

fn parse(body: &str) -> (Collector, Option<String>) {
    parse_with(body.as_bytes(), options(""))
}

/// The recorded inputs of InfluxDB's own parser tests give the recorded points and texts.
#[test]
fn recorded_inputs_give_the_recorded_points_and_errors() {
    let Ok(folder) = std::env::var("TIDEMARK_CONFORMANCE") else {
        eprintln!("skipped: TIDEMARK_CONFORMANCE does not name the folder of recorded answers");
        return;
    };
    let text = std::fs::read_to_string(format!("{folder}/line_protocol.json")).expect("line_protocol.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    assert!(cases.len() > 100);
    for case in &cases {
        let id = case["id"].as_str().expect("id");
        let input = case["input"].as_str().expect("input").as_bytes();
        let precision = case.get("precision").and_then(|p| p.as_str()).unwrap_or_default();
        let (sink, errors) = parse_with(input, options(precision));
        assert_eq!(errors.as_deref(), case["error"].as_str(), "{id}");
        let wanted = case["points"].as_array().expect("points");
        assert_eq!(sink.points.len(), wanted.len(), "{id}: points");
        for (seen, want) in sink.points.iter().zip(wanted) {
            check_recorded(id, precision, seen, want);
        }
    }
}

fn check_recorded(id: &str, precision: &str, seen: &Seen, want: &serde_json::Value) {
    let text = |value: &serde_json::Value| value.as_str().expect("text").as_bytes().to_vec();
    assert_eq!(seen.measurement, text(&want["measurement"]), "{id}: measurement");
    let tags: BTreeMap<_, _> =
        series_key::tags(&seen.key).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    let wanted_tags: BTreeMap<_, _> = want["tags"]
        .as_object()
        .expect("tags")
        .iter()
        .map(|(key, value)| (key.as_bytes().to_vec(), text(value)))
        .collect();
    assert_eq!(tags, wanted_tags, "{id}: tags");
    let wanted_fields = want["fields"].as_object().expect("fields");
    assert_eq!(seen.fields.len(), wanted_fields.len(), "{id}: fields");
    for (name, wanted) in wanted_fields {
        let value = &seen.fields[name.as_bytes()];
        let wanted_text = wanted["value"].as_str().expect("value");
        assert_eq!(value.field_type().name(), wanted["type"].as_str().expect("type"), "{id}: type of {name}");
        let is_equal = match value {
            Value::Float(value) => wanted_text.parse::<f64>().is_ok_and(|wanted| wanted == *value),
            Value::Integer(value) => wanted_text == value.to_string(),
            Value::Unsigned(value) => wanted_text == value.to_string(),
            Value::Boolean(value) => wanted_text == value.to_string(),
            Value::String(value) => wanted_text.as_bytes() == value,
        };
        assert!(is_equal, "{id}: {name} is {value:?}, not {wanted_text}");
    }
    let default = Precision::from_token(precision).expect("precision").truncate(NOW);
    assert_eq!(seen.timestamp, want["time"].as_i64().unwrap_or(default), "{id}: time");
    // The canonical text is a line of the same point, and what was sent is nearly it: tags sorted, time in ns.
    let canonical = text(&want["canonical"]);
    let (again, errors) = parse_with(&canonical, options(""));
    assert_eq!(errors, None, "{id}: canonical");
    assert_eq!(again.points[0].key, seen.key, "{id}: canonical key");
    assert_eq!(again.points[0].fields, seen.fields, "{id}: canonical fields");
    if !canonical.contains(&b'\\') {
        assert!(canonical.starts_with(&seen.key), "{id}: canonical key");
    }
}

fn check_error(line: &str, reason: &str) {
    let (sink, errors) = parse(line);
    assert_eq!(errors.as_deref(), Some(format!("unable to parse '{line}': {reason}").as_str()));
    assert!(sink.points.is_empty(), "{line}");
}

/// Texts that clients compare or grep for.
#[test]
fn errors_are_worded_as_clients_know_them() {
    check_error(",t=1 v=1", "missing measurement");
    check_error("m", "missing fields");
    check_error("m,t=1", "missing fields");
    check_error("m ", "missing fields");
    check_error("m,t v=1", "missing tag value");
    check_error("m,t= v=1", "missing tag value");
    check_error("m,=1 v=1", "missing tag key");
    check_error("m, v=1", "missing tag key");
    check_error("m,a=b=c v=1", "invalid tag format");
    check_error("m,b=1,a=2,b=3 v=1", "duplicate tags");
    check_error("m v", "invalid field format");
    check_error("m v=1,", "invalid field format");
    check_error("m v=", "missing field value");
    check_error("m =1", "missing field key");
    check_error("m v=1,=2", "missing field key");
    check_error("m v=1x", "invalid number");
    check_error("m v=-", "invalid number");
    check_error("m v=1.1.1", "invalid number");
    check_error("m v=1i2", "invalid number");
    check_error("m v=1e5i", "invalid number");
    check_error("m v=NaN", "invalid number");
    check_error("m v=1u", "invalid number");
    check_error("m v=1e", "invalid float");
    check_error("m v=1e400", "invalid float");
    check_error("m v=tru", "invalid boolean");
    check_error("m v=inf", "invalid boolean");
    check_error("m v=\"a", "unbalanced quotes");
    check_error("m v=1 x", "bad timestamp");
    check_error("m v=1 1.5", "bad timestamp");
    check_error("m v=1 1 1", "point is invalid");
    check_error("m v=1 -", "strconv.ParseInt: parsing \"-\": invalid syntax");
    check_error(
        "m v=1 99999999999999999999",
        "strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
    );
    check_error(
        "m v=9223372036854775808i",
        "unable to parse integer 9223372036854775808: strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
    );
    check_error("m v=1 9223372036854775807", "time outside range -9223372036854775806 - 9223372036854775806");
    check_error(r"m a\\=1", r"invalid value: field-key=a\\=1");
}

#[test]
fn a_key_longer_than_the_limit_is_refused_with_its_size() {
    let tag = "x".repeat(65_530);
    let (_, errors) = parse(&format!("m,t={tag} v=1"));
    let errors = errors.expect("an error");
    assert!(
        errors.ends_with("': max key length exceeded: 65539 > 65535"),
        "{}",
        &errors[errors.len() - 60..]
    );
    let tag = "x".repeat(70_000);
    let (_, errors) = parse(&format!("m,t={tag} v=1"));
    assert!(errors.expect("an error").ends_with("': max key length exceeded: 70004 > 65535"));
}

#[test]
fn unsigned_numbers_are_read_where_they_are_switched_on() {
    let on = Options { unsigned: true, ..options("") };
    let (sink, errors) = parse_with(b"m v=18446744073709551615u,w=0u", on);
    assert_eq!(errors, None);
    assert_eq!(sink.points[0].fields[b"v".as_slice()], Value::Unsigned(u64::MAX));
    let (_, errors) = parse_with(b"m v=18446744073709551616u", on);
    assert_eq!(
        errors.as_deref(),
        Some(
            "unable to parse 'm v=18446744073709551616u': unable to parse unsigned 18446744073709551616: strconv.ParseUint: parsing \"18446744073709551616\": value out of range"
        )
    );
    for bad in ["m v=-1u", "m v=1.0u", "m v=1u1", "m v=1e1u"] {
        assert!(parse_with(bad.as_bytes(), on).1.expect("an error").ends_with("invalid number"), "{bad}");
    }
}

#[test]
fn good_lines_of_a_bad_body_are_kept() {
    let (sink, errors) = parse("m v=1 1\nm v=\nm v=2 2\nbad\n");
    assert_eq!(sink.points.len(), 2);
    assert_eq!(
        errors.as_deref(),
        Some("unable to parse 'm v=': missing field value\nunable to parse 'bad': missing fields")
    );
}

#[test]
fn blank_lines_comments_and_carriage_returns_are_passed_over() {
    let (sink, errors) = parse("\n \t\n# m v=1\n  # also\nm v=1 1\r\n  m v=2 2\n\nm v=3 \r\n");
    assert_eq!(errors, None);
    assert_eq!(sink.points.iter().map(|p| p.timestamp).collect::<Vec<_>>(), [1, 2, NOW]);
}

#[test]
fn a_quoted_newline_and_an_escaped_one_do_not_end_a_line() {
    let (sink, errors) = parse("m s=\"a\nb\" 1\nm v=1 2");
    assert_eq!(errors, None);
    assert_eq!(sink.points[0].fields[b"s".as_slice()], Value::String(b"a\nb".to_vec()));
    assert_eq!(sink.points.len(), 2);
    let (_, errors) = parse("m v=1 1\\\nm v=2 2");
    assert_eq!(errors.as_deref(), Some("unable to parse 'm v=1 1\\\nm v=2 2': bad timestamp"));
}

#[test]
fn a_tag_or_a_lone_field_called_time_makes_the_point_unwelcome() {
    let (sink, errors) = parse("m,time=1 v=1\nm time=1\nm time=1,v=2 5\nm v=1,time=2i 6");
    assert_eq!(errors, None);
    assert_eq!(
        sink.refusals,
        [
            "invalid tag key: input tag \"time\" on measurement \"m\" is invalid",
            "invalid field name: input field \"time\" on measurement \"m\" is invalid"
        ]
    );
    assert_eq!(sink.points.iter().map(|p| p.fields.len()).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn of_equal_field_names_the_later_wins_whatever_its_type() {
    for many in [0, 40] {
        let filler: String = (0..many).map(|at| format!("f{at}=1,")).collect();
        let (sink, errors) = parse(&format!("m {filler}a=1,b=2,a=\"x\" 1"));
        assert_eq!(errors, None);
        assert_eq!(sink.points[0].fields.len(), many + 2);
        assert_eq!(sink.points[0].fields[b"a".as_slice()], Value::String(b"x".to_vec()));
    }
}

#[test]
fn spellings_of_one_series_share_its_canonical_key() {
    let (sink, _) =
        parse("m,b=1,a=2 v=1\nm,a=2,b=1 v=1\nc\\=x,a=1 v=1\nc=x,a=1 v=1\nm,a==1 v=1\nm,a=\\=1 v=1");
    let keys: Vec<_> = sink.points.iter().map(|p| String::from_utf8_lossy(&p.key).into_owned()).collect();
    assert_eq!(keys, ["m,a=2,b=1", "m,a=2,b=1", "c=x,a=1", "c=x,a=1", r"m,a=\=1", r"m,a=\=1"]);
}

#[test]
fn a_line_of_very_many_fields_becomes_rows_of_one_time() {
    let fields: Vec<_> = (0..ROW_FIELDS_MAX + 5).map(|at| format!("f{at}={at}i")).collect();
    let (sink, errors) = parse(&format!("m {} 9", fields.join(",")));
    assert_eq!(errors, None);
    assert_eq!(sink.points.iter().map(|p| p.fields.len()).collect::<Vec<_>>(), [ROW_FIELDS_MAX, 5]);
    assert!(sink.points.iter().all(|p| p.timestamp == 9));
}

#[test]
fn keys_that_are_not_text_are_dropped_where_that_is_asked_for() {
    let on = Options { validate_keys: true, ..options("") };
    let (sink, _) = parse_with(b"m,a=\x01 v=1\nm,a=\xff v=1\nm,a=\xc3\xa9 v=1", on);
    assert_eq!(sink.points.len(), 1);
    assert_eq!(sink.refusals.len(), 2);
    assert_eq!(sink.refusals[0], "key contains invalid unicode: \"m,a=\u{1}\"");
    let (sink, _) = parse_with(b"m,a=\x01 v=1\nm,a=\xff v=1", options(""));
    assert_eq!(sink.points.len(), 2);
}

#[test]
fn a_body_without_end_of_errors_keeps_its_answer_bounded() {
    let body = "bad\n".repeat(200_000);
    let (_, errors) = parse(&body);
    assert!(errors.expect("errors").len() < 2 << 20);
}

/// A paused line comes again, and nothing comes twice.
#[test]
fn a_line_the_sink_paused_at_is_offered_again() {
    struct Stubborn(Vec<i64>, bool);
    impl Sink for Stubborn {
        fn point(&mut self, point: &Point<'_>) -> Flow {
            self.1 = !self.1;
            if self.1 {
                return Flow::Pause;
            }
            self.0.push(point.timestamp);
            Flow::Continue
        }
        fn refuse(&mut self, _line: u32, _reason: &Refusal<'_>) {}
    }
    let body: String = (0..20).map(|at| format!("m,t=a value=1i,other=2 {at}\n")).collect();
    let mut parser = Parser::new(options(""), Scratch::default());
    let mut sink = Stubborn(Vec::new(), false);
    let mut pauses = 0;
    loop {
        match parser.step(body.as_bytes(), &mut sink, usize::MAX) {
            Step::Paused => pauses += 1,
            Step::More => {}
            Step::Done => break,
        }
    }
    assert_eq!(sink.0, (0..20).collect::<Vec<_>>());
    assert_eq!(pauses, 20);
}

/// Bytes that mean something stand close together, so that the rules meet.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "m",
        "cpu,host=a",
        "cpu,host=b,region=x",
        "cpu,region=x,host=b",
        " ",
        " ",
        ",",
        "=",
        "\n",
        "\n",
        "\\",
        "\"",
        "v=1",
        "v=1i",
        "value=12.5",
        "s=\"x y\"",
        "a=t",
        "time=1",
        " 1500000000000000000",
        "1",
        "i",
        "u",
        "-",
        ".",
        "e5",
        "\t",
        "\0",
        "\r",
        "#",
        "é",
        "\"a\\\"b\"",
        "m v=1 1\n",
        "cpu,host=a usage=1i,idle=99i 1500000000000000000\n",
        "cpu,host=b usage=-12345678901i,idle=0i 1500000000000000001\n",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

/// Bodies as monitoring agents send them: equal shapes again and again, with values of every width.
fn ordinary_body() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        any::<i64>().prop_map(|n| format!("{n}i")),
        (-200i64..200).prop_map(|n| format!("{n}i")),
        (0u32..64, any::<u64>()).prop_map(|(shift, n)| format!("{}i", (n >> shift) as i64)),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f}")),
        (-10_000i64..10_000).prop_map(|n| format!("{}", n as f64 / 100.0)),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:e}")),
        any::<bool>().prop_map(|b| format!("{b}")),
        "[a-z ,=]{0,20}".prop_map(|s| format!("\"{s}\"")),
    ];
    let line =
        (0u8..3, 0u8..4, prop::collection::vec(number, 1..5), prop_oneof![any::<i64>(), 0i64..1_000_000])
            .prop_map(|(measurement, host, values, timestamp)| {
                let fields: Vec<_> = values
                    .iter()
                    .enumerate()
                    .map(|(at, value)| format!("a_rather_long_field_{at}={value}"))
                    .collect();
                let tags = match host % 3 {
                    0 => format!("region=eu,host=h{host}"),
                    1 => format!("region=eu,host=h{host},az=b"),
                    _ => format!("host=h{host},region=eu"),
                };
                format!("measurement{measurement},{tags} {} {timestamp}\n", fields.join(","))
            });
    prop::collection::vec(line, 1..60).prop_map(|lines| lines.concat().into_bytes())
}

proptest! {
    #[test]
    fn the_fast_path_and_the_plain_one_agree_on_odd_bodies(body in any_body()) {
        fuzz(&body);
    }

    #[test]
    fn the_fast_path_and_the_plain_one_agree_on_ordinary_bodies(body in ordinary_body()) {
        fuzz(&body);
    }

    /// Where a usual body is broken in a few places, too.
    #[test]
    fn the_fast_path_and_the_plain_one_agree_on_broken_bodies(
        body in ordinary_body(),
        breaks in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b" ,=\\\"\n\r\t\0i.-e9tu#m".to_vec())), 1..6),
    ) {
        let mut body = body.repeat(2);
        for (at, byte) in &breaks {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        fuzz(&body);
    }

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz(&body);
    }

    /// What is written by `format` is read back as it was.
    #[test]
    fn formatted_points_read_back(
        measurement in "[a-z,= ]{1,8}", key in "[a-z,= ]{1,6}", tag in "[a-z,= ]{1,6}", field in "[a-z,= ]{1,6}",
        float in any::<f64>(), integer: i64, boolean: bool, text in ".{0,12}", timestamp in TIME_MIN..=TIME_MAX,
    ) {
        prop_assume!(float.is_finite() && field != "i" && field != "b" && field != "s" && field != "time");
        prop_assume!(key != "time");
        let series = series_key::SeriesKey::build(measurement.as_bytes(), &[(key.as_bytes(), tag.as_bytes())]);
        let values = [
            (field.as_bytes(), Value::Float(float)),
            (b"i".as_slice(), Value::Integer(integer)),
            (b"b".as_slice(), Value::Boolean(boolean)),
            (b"s".as_slice(), Value::String(text.into_bytes())),
        ];
        let mut line = Vec::new();
        format::put_point(&mut line, &series.0, values.iter().map(|(name, value)| (*name, value)), timestamp);
        // A leading blank would be skipped: no name may begin with one that is not escaped.
        let (sink, errors) = parse_with(&line, options(""));
        prop_assert_eq!(errors, None);
        let seen = &sink.points[0];
        prop_assert_eq!(&seen.key, &series.0);
        prop_assert_eq!(seen.timestamp, timestamp);
        for (name, value) in &values {
            prop_assert_eq!(&seen.fields[*name], value);
        }
    }

    /// Where a stricter parser accepts a line without escapes, the points are the same.
    #[test]
    fn a_second_opinion_agrees_on_plain_lines(body in ordinary_body()) {
        let text = String::from_utf8(body.clone()).expect("text");
        let theirs: Result<Vec<_>, _> = influxdb_line_protocol::parse_lines(&text).collect();
        let Ok(theirs) = theirs else { return Ok(()) };
        let (ours, errors) = parse_with(&body, options(""));
        if errors.is_some() {
            return Ok(()); // timestamps at the very limits
        }
        prop_assert_eq!(theirs.len(), ours.points.len());
        for (theirs, ours) in theirs.iter().zip(&ours.points) {
            prop_assert_eq!(theirs.series.measurement.as_str().as_bytes(), ours.measurement.as_slice());
            prop_assert_eq!(theirs.timestamp, Some(ours.timestamp));
            prop_assert_eq!(theirs.field_set.len(), ours.fields.len());
            for (name, value) in &theirs.field_set {
                use influxdb_line_protocol::FieldValue;
                let wanted = match value {
                    FieldValue::I64(value) => Value::Integer(*value),
                    FieldValue::U64(value) => Value::Unsigned(*value),
                    FieldValue::F64(value) => Value::Float(*value),
                    FieldValue::String(value) => Value::String(value.as_str().as_bytes().to_vec()),
                    FieldValue::Boolean(value) => Value::Boolean(*value),
                };
                prop_assert_eq!(&ours.fields[name.as_str().as_bytes()], &wanted);
            }
        }
    }
}

/// Comparing the two readings proves nothing where the fast one does not read.
#[test]
fn ordinary_lines_take_the_fast_path() {
    let check = |line: &dyn Fn(usize) -> String, plain_lines: u64| {
        let body: String = (0..1_000).map(line).collect();
        let mut parser = Parser::new(options(""), Scratch::default());
        assert_eq!(parser.step(body.as_bytes(), &mut Collector::default(), usize::MAX), Step::Done);
        assert!(parser.lines_fast() >= 1_000 - plain_lines, "{} of {}", parser.lines_fast(), line(7));
    };
    // The first of a shape is read the plain way, and the last bytes of a body are.
    check(&|at| format!("cpu,host=h{},region=eu user={}i,system=-{at}i {at}\n", at % 10, at % 100), 4);
    check(
        &|at| {
            format!("cpu,host=h{at},region=eu usage_of_something={}.25,b={at}i {}\n", at, at * 1_000_000_000)
        },
        4,
    );
    check(&|at| format!("cpu,host=h{at},region=eu,zone=a,also=b,host2=c user={at}i {at}\n"), 4);
    check(&|at| format!("log,host=h{} message=\"line {at}, a=b\",ok=true,level=3i\n", at % 3), 4);
    // Lines that take turns: in measurement, and in the fields of one series.
    check(&|at| format!("m{},host=a f{}={at}i,other=1i {at}\n", at % 5, at % 5), 30);
    check(&|at| format!("m,host=a f{}={at}i,other=1i {at}\n", at % 2), 10);
    // Escapes in tags, once seen.
    check(&|at| format!("disk,path=C:\\ drive\\,{} used={at}i,free=1i {at}\n", at % 4), 20);
}

/// As many series as are forgotten in vain make the next bodies pass by; a sender that repeats itself is remembered again.
#[test]
fn series_that_never_come_again_are_not_remembered() {
    let body = |start: usize, count: usize| -> String {
        let line = |at: usize| format!("cpu,region=eu,host=h{at} user={at}i,idle=2.5 {at}\n");
        (start..start + count).map(line).collect()
    };
    let mut scratch = Scratch::default();
    let read = |body: &str, scratch: Scratch| {
        let mut parser = Parser::new(options(""), scratch);
        let mut sink = Numbers::default();
        assert_eq!(parser.step(body.as_bytes(), &mut sink, usize::MAX), Step::Done);
        let fast = parser.lines_fast();
        (sink.0, fast, parser.into_errors().1)
    };
    let mut passed = 0;
    for at in 0..40 {
        let (numbers, fast, kept) = read(&body(at * 10_000, 10_000), scratch);
        scratch = kept;
        assert!(fast >= 9_990, "{fast}");
        passed += usize::from(numbers.iter().filter(|number| **number == PASSING).count() > 9_000);
    }
    assert!((34..40).contains(&passed), "{passed} of 40 bodies passed by");
    for (repeated, backslash) in [("one", ""), ("another", "\\ ")] {
        let mut remembered = 0;
        for _ in 0..16 {
            let body = body(0, 5_000).replace("region=eu", &format!("region={repeated}{backslash}"));
            let (numbers, fast, kept) = read(&body, scratch);
            scratch = kept;
            remembered += usize::from(fast >= 4_990 && !numbers.contains(&PASSING));
        }
        assert!(remembered >= 8, "{remembered} of 16 bodies of {repeated}");
        scratch.tables.let_series_pass();
    }
}

/// The numbers of the series of the points.
#[derive(Default)]
struct Numbers(Vec<u32>);

impl Sink for Numbers {
    fn point(&mut self, point: &Point<'_>) -> Flow {
        self.0.push(point.series);
        Flow::Continue
    }

    fn refuse(&mut self, _line: u32, _reason: &Refusal<'_>) {}
}

#[test]
fn a_stream_is_cut_only_where_a_line_certainly_ends() {
    assert_eq!(complete_line(b"m v=1"), None);
    assert_eq!(complete_line(b"m v=1\nm"), Some(5));
    assert_eq!(complete_line(b"\n"), Some(0));
    assert_eq!(complete_line(b"m s=\"a\nb"), None);
    assert_eq!(complete_line(b"m s=\"a\nb\"\n"), Some(9));
    assert_eq!(complete_line(b"m v=1\\\n"), None, "another byte would hide the newline");
    assert_eq!(complete_line(b"m,t=\"a v=1\n"), Some(10), "a quote in a tag quotes nothing");
}

#[test]
fn types_have_the_suffix_they_are_sent_with() {
    assert_eq!(format::type_suffix(FieldType::Integer), "i");
    assert_eq!(format::type_suffix(FieldType::Float), "");
}
