//! What a core keeps of the cores' answers about what exists.
//!
//! An answer holds for as long as no core has seen a change of any series, field or tag key: a question about known
//! measurements then asks no core before it scans, and one about few series asks those that have them alone.

use std::rc::Rc;

use hashbrown::HashMap;
use tidemark_engine::model::ShardId;
use tidemark_engine::scan::request::{CatalogKind, CatalogReply, CatalogRequest};

use super::tag_cores::TagCores;

/// Bytes kept per core, about; when there are more, all is dropped.
const BYTES_MAX: usize = 4 << 20;

/// Bytes of one answer, about.
const ANSWER_BYTES_MAX: usize = 256 << 10;
const TAG_CORES_BYTES_MAX: usize = 1 << 20;

/// Bytes a name takes in an answer beyond its text.
const NAME_BYTES: usize = 32;

/// What was asked about a measurement in some shards.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub measurement: Vec<u8>,
    pub shards: Vec<ShardId>,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    Schema,
    /// At most so many of a core.
    Series(u64),
    TagCores,
}

#[derive(Debug, Clone)]
pub enum Answer {
    Catalog(CatalogReply),
    TagCores(Rc<TagCores>),
}

/// Answers by their questions. One per core.
#[derive(Default)]
pub struct Kept {
    answers: HashMap<Question, KeptAnswer>,
    bytes: usize,
}

struct KeptAnswer {
    /// [`Cores::schema_changes`](crate::cores::Cores::schema_changes) before the cores were asked.
    changes: u64,
    bytes: usize,
    answer: Answer,
}

impl Question {
    /// The question of a request; `None`: its answer is not kept.
    pub fn of(request: &CatalogRequest, shards: impl Iterator<Item = ShardId>) -> Option<Self> {
        let Some([measurement]) = request.measurements.as_deref() else { return None };
        let what = match request.what {
            _ if request.series.is_some() => return None,
            CatalogKind::Schema => What::Schema,
            CatalogKind::Series => What::Series(request.limit),
            _ => return None,
        };
        Some(Self { measurement: measurement.clone(), shards: shards.collect(), what })
    }

    fn bytes(&self) -> usize {
        self.measurement.len() + 8 * self.shards.len() + 4 * NAME_BYTES
    }
}

impl Answer {
    /// Bytes in use, about; `None`: too many to keep it.
    fn bytes(&self) -> Option<usize> {
        let (bytes, max) = match self {
            Self::Catalog(CatalogReply::Schema(schemas)) => {
                let names = schemas.iter().flat_map(|schema| {
                    let fields = schema.fields.iter().map(|field| &field.0);
                    fields.chain(&schema.tag_keys).chain([&schema.measurement])
                });
                (names.map(|name| NAME_BYTES + name.len()).sum(), ANSWER_BYTES_MAX)
            }
            Self::Catalog(CatalogReply::Series(keys)) => {
                (keys.iter().map(|key| NAME_BYTES + key.len()).sum(), ANSWER_BYTES_MAX)
            }
            Self::Catalog(_) => return None,
            Self::TagCores(known) => (known.bytes(), TAG_CORES_BYTES_MAX),
        };
        (bytes <= max).then_some(bytes)
    }
}

impl Kept {
    /// The answer to a question, if it still holds.
    pub fn get(&self, question: &Question, changes: u64) -> Option<&Answer> {
        let kept = self.answers.get(question).filter(|kept| kept.changes == changes)?;
        Some(&kept.answer)
    }

    /// Keeps an answer unless it is too large; the one before goes.
    pub fn keep(&mut self, question: Question, changes: u64, answer: Answer) {
        let Some(bytes) = answer.bytes().map(|bytes| bytes + question.bytes()) else { return };
        if self.bytes + bytes > BYTES_MAX {
            *self = Self::default();
        }
        self.bytes += bytes;
        if let Some(before) = self.answers.insert(question, KeptAnswer { changes, bytes, answer }) {
            self.bytes -= before.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_engine::model::TimeRange;
    use tidemark_engine::scan::request::TagFilter;

    fn question(measurement: &str) -> Question {
        Question { measurement: measurement.into(), shards: vec![ShardId(1)], what: What::Series(0) }
    }

    fn keep(kept: &mut Kept, measurement: &str, key_bytes: usize) {
        let reply = CatalogReply::Series(vec![vec![b'k'; key_bytes]]);
        kept.keep(question(measurement), 1, Answer::Catalog(reply));
    }

    #[test]
    fn answers_are_kept_up_to_a_number_of_bytes_and_the_latest_of_a_question_alone() {
        let mut kept = Kept::default();
        keep(&mut kept, "m", 1_000);
        let bytes = kept.bytes;
        keep(&mut kept, "m", 1_000);
        assert_eq!((kept.answers.len(), kept.bytes), (1, bytes), "one answer a question");
        keep(&mut kept, "large", ANSWER_BYTES_MAX);
        assert_eq!(kept.answers.len(), 1, "a large one is not kept");
        let many = BYTES_MAX / 100_000 + 2;
        for number in 0..many {
            keep(&mut kept, &format!("m{number}"), 100_000);
            assert!(kept.bytes <= BYTES_MAX);
        }
        assert!(kept.answers.len() < many && kept.answers.contains_key(&question(&format!("m{}", many - 1))));
    }

    #[test]
    fn an_answer_holds_until_something_has_changed() {
        let mut kept = Kept::default();
        keep(&mut kept, "m", 1);
        assert!(kept.get(&question("m"), 1).is_some());
        assert!(kept.get(&question("m"), 2).is_none() && kept.get(&question("other"), 1).is_none());
    }

    #[test]
    fn questions_with_a_condition_on_tags_are_not_kept() {
        let request = |series| CatalogRequest {
            shards: Vec::new(),
            measurements: Some(vec![b"m".to_vec()]),
            time: TimeRange::ALL,
            series,
            what: CatalogKind::Series,
            limit: 7,
            budget_bytes: 0,
        };
        let shards = || [ShardId(1)].into_iter();
        let is_a = TagFilter::Equal { name: b"t".to_vec(), value: b"a".to_vec() };
        let of_all = Question::of(&request(None), shards());
        assert!(of_all.is_some_and(|found| found.what == What::Series(7)));
        assert!(Question::of(&request(Some(is_a)), shards()).is_none());
    }
}
