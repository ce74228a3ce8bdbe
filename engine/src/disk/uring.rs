//! The real disk: files through glommio's io_uring rings, past the page cache where the file system allows it.
//!
//! 1. Reads and writes are direct (O_DIRECT); a read of any range is widened to whole blocks and cut back. A file
//!    system that refuses O_DIRECT gets buffered files, with the same promises.
//! 2. [`OpenMode::WriteDurable`] is O_DSYNC: one round trip, never slower than write and fdatasync here.
//! 3. Names (open aside) have no operation in glommio's rings, and a folder needs `fsync`, which glommio does not
//!    offer either (its `fdatasync` may skip what changed in a folder): these calls go to the executor's blocking
//!    thread, so that the core never waits for them.
//! 4. glommio's polled ring stays off, see [`UringDisk::settle_polling`].
//! 5. What makes a write durable is done by a thread of the kernel, on the processor the write came from. A core that
//!    works on meanwhile has to let it run: [`is_writing`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::GlommioError;
use glommio::io::{BufferedFile, DmaBuffer, DmaFile, OpenOptions};
use hashbrown::HashSet;

use super::{AlignedBuffer, BLOCK_BYTES, DirEntry, Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};

/// Longest single read: bounds the buffer of one operation, and is far beyond where a longer one would be faster.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Folders remembered as settled; there are more only where shards have come and gone, and all are forgotten then.
const SETTLED_MAX: usize = 16 * 1024;

/// Memory taken for a read before its first byte is there: the file may be shorter than somebody thinks.
const ALLOCATED_AT_ONCE_MAX: usize = 16 * 1024 * 1024;

thread_local! {
    static WRITES: Cell<usize> = const { Cell::new(0) };
}

/// Whether writes or syncs of this thread's files are under way, which kernel threads of this processor may have to end.
pub fn is_writing() -> bool {
    WRITES.get() > 0
}

/// A write or sync under way.
struct Writing;

impl Writing {
    fn begin() -> Self {
        WRITES.set(WRITES.get() + 1);
        Self
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITES.set(WRITES.get() - 1);
    }
}

/// A folder of the real file system. Usable only inside a glommio executor.
#[derive(Clone)]
pub struct UringDisk {
    root: Rc<Path>,
    settled: Rc<RefCell<Settled>>,
}

/// Where the polled ring is known to be off: devices by number, and folders on them.
#[derive(Default)]
struct Settled {
    devices: BTreeSet<u64>,
    folders: HashSet<PathBuf>,
}

/// An open file of a [`UringDisk`].
pub struct UringFile {
    handle: Handle,
    path: PathBuf,
}

enum Handle {
    Direct(DmaFile),
    Buffered(BufferedFile),
}

/// What is to be written.
enum Bytes<'a> {
    /// From where it stands.
    Shared(Rc<DmaBuffer>),
    /// Through a copy.
    Borrowed(&'a [u8]),
}

impl Bytes<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(memory) => memory.as_bytes(),
            Self::Borrowed(bytes) => bytes,
        }
    }
}

