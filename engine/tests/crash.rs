//! The power goes at every change of the disk under a small workload; the store is opened again.
//!
//! What was acknowledged is there, what was not is there whole or not at all, and nothing else is. A second cut during
//! the replay changes nothing of it.

mod support;

use std::cell::RefCell;

use futures_lite::future::{block_on, or};
use support::workload::{Known, possible, workload};
use support::{Model, Point, SECOND, open, options, read_all, run, settle, shards, tidy, write_to};
use tidemark_engine::disk::sim::{SimDisk, Stopped};

/// A whole life of a store.
async fn life(disk: &SimDisk, known: &RefCell<Known>) -> tidemark_engine::Result<()> {
    let store = open(disk, options(0, &[0])).await?;
    support::beside(&store, async {
        workload(&store, known).await?;
        store.close(true).await
    })
    .await
}

#[test]
fn a_power_cut_at_any_change_loses_nothing_acknowledged_and_invents_nothing() {
    let disk = SimDisk::new(1);
    let known = RefCell::default();
    block_on(life(&disk, &known)).expect("the whole workload");
    let changes = disk.changes();
    assert!(changes > 60, "{changes} changes are too few to mean anything");
    for change in 0..changes {
        let disk = SimDisk::new(change + 7);
        disk.stop_at_change(change, Stopped::Hangs);
        let known = RefCell::default();
        block_on(or(
            async {
                let _ = life(&disk, &known).await;
            },
            disk.stopped(),
        ));
        let possible = possible(&known.borrow());
        let mut disk = disk.crash();
        // The second cut comes somewhere in the replay.
        let replaying = disk.clone();
        replaying.stop_at_change(change % 5, Stopped::Hangs);
        block_on(or(
            async {
                let _ = open(&replaying, options(0, &[0])).await;
            },
            replaying.stopped(),
        ));
        disk = disk.crash();
        let store = block_on(open(&disk, options(0, &[0]))).expect("opens after the cut");
        let held = run(&store, async {
            let held = tidy(read_all(&store).await.expect("reads"));
            settle(&store, 100 * SECOND).await.expect("settles");
            assert_eq!(tidy(read_all(&store).await.expect("reads")), held, "settling changed what is there");
            held
        });
        assert!(possible.contains(&held), "cut at change {change}: {held:?} is none of {possible:?}");
    }
}

/// Everything written with two cores' WALs is there for one core, and the other way round.
#[test]
fn another_number_of_cores_finds_everything() {
    use std::rc::Rc;
    use tidemark_engine::scan::request::ShardRef;
    use tidemark_engine::store::{Placement, Store, StoreOptions};

    let disk = SimDisk::new(5);
    let core_of = |shard: ShardRef, cores: u64| shard.shard.0 % cores;
    let options_of = move |core: u64, cores: u64, wals: &[u64]| StoreOptions {
        shards: shards().into_iter().filter(|shard| core_of(*shard, cores) == core).collect(),
        placement: Rc::new(move |shard| {
            if core_of(shard, cores) == core { Placement::Here } else { Placement::Elsewhere }
        }),
        is_registrar: Rc::new(move |group| group.0 % cores == core),
        ..options(core, wals)
    };
    block_on(async {
        let mut model = Model::new();
        for (version, cores) in (1..).zip([2u64, 1, 2, 2, 1]) {
            let round = version as usize - 1;
            let mut stores: Vec<Store<SimDisk>> = Vec::new();
            let mut foreign = Vec::new();
            for core in 0..cores {
                // Of the two WALs there may be, each is read by one core.
                let wals: Vec<u64> = (0..2).filter(|wal| wal % cores == core).collect();
                let (store, entries) =
                    Store::open(disk.clone(), options_of(core, cores, &wals)).await.expect("opens");
                stores.push(store);
                foreign.extend(entries);
            }
            for entry in foreign {
                let owner = core_of(entry.shard, cores) as usize;
                stores[owner].adopt(vec![entry]).await.expect("adopts");
            }
            for store in &stores {
                store.release_foreign().await.expect("releases");
            }
            let mut held = Model::new();
            for store in &stores {
                for (key, series) in read_all(store).await.expect("reads") {
                    held.entry(key).or_default().extend(series);
                }
            }
            assert_eq!(tidy(held), tidy(model.clone()), "round {round}");
            // New values for old times: a replay in the wrong order would show.
            let points: Vec<Point> = (0..40)
                .map(|n| Point {
                    measurement: 0,
                    tag: n % 4,
                    time: i64::from(n) * 40,
                    fields: vec![(0, 10 * round as u8 + n)],
                })
                .collect();
            for write in support::writes_of(&points, version) {
                let shard = ShardRef { shard: write.shard, group: write.group };
                let store = &stores[core_of(shard, cores) as usize];
                let registrar = &stores[(write.group.0 % cores) as usize];
                let unknown = store.unknown_fields(write.group, &write.batch);
                let known = registrar.register_fields(write.group, unknown).await.expect("registers");
                store.learn_fields(write.group, &known);
                support::beside(store, store.write(vec![write], SECOND)).await.expect("written");
            }
            write_to(&mut model, &points);
        }
    });
}
