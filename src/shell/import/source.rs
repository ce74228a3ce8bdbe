//! Lines of a file, plain or gzip, with the place each ends at.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// A longer line is no line protocol.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// What every gzip file begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub struct Source {
    reader: Reader,
    /// Bytes of text up to the end of the last line; for a gzip file, of the text within.
    pub offset: u64,
    /// Bytes of the file; `None` for standard input.
    pub total: Option<u64>,
    read: Arc<AtomicU64>,
}

enum Reader {
    Plain(BufReader<Counted<File>>),
    Other(Box<dyn BufRead>),
}

/// Counts what is read of the file itself.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Source {
    /// Opens a file; `-` is standard input. A gzip file is known by its first bytes, whatever the flag says.
    pub fn open(path: &Path, is_compressed: bool) -> io::Result<Self> {
        let read = Arc::new(AtomicU64::new(0));
        if path == Path::new("-") {
            let mut stdin = BufReader::new(Counted { inner: io::stdin(), read: read.clone() });
            let is_gzip = is_compressed || stdin.fill_buf()?.starts_with(&GZIP_MAGIC);
            let reader: Box<dyn BufRead> = match is_gzip {
                true => Box::new(BufReader::new(MultiGzDecoder::new(stdin))),
                false => Box::new(stdin),
            };
            return Ok(Self { reader: Reader::Other(reader), offset: 0, total: None, read });
        }
        let file = File::open(path)?;
        let total = Some(file.metadata()?.len());
        let mut file = BufReader::with_capacity(256 << 10, Counted { inner: file, read: read.clone() });
        let is_gzip = is_compressed || file.fill_buf()?.starts_with(&GZIP_MAGIC);
        let reader = match is_gzip {
            true => Reader::Other(Box::new(BufReader::with_capacity(256 << 10, MultiGzDecoder::new(file)))),
            false => Reader::Plain(file),
        };
        Ok(Self { reader, offset: 0, total, read })
    }

    /// Bytes of the file that have been read.
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Goes on behind this many bytes of text.
    pub fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        match &mut self.reader {
            Reader::Plain(file) => {
                let inner = file.get_mut();
                inner.inner.seek(SeekFrom::Start(offset))?;
                inner.read.store(offset, Ordering::Relaxed);
                // What was looked at for the first bytes is not what follows.
                let buffered = file.buffer().len();
                file.consume(buffered);
            }
            Reader::Other(reader) => {
                let skipped = io::copy(&mut reader.by_ref().take(offset), &mut io::sink())?;
                if skipped < offset {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        self.offset = offset;
        Ok(())
    }

    /// The next line without its end; `false` at the end of the file.
    pub fn next_line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let reader: &mut dyn BufRead = match &mut self.reader {
            Reader::Plain(file) => file,
            Reader::Other(reader) => reader,
        };
        let count = reader.take(LINE_BYTES_MAX).read_until(b'\n', line)? as u64;
        self.offset += count;
        if count == LINE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line is longer than {LINE_BYTES_MAX} bytes"),
            ));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(source: &mut Source) -> Vec<(String, u64)> {
        let (mut line, mut all) = (Vec::new(), Vec::new());
        while source.next_line(&mut line).unwrap() {
            all.push((String::from_utf8(line.clone()).unwrap(), source.offset));
        }
        all
    }

    #[test]
    fn plain_and_gzip_files_have_the_same_lines_and_places() {
        let folder = tempfile::tempdir().unwrap();
        let text = "a\nbb\r\n\nlast";
        let plain = folder.path().join("plain");
        std::fs::write(&plain, text).unwrap();
        let gzip = folder.path().join("gzip");
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&gzip).unwrap(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let want = [("a", 2), ("bb", 6), ("", 7), ("last", 11)].map(|(line, end)| (line.to_owned(), end));
        for path in [plain, gzip] {
            assert_eq!(lines(&mut Source::open(&path, false).unwrap()), want);
            let mut source = Source::open(&path, false).unwrap();
            source.skip_to(6).unwrap();
            assert_eq!(lines(&mut source), want[2..]);
        }
    }
}