impl UringDisk {
    /// The folder must exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root: PathBuf = root.into();
        Self { root: root.into(), settled: Rc::default() }
    }

    fn path(&self, path: &str) -> PathBuf {
        match path.trim_matches('/') {
            "" => self.root.to_path_buf(),
            path => self.root.join(path),
        }
    }

    /// Makes sure that glommio does not poll the device of `folder` for completions.
    ///
    /// glommio decides once per device, by a read of the first file it opens there. It takes the end of an empty file
    /// for success, and then every read of a device that cannot be polled fails. Where polling works, the core spins
    /// while an operation is in flight. So the first file it meets is one it cannot read: open for writing only, and
    /// without a name.
    async fn settle_polling(&self, folder: &Path) -> Result<()> {
        if self.settled.borrow().folders.contains(folder) {
            return Ok(());
        }
        let device = self.names("open", folder, |folder| Ok(std::fs::metadata(folder)?.dev())).await?;
        if !self.settled.borrow().devices.contains(&device) {
            self.settle_device(folder).await?;
        }
        let mut settled = self.settled.borrow_mut();
        if settled.folders.len() == SETTLED_MAX {
            settled.folders.clear();
        }
        settled.devices.insert(device);
        settled.folders.insert(folder.to_path_buf());
        Ok(())
    }

    async fn settle_device(&self, folder: &Path) -> Result<()> {
        let nameless = OpenOptions::new().write(true).tmpfile(true).dma_open(folder).await;
        if let Ok(file) = nameless {
            file.close().await.map_err(|error| glommio_error("close", folder, &error))?;
        } else {
            // A file system without nameless files, or without direct ones.
            let path = folder.join(format!("probe-{}-{}.tmp", std::process::id(), glommio::executor().id()));
            if let Ok(file) = OpenOptions::new().write(true).create(true).dma_open(&path).await {
                file.close().await.map_err(|error| glommio_error("close", &path, &error))?;
            }
            self.names("remove", &path, |path| absent_is_fine(std::fs::remove_file(path))).await?;
        }
        Ok(())
    }

    /// Runs system calls on names where they cannot stall the core.
    async fn names<T: Send + 'static>(
        &self,
        operation: &'static str,
        path: &Path,
        calls: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let owned = path.to_path_buf();
        let answer = glommio::executor().spawn_blocking(move || calls(&owned)).await;
        match answer {
            Ok(value) => Ok(value),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                Err(disk_error(operation, path, errno))
            }
        }
    }
}

impl Disk for UringDisk {
    type File = UringFile;

    async fn open(&self, path: &str, mode: OpenMode) -> Result<UringFile> {
        let path = self.path(path);
        self.settle_polling(path.parent().unwrap_or(&self.root)).await?;
        let mut options = OpenOptions::new();
        options.read(true);
        if mode != OpenMode::Read {
            options.write(true).create(true);
        }
        if mode == OpenMode::WriteDurable {
            options.custom_flags(libc::O_DSYNC);
        }
        let handle = match options.dma_open(&path).await {
            Ok(file) => Handle::Direct(file),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let file = options.buffered_open(&path).await;
                Handle::Buffered(file.map_err(|error| glommio_error("open", &path, &error))?)
            }
            Err(error) => return Err(glommio_error("open", &path, &error)),
        };
        Ok(UringFile { handle, path })
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let to = self.path(to);
        self.names("rename", &self.path(from), move |from| std::fs::rename(from, &to)).await
    }

    async fn remove_file(&self, path: &str) -> Result<()> {
        let calls = |path: &Path| absent_is_fine(std::fs::remove_file(path));
        self.names("remove", &self.path(path), calls).await
    }

    async fn remove_dir_all(&self, path: &str) -> Result<()> {
        let calls = |path: &Path| absent_is_fine(std::fs::remove_dir_all(path));
        self.names("remove folder", &self.path(path), calls).await
    }

    async fn create_dir_all(&self, path: &str) -> Result<()> {
        let root = self.root.to_path_buf();
        self.names("create folder", &self.path(path), move |path| create_and_sync_folders(path, &root)).await
    }

    async fn sync_dir(&self, path: &str) -> Result<()> {
        self.names("sync folder", &self.path(path), sync_folder).await
    }

    async fn sync_all(&self) -> Result<()> {
        self.names("sync all", &self.root, sync_file_systems).await
    }

    async fn list(&self, path: &str) -> Result<Vec<DirEntry>> {
        self.names("list", &self.path(path), list_folder).await
    }

    async fn free_bytes(&self) -> Result<u64> {
        self.names("free bytes", &self.root, free_bytes).await
    }
}

impl UringFile {
    /// Reads whole blocks; fewer bytes only at the end of the file, or when the kernel answers short.
    async fn read_blocks(&self, offset: u64, length: usize) -> Result<glommio::io::ReadResult> {
        let answer = match &self.handle {
            Handle::Direct(file) => file.read_at_aligned(offset, length).await,
            Handle::Buffered(file) => file.read_at(offset, length).await,
        };
        answer.map_err(|error| self.error("read", &error))
    }

