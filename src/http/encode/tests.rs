//! One answer in all formats.

use serde_json::{Value as Json, json};
use tidemark_engine::model::{Column, ColumnData, FieldType, Value};

use super::{Encoder, Epoch, Format, Options};
use crate::query::result::{Cell, Cells, Cut, Series};

const FORMATS: [Format; 3] = [Format::Json { pretty: false }, Format::Csv, Format::MessagePack];

/// Rows of a measurement `m` at these times, a column of each type; the second is missing in odd rows.
fn series(host: &str, times: &[i64]) -> Series {
    let column = |field_type, value: &dyn Fn(i64) -> Option<Value>| {
        let mut column = Column::empty(field_type);
        times.iter().for_each(|time| column.push(value(*time).as_ref()));
        Cells::Typed(column)
    };
    Series {
        name: b"m".to_vec(),
        tags: if host.is_empty() { Vec::new() } else { vec![(b"host".to_vec(), host.into())] },
        columns: ["time", "f", "i", "u", "b", "s"].map(|name| name.as_bytes().to_vec()).into(),
        values: vec![
            Cells::Times(times.to_vec()),
            column(FieldType::Float, &|time| {
                (time % 2 == 0).then_some(Value::Float(if time == 4 { f64::NAN } else { time as f64 + 0.5 }))
            }),
            column(FieldType::Integer, &|time| Some(Value::Integer(-time * 1000))),
            column(FieldType::Unsigned, &|time| Some(Value::Unsigned(u64::MAX - time as u64))),
            column(FieldType::Boolean, &|time| Some(Value::Boolean(time % 3 == 0))),
            column(FieldType::String, &|time| Some(Value::String(vec![b'x'; time as usize * 20]))),
        ],
        ..Series::default()
    }
}

/// Cells of all kinds, as SHOW has them.
fn listed() -> Series {
    let cells = [
        Cell::Null,
        Cell::Time(7_000),
        Cell::Float(1.25),
        Cell::Integer(-33),
        Cell::Unsigned(9),
        Cell::Boolean(true),
        Cell::text("text"),
        Cell::List(vec![b"a".to_vec(), b"b".to_vec()]),
    ];
    Series::from_rows(b"shown", &["a", "b", "c", "d", "e", "f", "g", "h"], vec![cells.to_vec(); 3])
}

/// An answer of several statements.
fn answer(encoder: &mut Encoder) {
    encoder.begin_statement(0);
    encoder.message("warning", "deprecated");
    encoder.series(&series("a", &[1, 2]));
    encoder.series(&series("a", &[3]));
    encoder.series(&series("b", &[4, 5, 6, 7]));
    encoder.end_statement(None);
    encoder.begin_statement(1);
    encoder.end_statement(None);
    encoder.begin_statement(2);
    encoder.series(&listed());
    encoder.series(&Series { name: b"shown too".to_vec(), ..listed() });
    encoder.end_statement(None);
    encoder.begin_statement(3);
    encoder.series(&Series { cut: Cut::Series, ..series("c", &[1, 2]) });
    encoder.series(&Series { cut: Cut::Series, ..series("d", &[3]) });
    encoder.end_statement(None);
    encoder.begin_statement(4);
    encoder.series(&series("", &[1, 2, 3]));
    encoder.end_statement(Some("it went wrong"));
    encoder.finish();
}

fn encoded(options: Options, answer: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::new(options);
    answer(&mut encoder);
    encoder.take()
}

