//! Questions about what exists, answered from the shards' schemas, tag postings and active series.
//!
//! Where nothing is deleted and no series are chosen, a file's schema and postings answer; otherwise the series are
//! walked in key order, and one that is deleted whole is left out. Time is honoured by file and cache, not row by row.

use std::collections::BTreeSet;

use super::budget::Budget;
use super::request::{CatalogKind, CatalogReply, CatalogRequest, MeasurementSchema, ScanCost, TagFilter};
use super::source::{FoundSeries, Reads, ShardSources, Sources};
use crate::disk::Disk;
use crate::error::Result;
use crate::model::{FieldType, TimeRange, series_key};
use crate::pace::Pace;
use crate::pace::sorted::{let_go, sorted};
use crate::pool::Reservation;
use crate::shard::ShardView;

/// Bytes an item of an answer takes beyond its text.
const ITEM_BYTES: u64 = 64;

/// Nanoseconds, about, that a name takes among others, and a measurement to be opened.
const NAME_NS: u64 = 200;
const OPENED_NS: u64 = 2_000;

/// Answers one request over these shards. `reservation` is its part of the core's query pool.
pub async fn catalog<D: Disk>(
    views: Vec<ShardView<D>>,
    request: &CatalogRequest,
    reservation: Option<Reservation>,
) -> Result<CatalogReply> {
    catalog_over(ShardSources::open_all(views, request.time).await?, request, reservation).await
}

/// As [`catalog`], over sources that are open already.
pub async fn catalog_over<D: Disk>(
    shards: Vec<ShardSources<D>>,
    request: &CatalogRequest,
    reservation: Option<Reservation>,
) -> Result<CatalogReply> {
    let (budget, pace) = (Budget::new(request.budget_bytes, reservation), Pace::new());
    let measurements = match &request.measurements {
        Some(names) => names.iter().cloned().collect(),
        None => measurements_of(&shards, request.time, &pace).await?,
    };
    let asking = Asking { shards, request, budget, pace };
    Ok(match &request.what {
        CatalogKind::Measurements => CatalogReply::Measurements(asking.measurements(&measurements).await?),
        CatalogKind::Schema => CatalogReply::Schema(asking.schemas(&measurements).await?),
        CatalogKind::Series => CatalogReply::Series(asking.series(&measurements).await?),
        CatalogKind::TagValues { keys } => {
            CatalogReply::TagValues(asking.tag_values(&measurements, keys).await?)
        }
        CatalogKind::Cost => CatalogReply::Cost(asking.cost(&measurements).await?),
    })
}

/// Names of all measurements that the shards' files and caches know.
async fn measurements_of<D: Disk>(
    shards: &[ShardSources<D>],
    time: TimeRange,
    pace: &Pace,
) -> Result<BTreeSet<Vec<u8>>> {
    let mut names = BTreeSet::new();
    for shard in shards {
        for file in &shard.files {
            if file.span().overlaps(&time) {
                let schema = file.reader.schema().await?;
                for name in schema.measurement_names() {
                    names.insert(name.to_vec());
                    pace.spent(NAME_NS).await;
                }
            }
        }
        if !shard.cache.is_empty() && shard.cache.time_range().overlaps(&time) {
            for name in shard.cache.measurements() {
                names.insert(name);
                pace.spent(NAME_NS).await;
            }
        }
    }
    Ok(names)
}

struct Asking<'a, D: Disk> {
    shards: Vec<ShardSources<D>>,
    request: &'a CatalogRequest,
    budget: Budget,
    /// Over all measurements; the sources of each have their own.
    pace: Pace,
}