    /// Writes what it can of `bytes`, whole blocks, and tells how many.
    async fn write_part(&self, offset: u64, bytes: Bytes<'_>) -> Result<usize> {
        let _writing = Writing::begin();
        let answer = match (&self.handle, bytes) {
            (Handle::Direct(file), Bytes::Shared(memory)) => file.write_rc_at(memory, offset).await,
            (Handle::Direct(file), Bytes::Borrowed(bytes)) => {
                let mut buffer = file.alloc_dma_buffer(bytes.len());
                buffer.as_bytes_mut().copy_from_slice(bytes);
                file.write_at(buffer, offset).await
            }
            (Handle::Buffered(file), bytes) => file.write_at(bytes.as_slice().to_vec(), offset).await,
        };
        answer.map_err(|error| self.error("write", &error))
    }

    fn error(&self, operation: &'static str, error: &GlommioError<()>) -> Error {
        glommio_error(operation, &self.path, error)
    }
}

impl DiskFile for UringFile {
    async fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length.min(ALLOCATED_AT_ONCE_MAX));
        while bytes.len() < length {
            let from = offset + bytes.len() as u64;
            let aligned = from & !(BLOCK_BYTES as u64 - 1);
            let skipped = (from - aligned) as usize;
            let wanted = (length - bytes.len()).min(READ_BYTES_MAX - BLOCK_BYTES);
            let read = self.read_blocks(aligned, (skipped + wanted).next_multiple_of(BLOCK_BYTES)).await?;
            if read.len() <= skipped {
                break;
            }
            bytes.extend_from_slice(&read[skipped..read.len().min(skipped + wanted)]);
        }
        Ok(bytes)
    }

    async fn write_at(&self, offset: u64, buffer: AlignedBuffer) -> Result<AlignedBuffer> {
        let block = BLOCK_BYTES as u64;
        assert!(
            offset.is_multiple_of(block) && buffer.len().is_multiple_of(BLOCK_BYTES),
            "BUG: unaligned write"
        );
        let Some(memory) = buffer.share() else { return Ok(AlignedBuffer::new()) };
        let mut written = 0;
        while written < memory.len() {
            let rest = match written {
                0 => Bytes::Shared(memory.clone()),
                // After a short write.
                _ => Bytes::Borrowed(&memory.as_bytes()[written..]),
            };
            let count = self.write_part(offset + written as u64, rest).await?;
            // A short write ends on a block, so that the rest stays aligned; none at all would loop for ever.
            let whole = count - count % BLOCK_BYTES;
            if whole == 0 {
                return Err(disk_error("write", &self.path, libc::EIO));
            }
            written += whole;
        }
        Ok(AlignedBuffer::take_back(memory))
    }

    async fn sync(&self) -> Result<()> {
        let _writing = Writing::begin();
        let answer = match &self.handle {
            Handle::Direct(file) => file.fdatasync().await,
            Handle::Buffered(file) => file.fdatasync().await,
        };
        answer.map_err(|error| self.error("sync", &error))
    }

    async fn length(&self) -> Result<u64> {
        let answer = match &self.handle {
            Handle::Direct(file) => file.file_size().await,
            Handle::Buffered(file) => file.file_size().await,
        };
        answer.map_err(|error| self.error("length", &error))
    }

    async fn truncate(&self, length: u64) -> Result<()> {
        let answer = match &self.handle {
            Handle::Direct(file) => file.truncate(length).await,
            Handle::Buffered(file) => file.truncate(length).await,
        };
        answer.map_err(|error| self.error("truncate", &error))
    }

    async fn close(self) -> Result<()> {
        let Self { handle, path } = self;
        let answer = match handle {
            Handle::Direct(file) => file.close().await,
            Handle::Buffered(file) => file.close().await,
        };
        answer.map_err(|error| glommio_error("close", &path, &error))
    }
}