/// Takes one MessagePack value off the front.
fn take(bytes: &mut &[u8]) -> Json {
    fn number<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
        let (head, rest) = bytes.split_first_chunk().expect("not cut");
        *bytes = rest;
        *head
    }
    fn length(bytes: &mut &[u8], first: u8, [two, four]: [u8; 2]) -> usize {
        match first {
            _ if first == two => u16::from_be_bytes(number(bytes)).into(),
            _ if first == four => u32::from_be_bytes(number(bytes)) as usize,
            _ => usize::from(first & 0x0f),
        }
    }
    let text = |bytes: &mut &[u8], length: usize| {
        let (text, rest) = bytes.split_at(length);
        *bytes = rest;
        json!(String::from_utf8(text.to_vec()).expect("UTF-8"))
    };
    let [first] = number(bytes);
    match first {
        0..=0x7f => json!(first),
        0x80..=0x8f | 0xde | 0xdf => {
            let pairs = (0..length(bytes, first, [0xde, 0xdf])).map(|_| {
                let name = take(bytes).as_str().expect("a text").to_owned();
                (name, take(bytes))
            });
            Json::Object(pairs.collect())
        }
        0x90..=0x9f | 0xdc | 0xdd => (0..length(bytes, first, [0xdc, 0xdd])).map(|_| take(bytes)).collect(),
        0xa0..=0xbf => text(bytes, usize::from(first & 0x1f)),
        0xc0 => Json::Null,
        0xc2 => json!(false),
        0xc3 => json!(true),
        0xc7 => {
            assert_eq!(number(bytes), [12, 5], "a time");
            let (seconds, nanoseconds) =
                (i64::from_be_bytes(number(bytes)), i32::from_be_bytes(number(bytes)));
            json!({ "seconds": seconds, "nanoseconds": nanoseconds })
        }
        0xcb => json!(f64::from_be_bytes(number(bytes))),
        0xcc => json!(u8::from_be_bytes(number(bytes))),
        0xcd => json!(u16::from_be_bytes(number(bytes))),
        0xce => json!(u32::from_be_bytes(number(bytes))),
        0xcf => json!(u64::from_be_bytes(number(bytes))),
        0xd0 => json!(i8::from_be_bytes(number(bytes))),
        0xd1 => json!(i16::from_be_bytes(number(bytes))),
        0xd2 => json!(i32::from_be_bytes(number(bytes))),
        0xd3 => json!(i64::from_be_bytes(number(bytes))),
        0xd9 => {
            let [length] = number(bytes);
            text(bytes, length.into())
        }
        0xda => {
            let length = u16::from_be_bytes(number(bytes));
            text(bytes, length.into())
        }
        0xdb => {
            let length = u32::from_be_bytes(number(bytes));
            text(bytes, length as usize)
        }
        other => panic!("{other:#x} is not used"),
    }
}

fn unpacked(mut bytes: &[u8]) -> Vec<Json> {
    let mut documents = Vec::new();
    while !bytes.is_empty() {
        documents.push(take(&mut bytes));
    }
    documents
}

/// What MessagePack has otherwise: an empty list for no series, and nothing beside an error.
fn as_in_message_pack(text: &str) -> Vec<Json> {
    let mut documents: Vec<Json> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for result in
        documents.iter_mut().flat_map(|document| document["results"].as_array_mut().expect("a list"))
    {
        if let Some(error) = result.get("error").cloned() {
            *result = json!({ "error": error });
        } else if result.get("series").is_none() {
            result["series"] = json!([]);
        }
    }
    documents
}

#[test]
fn message_pack_has_the_tree_of_the_json_answer() {
    for chunk_size in [None, Some(1), Some(2), Some(3), Some(4), Some(100)] {
        let options = Options { epoch: Epoch::from_parameter("u"), chunk_size, ..Options::default() };
        let text = String::from_utf8(encoded(options, answer)).expect("JSON is UTF-8");
        let packed = encoded(Options { format: Format::MessagePack, ..options }, answer);
        let documents = unpacked(&packed);
        assert_eq!(documents, as_in_message_pack(&text), "chunks of {chunk_size:?}");
        assert_eq!(documents.len() > 1, chunk_size.is_some());
    }
}

#[test]
fn times_of_message_pack_are_extension_five_also_before_1970() {
    let times = |times: &[i64]| {
        let packed = encoded(Options { format: Format::MessagePack, ..Options::default() }, |encoder| {
            encoder.begin_statement(0);
            encoder.series(&Series { values: vec![Cells::Times(times.to_vec())], ..series("", &[]) });
            encoder.end_statement(None);
            encoder.finish();
        });
        let documents = unpacked(&packed);
        documents[0]["results"][0]["series"][0]["values"].clone()
    };
    assert_eq!(
        times(&[1_000_000_002, -1]),
        json!([
            [{ "seconds": 1, "nanoseconds": 2 }],
            [{ "seconds": -1, "nanoseconds": 999_999_999 }]
        ])
    );
}