impl<D: Disk> Asking<'_, D> {
    fn limit(&self) -> usize {
        if self.request.limit == 0 { usize::MAX } else { self.request.limit.try_into().unwrap_or(usize::MAX) }
    }

    fn filter(&self) -> Option<&TagFilter> {
        self.request.series.as_ref()
    }

    async fn open(&self, measurement: &[u8]) -> Result<Sources<D>> {
        // What the measurement before took is not known here.
        self.pace.spent_at_least(OPENED_NS).await;
        Sources::open(self.shards.clone(), measurement, self.request.time).await
    }

    /// Hands the series of a measurement that are not deleted to `each`, in key order, until it answers false.
    async fn each_series(
        &self,
        sources: &Sources<D>,
        mut each: impl FnMut(FoundSeries) -> Result<bool>,
    ) -> Result<()> {
        let mut stream = sources.series(self.filter(), Reads::Oldest).await?;
        while let Some(found) = stream.next(sources).await? {
            if sources.is_alive(&found).await? && !each(found)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether a measurement has any series.
    async fn exists(&self, sources: &Sources<D>) -> Result<bool> {
        let mut exists = false;
        self.each_series(sources, |_| {
            exists = true;
            Ok(false)
        })
        .await?;
        Ok(exists)
    }

    async fn measurements(&self, names: &BTreeSet<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        for name in names {
            if found.len() >= self.limit() {
                break;
            }
            if self.exists(&self.open(name).await?).await? {
                self.budget.take(ITEM_BYTES + name.len() as u64)?;
                found.push(name.clone());
            }
        }
        Ok(found)
    }

    async fn schemas(&self, names: &BTreeSet<Vec<u8>>) -> Result<Vec<MeasurementSchema>> {
        let mut schemas = Vec::new();
        for name in names {
            if schemas.len() >= self.limit() {
                break;
            }
            let sources = self.open(name).await?;
            if !self.exists(&sources).await? {
                continue;
            }
            let mut fields: BTreeSet<(Vec<u8>, FieldType)> = BTreeSet::new();
            // Of files in which something is deleted: they may have no values left.
            let mut masked: BTreeSet<(Vec<u8>, FieldType)> = BTreeSet::new();
            let mut tag_keys: BTreeSet<Vec<u8>> = BTreeSet::new();
            for shard in &self.shards {
                for file in &shard.files {
                    if file.span().overlaps(&self.request.time) {
                        let schema = file.reader.schema().await?;
                        let known = if file.masks.is_some() { &mut masked } else { &mut fields };
                        for (_, field, field_type) in schema.fields_of(name) {
                            known.insert((field.to_vec(), field_type));
                            self.pace.spent(NAME_NS).await;
                        }
                        if !self.must_walk(&sources) {
                            tag_keys.extend(schema.tag_keys_of(name).into_iter().map(<[u8]>::to_vec));
                        }
                    }
                }
                if !shard.cache.is_empty() && shard.cache.time_range().overlaps(&self.request.time) {
                    fields.extend(shard.cache.fields_of(name));
                }
            }
            if !masked.is_subset(&fields) {
                let mut stream = sources.series(None, Reads::Everything).await?;
                while let Some(found) = stream.next(&sources).await? {
                    sources.fields_left(&found, &mut fields).await?;
                    if masked.is_subset(&fields) {
                        break;
                    }
                }
            }
            let add_keys = |key: &[u8], tag_keys: &mut BTreeSet<Vec<u8>>| {
                for (tag, _) in series_key::tags(key) {
                    if !tag_keys.contains(tag.as_ref()) {
                        tag_keys.insert(tag.into_owned());
                    }
                }
            };
            if self.must_walk(&sources) {
                self.each_series(&sources, |found| {
                    add_keys(&found.key, &mut tag_keys);
                    Ok(true)
                })
                .await?;
            } else {
                sources.each_cached_key(|key| add_keys(key, &mut tag_keys)).await;
            }
            let text: usize = fields.iter().map(|field| field.0.len()).sum::<usize>()
                + tag_keys.iter().map(Vec::len).sum::<usize>();
            self.budget.take(text as u64 + ITEM_BYTES * (fields.len() + tag_keys.len()) as u64)?;
            schemas.push(MeasurementSchema {
                measurement: name.clone(),
                fields: fields.into_iter().collect(),
                tag_keys: tag_keys.into_iter().collect(),
            });
        }
        Ok(schemas)
    }

    /// Whether only the series themselves can tell.
    fn must_walk(&self, sources: &Sources<D>) -> bool {
        self.filter().is_some() || sources.has_masks()
    }

    async fn series(&self, names: &BTreeSet<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for name in names {
            let sources = self.open(name).await?;
            let before = keys.len();
            self.each_series(&sources, |found| {
                self.budget.take(ITEM_BYTES + found.key.len() as u64)?;
                keys.push(found.key);
                Ok(keys.len() - before < self.limit())
            })
            .await?;
        }
        // Keys of two measurements may interleave: `m`, `m!,a=1`, `m,a=1`.
        let mut keys = sorted(keys, &self.pace).await;
        if keys.len() > self.limit() {
            let_go(keys.split_off(self.limit()), &self.pace).await;
        }
        Ok(keys)
    }

    async fn tag_values(
        &self,
        names: &BTreeSet<Vec<u8>>,
        keys: &[Vec<u8>],
    ) -> Result<Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        let keys: BTreeSet<&Vec<u8>> = keys.iter().collect();
        for name in names {
            if found.len() >= self.limit() {
                break;
            }
            let sources = self.open(name).await?;
            let mut values: BTreeSet<(Vec<u8>, Vec<u8>)> = BTreeSet::new();
            let mut held = 0u64;
            let mut add = |key: &[u8], values: &mut BTreeSet<(Vec<u8>, Vec<u8>)>| -> Result<()> {
                for (tag, value) in series_key::tags(key) {
                    if keys.iter().any(|wanted| wanted.as_slice() == tag.as_ref()) {
                        let pair = (tag.into_owned(), value.into_owned());
                        let bytes = ITEM_BYTES + (pair.0.len() + pair.1.len()) as u64;
                        if values.insert(pair) {
                            self.budget.take(bytes)?;
                            held += bytes;
                        }
                    }
                }
                Ok(())
            };
            if self.must_walk(&sources) {
                self.each_series(&sources, |series| {
                    add(&series.key, &mut values)?;
                    Ok(true)
                })
                .await?;
            } else {
                let mut result = Ok(());
                sources
                    .each_cached_key(|key| {
                        if result.is_ok() {
                            result = add(key, &mut values);
                        }
                    })
                    .await;
                result?;
                for key in &keys {
                    for value in sources.tag_values_of_files(key, self.limit()).await? {
                        let bytes = ITEM_BYTES + (key.len() + value.len()) as u64;
                        if values.insert(((*key).clone(), value)) {
                            self.budget.take(bytes)?;
                        }
                    }
                }
            }
            found.reserve(values.len().min(self.limit() - found.len()));
            for (key, value) in values {
                if found.len() < self.limit() {
                    found.push((name.clone(), key, value));
                }
                self.pace.spent(NAME_NS).await;
            }
        }
        Ok(found)
    }

    async fn cost(&self, names: &BTreeSet<Vec<u8>>) -> Result<ScanCost> {
        let mut cost = ScanCost { shards: self.shards.len() as u64, ..ScanCost::default() };
        for name in names {
            let sources = self.open(name).await?;
            cost.files = cost.files.max(sources.file_count());
            let mut stream = sources.series(self.filter(), Reads::Everything).await?;
            while let Some(found) = stream.next(&sources).await? {
                cost.series += 1;
                cost.cached_values += sources.cached_rows(&found);
                for (blocks, bytes) in sources.file_blocks(&found, self.request.time).await? {
                    cost.blocks += blocks;
                    cost.block_bytes += bytes;
                }
            }
        }
        Ok(cost)
    }
}