fn glommio_error(operation: &'static str, path: &Path, error: &GlommioError<()>) -> Error {
    disk_error(operation, path, error.raw_os_error().unwrap_or(libc::EIO))
}

fn disk_error(operation: &'static str, path: &Path, errno: i32) -> Error {
    match errno {
        libc::ENOSPC | libc::EDQUOT => Error::DiskFull { free_bytes: free_bytes(path).unwrap_or(0) },
        errno => Error::Io { operation, path: path.display().to_string(), errno },
    }
}

fn absent_is_fine(answer: io::Result<()>) -> io::Result<()> {
    match answer {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// Creates what is missing below `root` from the top down; each folder's name is synced before the next.
fn create_and_sync_folders(path: &Path, root: &Path) -> io::Result<()> {
    if path == root {
        return Ok(());
    }
    let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
    create_and_sync_folders(parent, root)?;
    match std::fs::create_dir(path) {
        // Also where another core just made it: the name may not be durable yet.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => sync_folder(parent),
    }
}

/// Creates a folder with its parents, for the composition root: durable, whoever made them.
pub fn create_root(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    if !path.is_dir() {
        if let Some(parent) = path.parent() {
            create_root(parent)?;
        }
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    match path.parent().map_or(Ok(()), sync_folder) {
        // Whoever made it for this user had more rights.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// The file system of `root`, and those its folders are on: the WAL may have one of its own.
fn sync_file_systems(root: &Path) -> io::Result<()> {
    sync_file_system(root)?;
    let device = std::fs::metadata(root)?.dev();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        if std::fs::metadata(&path).is_ok_and(|found| found.is_dir() && found.dev() != device) {
            sync_file_system(&path)?;
        }
    }
    Ok(())
}

fn sync_file_system(path: &Path) -> io::Result<()> {
    let folder = std::fs::File::open(path)?;
    // SAFETY: the descriptor is open through the call.
    match unsafe { libc::syncfs(folder.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn list_folder(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    let folder = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
        folder => folder?,
    };
    for entry in folder {
        let entry = entry?;
        // A file removed meanwhile is no entry; a name that is not text is none of ours.
        let Ok(metadata) = entry.metadata() else { continue };
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_dir = metadata.is_dir();
        entries.push(DirEntry { name, is_dir, length: if is_dir { 0 } else { metadata.len() } });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Bytes that an ordinary user may still write on the file system of `path`.
fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `statvfs` is plain old data; all zeros is a value of it.
    let mut answer: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in NUL and the answer lives through the call.
    if unsafe { libc::statvfs(path.as_ptr(), &mut answer) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer.f_bavail * answer.f_frsize)
}

#[cfg(test)]
pub(crate) mod tests {
    use glommio::{LocalExecutorBuilder, Placement};

    use super::*;

    /// Runs a test on a real ring in a fresh folder of `parent`.
    fn on_disk_in<F: Future<Output = ()>>(parent: &Path, test: impl FnOnce(UringDisk) -> F) {
        let folder = tempfile::tempdir_in(parent).unwrap();
        let executor = LocalExecutorBuilder::new(Placement::Unbound).make().unwrap();
        executor.run(test(UringDisk::new(folder.path())));
    }

    pub(crate) fn on_disk<F: Future<Output = ()>>(test: impl FnOnce(UringDisk) -> F) {
        on_disk_in(&std::env::temp_dir(), test);
    }

    fn pattern(blocks: usize) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::new();
        let bytes: Vec<u8> = (0..blocks * BLOCK_BYTES).map(|at| (at % 251) as u8).collect();
        buffer.extend_from_slice(&bytes);
        buffer
    }

    async fn writes_and_reads(disk: UringDisk, mode: OpenMode) {
        let file = disk.open("f", mode).await.unwrap();
        let buffer = file.write_at(0, pattern(600)).await.unwrap();
        file.sync().await.unwrap();
        let want = buffer.as_slice();
        for (offset, length) in [(0, 4096), (1, 1), (4095, 2), (5000, 100_000), (3, 600 * 4096 - 3), (7, 0)] {
            let got = file.read_at(offset as u64, length).await.unwrap();
            assert!(got == want[offset..offset + length], "{length} bytes from {offset}");
        }
        let past = file.read_at(600 * 4096 - 10, 100).await.unwrap();
        assert_eq!(past, want[600 * 4096 - 10..]);
        assert!(file.read_at(601 * 4096, 5).await.unwrap().is_empty());
        assert_eq!(file.length().await.unwrap(), 600 * 4096);
        file.truncate(5000).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 5000);
        assert_eq!(file.read_at(4090, 10_000).await.unwrap(), want[4090..5000]);
        file.close().await.unwrap();
        let file = disk.open("f", OpenMode::Read).await.unwrap();
        assert_eq!(file.read_at(4999, 10).await.unwrap(), want[4999..5000]);
        file.close().await.unwrap();
    }

    #[test]
    fn a_write_is_known_to_be_under_way_until_it_is_done_or_given_up() {
        on_disk(|disk| async move {
            let file = disk.open("f", OpenMode::WriteDurable).await.unwrap();
            assert!(!is_writing());
            let mut writing = Box::pin(file.write_at(0, pattern(1)));
            assert!(futures_lite::future::poll_once(&mut writing).await.is_none());
            assert!(is_writing());
            writing.await.unwrap();
            assert!(!is_writing());
            let mut given_up = Box::pin(file.sync());
            assert!(futures_lite::future::poll_once(&mut given_up).await.is_none());
            assert!(is_writing());
            drop(given_up);
            assert!(!is_writing());
            file.close().await.unwrap();
        });
    }

    #[test]
    fn what_is_written_is_read_back_from_any_offset() {
        on_disk(|disk| writes_and_reads(disk, OpenMode::WriteDurable));
        on_disk(|disk| writes_and_reads(disk, OpenMode::Write));
    }

    #[test]
    fn a_file_system_without_direct_io_works_too() {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            on_disk_in(memory, |disk| writes_and_reads(disk, OpenMode::WriteDurable));
        }
    }

    #[test]
    fn names_are_created_listed_renamed_and_removed() {
        on_disk(|disk| async move {
            disk.create_dir_all("a/b/c").await.unwrap();
            disk.create_dir_all("a/b/c").await.unwrap();
            let file = disk.open("a/b/one", OpenMode::Write).await.unwrap();
            file.write_at(0, pattern(1)).await.unwrap();
            file.close().await.unwrap();
            disk.rename("a/b/one", "a/b/two").await.unwrap();
            disk.sync_dir("a/b").await.unwrap();
            let folder = DirEntry { name: "c".into(), is_dir: true, length: 0 };
            let two = DirEntry { name: "two".into(), is_dir: false, length: 4096 };
            assert_eq!(disk.list("a/b").await.unwrap(), [folder.clone(), two]);
            disk.remove_file("a/b/two").await.unwrap();
            disk.remove_file("a/b/two").await.unwrap();
            assert_eq!(disk.list("a/b").await.unwrap(), [folder]);
            disk.remove_dir_all("a").await.unwrap();
            disk.remove_dir_all("a").await.unwrap();
            assert!(disk.list("").await.unwrap().is_empty() && disk.list("a").await.unwrap().is_empty());
            assert!(disk.free_bytes().await.unwrap() > 0);
        });
    }

    #[test]
    fn a_missing_file_is_named_with_its_error_number() {
        on_disk(|disk| async move {
            match disk.open("nothing", OpenMode::Read).await {
                Err(Error::Io { operation: "open", path, errno: libc::ENOENT }) => {
                    assert!(path.ends_with("nothing"))
                }
                other => panic!("{:?}", other.err()),
            }
            let renamed = disk.rename("nothing", "x").await;
            assert!(matches!(renamed, Err(Error::Io { operation: "rename", errno: libc::ENOENT, .. })));
            assert!(disk.sync_dir("nowhere").await.is_err());
        });
    }
}