#[test]
fn numbers_and_lengths_of_message_pack_take_the_shortest_form() {
    let cell = |cell: Cell| {
        let packed = encoded(Options { format: Format::MessagePack, ..Options::default() }, |encoder| {
            encoder.begin_statement(0);
            encoder.series(&Series::from_rows(b"", &["c"], vec![vec![cell]]));
            encoder.end_statement(None);
            encoder.finish();
        });
        let start = b"\x81\xa7results\x91\x82\xacstatement_id\x00\xa6series\x91\x82\xa7columns\x91\xa1c\xa6values\x91\x91";
        packed.strip_prefix(start).expect("one cell").to_vec()
    };
    for (integer, form) in [
        (0, &[0x00][..]),
        (127, &[0x7f]),
        (128, &[0xd1, 0, 0x80]),
        (0x7fff, &[0xd1, 0x7f, 0xff]),
        (0x8000, &[0xd2, 0, 0, 0x80, 0]),
        (0x7fff_ffff, &[0xd2, 0x7f, 0xff, 0xff, 0xff]),
        (0x8000_0000, &[0xd3, 0, 0, 0, 0, 0x80, 0, 0, 0]),
        (-1, &[0xff]),
        (-32, &[0xe0]),
        (-33, &[0xd0, 0xdf]),
        (-0x80, &[0xd0, 0x80]),
        (-0x81, &[0xd1, 0xff, 0x7f]),
        (-0x8000, &[0xd1, 0x80, 0]),
        (-0x8001, &[0xd2, 0xff, 0xff, 0x7f, 0xff]),
        (-0x8000_0000, &[0xd2, 0x80, 0, 0, 0]),
        (-0x8000_0001, &[0xd3, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
    ] {
        assert_eq!(cell(Cell::Integer(integer)), form, "{integer}");
    }
    for (unsigned, form) in [
        (0x7f, &[0x7f][..]),
        (0x80, &[0xcc, 0x80]),
        (0xff, &[0xcc, 0xff]),
        (0x100, &[0xcd, 1, 0]),
        (0xffff, &[0xcd, 0xff, 0xff]),
        (0x1_0000, &[0xce, 0, 1, 0, 0]),
        (0xffff_ffff, &[0xce, 0xff, 0xff, 0xff, 0xff]),
        (0x1_0000_0000, &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
    ] {
        assert_eq!(cell(Cell::Unsigned(unsigned)), form, "{unsigned}");
    }
    for (length, form) in [
        (31, &[0xbf][..]),
        (32, &[0xd9, 32]),
        (255, &[0xd9, 255]),
        (256, &[0xda, 1, 0]),
        (0xffff, &[0xda, 0xff, 0xff]),
        (0x1_0000, &[0xdb, 0, 1, 0, 0]),
    ] {
        let packed = cell(Cell::String(vec![b'x'; length]));
        assert_eq!((&packed[..form.len()], packed.len()), (form, form.len() + length));
    }
    for (length, form) in [
        (15, &[0x9f][..]),
        (16, &[0xdc, 0, 16]),
        (0xffff, &[0xdc, 0xff, 0xff]),
        (0x1_0000, &[0xdd, 0, 1, 0, 0]),
    ] {
        let packed = cell(Cell::List(vec![Vec::new(); length]));
        assert_eq!((&packed[..form.len()], packed.len()), (form, form.len() + length));
    }
    assert_eq!(cell(Cell::Float(-0.5)), [0xcb, 0xbf, 0xe0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(cell(Cell::Float(f64::NAN)), [0xc0]);
}

#[test]
fn an_answer_with_as_many_rows_as_there_may_be_ends_there_in_every_format() {
    // Rows written for a limit, whether the last series says that rows are missing, whether the answer is full.
    for (limit, rows, is_cut, is_full) in [
        (0, 7, false, false),
        (8, 7, false, false),
        (7, 7, false, true),
        (4, 4, true, true),
        (3, 3, false, true),
    ] {
        for format in FORMATS {
            let options =
                Options { format, epoch: Epoch::from_parameter("ns"), row_max: limit, ..Options::default() };
            let mut encoder = Encoder::new(options);
            encoder.begin_statement(0);
            encoder.series(&series("a", &[1, 2]));
            encoder.series(&series("a", &[3]));
            encoder.series(&series("b", &[4, 5, 6, 7]));
            assert_eq!(encoder.is_full(), is_full, "{format:?} {limit}");
            encoder.end_statement(None);
            encoder.finish();
            let bytes = encoder.take();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let series = match format {
                Format::Csv => {
                    let lines = text.lines().skip(1).filter(|line| line.starts_with("m,")).count();
                    assert_eq!(lines, rows, "{text}");
                    continue;
                }
                Format::Json { .. } => as_in_message_pack(&text),
                Format::MessagePack => unpacked(&bytes),
            };
            let series = series[0]["results"][0]["series"].as_array().expect("a list").clone();
            let values = |one: &Json| one["values"].as_array().expect("a list").len();
            assert_eq!(series.iter().map(values).sum::<usize>(), rows, "{format:?} {limit}");
            let cut: Vec<bool> = series.iter().map(|one| one["partial"] == true).collect();
            let last = cut.len() - 1;
            assert!(
                cut.iter().enumerate().all(|(at, cut)| *cut == (is_cut && at == last)),
                "{format:?} {cut:?}"
            );
            assert_eq!(series.len(), if rows > 3 { 2 } else { 1 });
        }
    }
}

#[test]
fn a_chunked_answer_has_all_rows_whatever_the_limit_is() {
    for format in FORMATS {
        let options = |row_max| Options { format, chunk_size: Some(2), row_max, ..Options::default() };
        assert_eq!(encoded(options(3), answer), encoded(options(0), answer), "{format:?}");
    }
}

#[test]
fn bytes_that_wait_for_their_document_are_told_until_it_is_whole() {
    for format in FORMATS {
        let options = Options { format, ..Options::default() };
        let mut encoder = Encoder::new(options);
        encoder.begin_statement(0);
        let rows = |encoder: &mut Encoder, host: &str| {
            let before = encoder.held_bytes();
            encoder.series(&series(host, &[50; 100]));
            encoder.held_bytes() - before
        };
        let (first, second) = (rows(&mut encoder, "a"), rows(&mut encoder, "b"));
        encoder.end_statement(None);
        let held = encoder.held_bytes();
        encoder.finish();
        let length = encoder.take().len() as u64;
        match format {
            Format::MessagePack => {
                assert_eq!(first, second);
                assert_eq!(held, first + second);
                assert!(length / 2 < held && held <= length + 256, "{held} of {length}");
            }
            _ => assert_eq!((first, second, held), (0, 0, 0), "{format:?}"),
        }
        assert_eq!(encoder.held_bytes(), 0);
    }
}

#[test]
fn a_series_without_rows_shows_its_columns() {
    let empty = Series::from_rows(b"m", &["name"], Vec::new());
    let packed = encoded(Options { format: Format::MessagePack, ..Options::default() }, |encoder| {
        encoder.begin_statement(0);
        encoder.series(&empty);
        encoder.series(&Series { columns: [].into(), values: Vec::new(), ..empty.clone() });
        encoder.end_statement(None);
        encoder.finish();
    });
    let series = &unpacked(&packed)[0]["results"][0]["series"];
    assert_eq!(*series, json!([{ "name": "m", "columns": ["name"], "values": [] }]));
}

#[test]
fn first_rows_keep_what_a_series_is() {
    let whole = series("a", &[1, 2, 3]);
    let part = whole.first_rows(2);
    assert_eq!(
        (part.rows(), &part.name, &part.tags, &part.columns),
        (2, &whole.name, &whole.tags, &whole.columns)
    );
    for (part, whole) in part.values.iter().zip(&whole.values) {
        assert_eq!((part.get(0), part.get(1)), (whole.get(0), whole.get(1)));
    }
    assert!(
        matches!(&part.values[2], Cells::Typed(Column { data: ColumnData::Integer(values), .. }) if values.len() == 2)
    );
    assert_eq!(listed().first_rows(1).rows(), 1);
}
