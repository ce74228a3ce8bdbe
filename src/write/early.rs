//! Lines read while the rest of their body is on its way: what has just come in is in the core's cache, and need not be
//! copied together first.
//!
//! Nothing is written before the whole body is there; a shard group that a whole line of it needs is made. Reading stops
//! where lines would have to be written first, and where a line is cut twice; what comes after that is kept until the end.

use super::router::Router;
use super::{Backend, SLICE_BYTES, SPARE_MAX, Spare, WriteError, WriteRequest, Writer, Written, answer};
use crate::line_protocol::{Parser, Step};

/// Bodies of a core that are read so at a time: each keeps a reader for as long as its sender takes.
const EARLY_MAX: usize = SPARE_MAX;

/// A body on its way in. Dropped before its end, nothing of it is stored.
pub struct Early<'w, 'r, B: Backend> {
    writer: &'w Writer<B>,
    request: WriteRequest<'r>,
    parser: Parser,
    router: Router,
    /// What came in and is not read: the beginning of a line, or everything since reading stopped.
    rest: Vec<u8>,
    is_stopped: bool,
    _place: Place<'w>,
}

/// Counts a body that is read early.
struct Place<'w>(&'w std::cell::Cell<usize>);

impl<'w> Place<'w> {
    fn enter(count: &'w std::cell::Cell<usize>) -> Option<Self> {
        if count.get() == EARLY_MAX {
            return None;
        }
        count.set(count.get() + 1);
        Some(Self(count))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<B: Backend> Writer<B> {
    /// Begins a body that comes in pieces. `None` when it has to be whole first: somebody wants its lines a second time,
    /// its policy is not known, or many are read so already.
    pub fn begin<'w, 'r>(&'w self, request: WriteRequest<'r>) -> Option<Early<'w, 'r, B>> {
        if !self.late.is_empty() || !self.taps.is_empty() {
            return None;
        }
        let policy = self.policy(&request).ok()?;
        let place = Place::enter(&self.early)?;
        let Spare { scratch, mut router } = self.take_spare();
        router.begin(policy, request.now);
        let parser = Parser::new(request.options(), scratch);
        let (rest, is_stopped) = (Vec::new(), false);
        Some(Early { writer: self, request, parser, router, rest, is_stopped, _place: place })
    }
}

impl<B: Backend> Early<'_, '_, B> {
    /// Takes the next bytes of the body.
    pub async fn push(&mut self, mut bytes: &[u8]) {
        if !self.is_stopped && !self.rest.is_empty() {
            // The line that the last bytes began. Were it looked for further than the next newline, a text of many lines
            // would be read anew with each of them.
            let Some(newline) = memchr::memchr(b'\n', bytes) else {
                self.rest.extend_from_slice(bytes);
                return;
            };
            self.rest.extend_from_slice(&bytes[..=newline]);
            bytes = &bytes[newline + 1..];
            let mut rest = std::mem::take(&mut self.rest);
            let read = self.read(&rest).await;
            self.is_stopped |= read < rest.len();
            rest.drain(..read);
            self.rest = rest;
        }
        if !self.is_stopped
            && let Some(newline) = memchr::memrchr(b'\n', bytes)
        {
            let read = self.read(&bytes[..=newline]).await;
            bytes = &bytes[read..];
        }
        self.rest.extend_from_slice(bytes);
    }

    /// Reads lines; how many bytes of them were read.
    async fn read(&mut self, lines: &[u8]) -> usize {
        self.parser.begin_piece(false);
        loop {
            match self.parser.step(lines, &mut self.router, SLICE_BYTES) {
                Step::Done => break,
                Step::More if !self.router.is_full() => self.writer.backend.give_way().await,
                // Were the group left until the end, the first bodies of its time would each be kept whole.
                Step::Paused if !self.router.is_full() && self.make_group().await => {}
                Step::Paused | Step::More => {
                    self.is_stopped = true;
                    break;
                }
            }
        }
        self.parser.consumed()
    }

    /// Whether the router has its group now; why not is told at the end.
    async fn make_group(&mut self) -> bool {
        self.writer.make_group(&self.request, &mut self.router).await.is_ok()
    }

    /// The body is whole: stores every point of it that can be; durable when it answers.
    pub async fn finish(self) -> Result<Written, WriteError> {
        let Self { writer, request, mut parser, mut router, rest, .. } = self;
        // It may be gone by now; of groups that are, the owners know.
        writer.policy(&request)?;
        parser.begin_piece(true);
        let read = writer.read_to_end(&request, &rest, &mut parser, &mut router).await;
        let (errors, scratch) = parser.into_errors();
        let result = read.and_then(|()| answer(router.points(), &router.drops, errors));
        writer.keep_spare(Spare { scratch, router });
        result
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::write::tests::{Fake, fake, request, rows, sent};

    const TIME: i64 = 1_000_000_000_000;

    fn push(early: &mut Early<'_, '_, Fake>, bytes: &[u8]) {
        block_on(early.push(bytes));
    }

    fn write_cut(writer: &Writer<Fake>, body: &[u8], cuts: &[usize]) -> Result<Written, WriteError> {
        let mut early = writer.begin(request("")).expect("a place");
        let mut at = 0;
        for &cut in cuts {
            push(&mut early, &body[at..cut]);
            at = cut;
        }
        push(&mut early, &body[at..]);
        block_on(early.finish())
    }

    fn check(body: &[u8], cuts: &[usize]) {
        let (whole, cut) = (Writer::new(fake(0)), Writer::new(fake(0)));
        let text = || format!("{:?} cut at {cuts:?}", String::from_utf8_lossy(body));
        // Twice: what is remembered of the first body is used in the second.
        for _ in 0..2 {
            let wanted = block_on(whole.write_lines(&request(""), body));
            assert_eq!(write_cut(&cut, body, cuts), wanted, "{}", text());
        }
        assert_eq!(sent(&cut), sent(&whole), "{}", text());
    }

    #[test]
    fn a_text_of_many_lines_and_a_backslash_before_a_cut_are_read_as_one() {
        let body = b"m s=\"a\nb\nc\nd\" 1\nm v=1 2\nm\\\n,t=a\\\nb v=3 3\n# \"\\\nm v=4\\\n 4\nm v=5 5";
        for first in 0..body.len() {
            check(body, &[first]);
            for second in first..body.len() {
                check(body, &[first, second]);
            }
        }
    }

    proptest! {
        #[test]
        fn a_body_in_pieces_is_read_as_the_whole(
            lines in prop::collection::vec(prop::sample::select(vec![
                "cpu,host=a,region=eu user=1i,system=2i 1000000000001",
                "cpu,host=b,region=eu user=12345i,system=20000i 1000000000002",
                "cpu,host=a,region=eu user=3i,system=4i",
                "m s=\"a b\",v=1 1000000000003",
                "m s=\"two\nlines\",v=1 1000000000004",
                "m s=\"never closed",
                "m,t=a\\ b v=t 1000000000005",
                "m v=1\\",
                "# a comment",
                "",
                "  m v=2.5\r",
                "m v=",
                "far v=1 9000000000000000",
            ]), 1..40),
            newline in "\n?",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let body = lines.join("\n") + &newline;
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.sort_unstable();
            check(body.as_bytes(), &cuts);
        }
    }

    #[test]
    fn the_group_is_made_at_once_and_nothing_sent_before_the_body_is_whole() {
        let writer = Writer::new(fake(0));
        let body: String =
            (0..600_000).map(|at| format!("cpu,host=h{} v={at}i {}\n", at % 100, TIME + at)).collect();
        for round in 1..3 {
            let before = rows(&writer).len();
            let mut early = writer.begin(request("")).expect("a place");
            let mut pieces = body.as_bytes().chunks(200_000);
            push(&mut early, pieces.next().expect("a piece"));
            assert_eq!(writer.backend().groups_made(), 1, "needed by the first line of round {round}");
            assert!(early.rest.len() < 100, "read as it came: {} bytes are left", early.rest.len());
            // The batches become too many to be held.
            pieces.for_each(|piece| push(&mut early, piece));
            assert!(early.rest.len() > 200_000);
            assert_eq!(rows(&writer).len(), before, "sent in round {round}");
            assert_eq!(block_on(early.finish()), Ok(Written { points: 600_000 }));
            assert_eq!(rows(&writer).len(), before + 600_000);
            assert_eq!(writer.backend().groups_made(), 1);
        }
    }

    #[test]
    fn a_body_that_is_given_up_leaves_nothing_and_its_place() {
        let writer = Writer::new(fake(0));
        for _ in 0..2 * EARLY_MAX {
            push(&mut writer.begin(request("")).expect("a place"), b"m v=1\nm v=2\nm v=");
        }
        let mut all: Vec<_> = (0..EARLY_MAX).map(|_| writer.begin(request("")).expect("a place")).collect();
        assert!(writer.begin(request("")).is_none(), "more than are read at a time");
        all.pop();
        assert!(writer.begin(request("")).is_some());
        assert!(rows(&writer).is_empty());
    }

    #[test]
    fn a_database_dropped_meanwhile_is_not_found() {
        let writer = Writer::new(fake(0));
        block_on(writer.write_lines(&request(""), b"m v=1")).expect("written");
        let mut early = writer.begin(request("")).expect("a place");
        push(&mut early, b"m v=2\n");
        writer.backend().drop_all();
        // One line of a group there is, one of a group that can't be made any more.
        push(&mut early, format!("m v=3\nm v=4 {TIME}\n").as_bytes());
        let error = block_on(early.finish()).expect_err("gone");
        assert_eq!((error.status(), error.to_string().as_str()), (404, "database not found: \"db\""));
        assert!(writer.begin(request("")).is_none(), "refused once its body is there");
        assert_eq!(rows(&writer).len(), 1);
    }
}
