//! Partials against plain loops, of rows and of blocks known by their statistics.

use super::*;

const KINDS: [PartialKind; 6] = [
    PartialKind::Count,
    PartialKind::Sum,
    PartialKind::Min,
    PartialKind::Max,
    PartialKind::First,
    PartialKind::Last,
];

/// A partial by plain loops over the values of one window in any order: all floats here are exact.
fn naive_partial(kind: PartialKind, rows: &[(i64, Value)]) -> Option<(i64, Value)> {
    let number = |value: &Value| match value {
        Value::Float(value) => *value,
        Value::Integer(value) => *value as f64,
        Value::String(text) => f64::from(text[0]),
        _ => panic!("no such type here"),
    };
    let best = |less: &dyn Fn(&(i64, Value), &(i64, Value)) -> bool| {
        let mut best = rows.first()?;
        for row in rows {
            if less(row, best) {
                best = row;
            }
        }
        Some(best.clone())
    };
    match kind {
        PartialKind::Count => Some((0, Value::Integer(rows.len() as i64))).filter(|_| !rows.is_empty()),
        PartialKind::Sum => {
            let sum: f64 = rows.iter().map(|row| number(&row.1)).sum();
            rows.first().and_then(|row| match row.1 {
                Value::Float(_) => Some((0, Value::Float(sum))),
                Value::Integer(_) => Some((0, Value::Integer(sum as i64))),
                _ => None,
            })
        }
        PartialKind::Min => best(&|a, b| (number(&a.1), a.0) < (number(&b.1), b.0)),
        PartialKind::Max => best(&|a, b| (-number(&a.1), a.0) < (-number(&b.1), b.0)),
        PartialKind::First => best(&|a, b| (a.0, -number(&a.1)) < (b.0, -number(&b.1))),
        PartialKind::Last => best(&|a, b| (-a.0, -number(&a.1)) < (-b.0, -number(&b.1))),
    }
}

fn check_partials(
    case: &Case,
    views: Vec<ShardSources<SimDisk>>,
    window: Option<Window>,
    kinds: &[PartialKind],
) {
    // The integer also as the float it is asked for.
    let columns = [("f", 0usize), ("i", 1), ("i", 3), ("s", 4)];
    let calls: Vec<PartialCall> = columns
        .iter()
        .flat_map(|(_, column)| kinds.iter().map(|kind| PartialCall { column: *column, kind: *kind }))
        .collect();
    let mut request = request(ScanOutput::Partials { window, calls: calls.clone() });
    case.fill(&mut request);
    let chunks = block_on(run(views, request)).expect("within the budget");
    let mut want = Vec::new();
    for (values, rows) in case.expected() {
        let mut windows: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for (time, _, row) in &rows {
            let start = window.map_or(case.time.0, |window| window.start_of(*time));
            windows.entry(start).or_default().push((*time, row));
        }
        let mut windows: Vec<_> = windows.into_iter().collect();
        if case.descending {
            windows.reverse();
        }
        for (start, rows) in windows {
            let partials: Vec<_> = columns
                .iter()
                .flat_map(|(name, column)| {
                    let value = |row: &BTreeMap<_, Value>| match row.get(name)? {
                        Value::Integer(value) if *column == 3 => Some(Value::Float(*value as f64)),
                        value => Some(value.clone()),
                    };
                    let there: Vec<(i64, Value)> =
                        rows.iter().filter_map(|(time, row)| Some((*time, value(row)?))).collect();
                    kinds.iter().map(move |kind| naive_partial(*kind, &there)).collect::<Vec<_>>()
                })
                .collect();
            // A window in which no call has a value is left out: the sum of a string has none.
            if partials.iter().any(Option::is_some) {
                want.push((values.clone(), start, partials));
            }
        }
    }
    let mut got = Vec::new();
    for chunk in &chunks {
        let ScanChunk::Partials { group, windows, partials } = chunk else {
            panic!("partials were asked for")
        };
        for (at, start) in windows.iter().enumerate() {
            let values: Vec<_> = partials
                .iter()
                .map(|partial| Some((partial.times.get(at).copied().unwrap_or(0), partial.values.get(at)?)))
                .collect();
            got.push((group.values.clone(), *start, values));
        }
    }
    assert_eq!(got, want);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Blocks of so many rows have statistics: what lies in one window is answered by them.
    #[test]
    fn partials_of_blocks_with_statistics_equal_plain_loops(
        dense in dense_strategy(),
        mut case in case_strategy(),
        every in prop::option::of(prop_oneof![1i64..90, Just(1_000)]),
        kind in 0usize..8,
        has_rest: bool,
    ) {
        case.steps.truncate(if has_rest { 12 } else { 0 });
        case.steps.splice(0..0, dense);
        case.condition = if case.condition == 1 { 1 } else { 0 };
        let window = every.map(|every| Window { every, offset: 7 });
        let kinds = KINDS.get(kind..=kind).unwrap_or(&KINDS);
        check_partials(&case, block_on(shards_of_blocks(&case.steps, 40)), window, kinds);
    }

    #[test]
    fn partials_equal_plain_loops(case in case_strategy(), every in prop::option::of(1i64..90), kind in 0usize..8) {
        let window = every.map(|every| Window { every, offset: 7 });
        let kinds = KINDS.get(kind..=kind).unwrap_or(&KINDS);
        check_partials(&case, block_on(shards_of(&case.steps)), window, kinds);
    }
}

