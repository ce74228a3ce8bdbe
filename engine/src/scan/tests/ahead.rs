//! Rows ahead: each in the place of the row before it in its series.

use super::*;

/// Rows in the order they are sent ahead, each with the directed time of the one before it in its series.
fn sent_ahead(rows: Vec<Row>, descending: bool) -> Vec<(Option<i64>, Row)> {
    // Rows are in order: a position in it is the place of the row that follows in the same series.
    let mut last: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut placed: Vec<(Option<usize>, Vec<u8>, Row)> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        placed.push((last.insert(row.1.clone(), at), row.1.clone(), row.clone()));
    }
    placed.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let time_of = |at: usize| rows::directed(rows[at].0, descending);
    placed.into_iter().map(|(before, _, row)| (before.map(time_of), row)).collect()
}

fn check_rows_ahead(case: &Case, views: Vec<ShardSources<SimDisk>>) {
    let mut request = request(ScanOutput::Rows { limit: case.limit, ahead: true });
    case.fill(&mut request);
    let chunks = block_on(run(views, request)).expect("within the budget");
    let got = rows_of(&chunks, 5);
    let want = all_rows(case);
    assert_eq!(got.len(), want.len());
    for ((values, got), (wanted_values, rows)) in got.into_iter().zip(want) {
        assert_eq!(values, wanted_values);
        let all = sent_ahead(rows, case.descending);
        let followers = || all.iter().filter_map(|(before, _)| *before);
        // With a limit it ends behind what follows the last of so many rows, and those of its time.
        let needed = match case.limit {
            0 => all.len(),
            limit => {
                let end = followers().nth(limit as usize - 1).unwrap_or(i64::MAX);
                all.iter().filter(|(before, _)| before.is_none_or(|before| before <= end)).count()
            }
        };
        assert!(got.len() >= needed, "{} rows of {needed}", got.len());
        let sent: Vec<Row> = all.into_iter().map(|(_, row)| row).collect();
        assert_eq!(got[..needed], sent[..needed]);
        // A series may go on for a while: what is read of it already.
        assert!(got[needed..].iter().all(|row| sent[needed..].contains(row)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn rows_come_ahead_in_the_places_of_the_rows_before_them(
        mut case in case_strategy(),
        dense in prop::option::of(dense_strategy()),
        limit in prop::option::of(1u64..60),
        sparse in 1i64..9,
    ) {
        // Long runs of one series, between rows of another at some of its times.
        let is_kept = |step: &Step| !matches!(step, Step::Write(row) if row.series > 0 && row.time % sparse > 0);
        case.steps.extend(dense.into_iter().flatten().filter(is_kept));
        case.limit = limit.unwrap_or(case.limit);
        check_rows_ahead(&case, block_on(shards_of(&case.steps)));
    }
}

#[test]
fn rows_ahead_end_behind_as_many_as_are_wanted() {
    let steps = [plain_writes(600), vec![Step::Snapshot]].concat();
    let rows = |limit: u64, descending: bool| {
        let mut request = request(ScanOutput::Rows { limit, ahead: true });
        request.descending = descending;
        let chunks = block_on(async { run(shards_of(&steps).await, request).await }).expect("in memory");
        rows_of(&chunks, 5).iter().map(|(_, rows)| rows.len()).sum::<usize>()
    };
    let each = |limit: u64| {
        let mut request = request(ScanOutput::Rows { limit, ahead: true });
        request.dimensions = vec![b"host".to_vec(), b"rack".to_vec()];
        let chunks = block_on(async { run(shards_of(&steps).await, request).await }).expect("in memory");
        rows_of(&chunks, 5).iter().map(|(_, rows)| rows.len()).collect::<Vec<_>>()
    };
    assert_eq!(each(1), [2; 6], "of a single row's sake no block is read whole");
    assert_eq!(each(0), [100; 6]);
    // The first row of each of six series, and one more for each that is wanted: no two share a time.
    for descending in [false, true] {
        assert_eq!(rows(1, descending), 7);
        assert!((9..=9 + BLOCK_ROWS).contains(&rows(3, descending)));
        assert!((106..=106 + BLOCK_ROWS).contains(&rows(100, descending)));
        assert_eq!(rows(0, descending), 600);
        assert_eq!(rows(10_000, descending), 600);
    }
}