/// Blocks of a thousand rows in a file, their values in no order, and the disk it is on. From block to block the floats are
/// less, and the integers greater.
async fn file_of_large_blocks(blocks: i64) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir_all("data").await.expect("a folder");
    let mut writer = TsmWriter::create(&disk, "data/1.tsm", Temperature::Hot).await.expect("created");
    writer.begin_series(&key(0)).expect("in order");
    let fields = [writer.field(b"f", FieldType::Float), writer.field(b"i", FieldType::Integer)];
    for block in 0..blocks {
        let times: Vec<i64> = (0..1_000).map(|row| block * 1_000 + row).collect();
        let mut columns = [Column::empty(FieldType::Float), Column::empty(FieldType::Integer)];
        for time in &times {
            let value = time * 7_919 % 10_007;
            columns[0].push(Some(&Value::Float((value - 100 * block) as f64 / 7.0)));
            columns[1].push(Some(&Value::Integer(value + 100 * block)));
        }
        let columns: Vec<_> = fields.into_iter().zip(&columns).collect();
        writer.write_rows(&times, &columns).await.expect("written");
    }
    writer.finish((1, 1), (1, 1)).await.expect("finished");
    disk
}

#[test]
fn what_statistics_tell_is_answered_without_reading_blocks() {
    let disk = block_on(file_of_large_blocks(40));
    // How often the disk was read for these calls, once the file's index is there.
    let reads = |kinds: &[PartialKind], every: Option<i64>, rows: Option<Expr>| {
        block_on(async {
            let cache = BlockCache::new(1 << 20);
            let reader = TsmReader::open(&disk, "data/1.tsm", cache.clone()).await.expect("opens");
            let shard = Shard::new(ShardRef { shard: ShardId(1), group: ShardGroupId(1) });
            let view = shard.view(&disk, &cache).await.expect("a view");
            let sources = ShardSources {
                files: vec![FileSource { reader, masks: None, held: None }],
                cache: view.cache,
            };
            let ask = |kinds: &[PartialKind], every: Option<i64>, rows: Option<Expr>| {
                let window = every.map(|every| Window { every, offset: 0 });
                let calls =
                    kinds.iter().flat_map(|kind| [0, 1].map(|column| PartialCall { column, kind: *kind }));
                let output = ScanOutput::Partials { window, calls: calls.collect() };
                run(vec![sources.clone()], ScanRequest { rows, ..request(output) })
            };
            ask(&[PartialKind::Count], None, None).await.expect("an answer");
            let before = disk.reads();
            ask(kinds, every, rows).await.expect("an answer");
            disk.reads() - before
        })
    };
    use PartialKind::{Count, First, Last, Max, Min, Sum};
    let told = [Count, Sum, First, Last];
    assert_eq!(reads(&told, None, None), 0);
    for every in [1_000, 2_000, 10_000] {
        assert_eq!(reads(&told, Some(every), None), 0, "windows of whole blocks, {every}");
    }
    assert_eq!(reads(&[First], None, None), 0);
    assert_eq!(reads(&[Last], None, None), 0);
    // For its time the block with the extreme value alone, of floats at the one end and of integers at the other.
    assert_eq!(reads(&[Max], None, None), 2);
    assert_eq!(reads(&[Min], None, None), 2);
    // Windows that cut blocks, and rows that are chosen.
    assert!(reads(&[Count], Some(300), None) >= 1);
    let above = |value| Expr::Binary {
        op: BinaryOp::Greater,
        left: Box::new(Expr::Field(b"i".to_vec())),
        right: Box::new(Expr::Literal(Value::Integer(value))),
    };
    assert!(reads(&told, None, Some(above(5_000))) >= 1);
    assert_eq!(reads(&told, None, Some(above(20_000))), 0, "no block has such a row");
}
