//! Bytes on their way to a disk, in memory that the kernel can write from without another copy.

use std::rc::Rc;

use glommio::allocate_dma_buffer_global;
use glommio::io::DmaBuffer;

use super::BLOCK_BYTES;

/// Bytes aligned for direct I/O. Its length is a multiple of [`BLOCK_BYTES`] whenever it is written.
#[derive(Default)]
pub struct AlignedBuffer {
    /// None as long as there was no byte. Invariant: its first `len` bytes were written.
    memory: Option<DmaBuffer>,
    len: usize,
}

impl AlignedBuffer {
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one that takes so many bytes without growing.
    pub fn with_room(bytes: usize) -> Self {
        let mut buffer = Self::new();
        buffer.grow_to(bytes);
        buffer
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes there is room for.
    fn room(&self) -> usize {
        self.memory.as_ref().map_or(0, DmaBuffer::len)
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.grow_to(self.len + bytes.len());
        let memory = self.memory.as_mut().expect("BUG: grown");
        // SAFETY: there is room behind the first `len` bytes, and what is borrowed lies elsewhere.
        unsafe { memory.as_mut_ptr().add(self.len).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.len += bytes.len();
    }

    /// Grows with zeros, or cuts.
    pub fn resize(&mut self, len: usize) {
        if len > self.len {
            self.grow_to(len);
            let memory = self.memory.as_mut().expect("BUG: grown");
            // SAFETY: there is room for `len` bytes.
            unsafe { memory.as_mut_ptr().add(self.len).write_bytes(0, len - self.len) };
        }
        self.len = len;
    }

    /// Fills with zeros up to the next multiple of [`BLOCK_BYTES`].
    pub fn pad(&mut self) {
        self.resize(self.len.next_multiple_of(BLOCK_BYTES));
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn as_slice(&self) -> &[u8] {
        match &self.memory {
            // SAFETY: the first `len` bytes were written.
            Some(memory) => unsafe { std::slice::from_raw_parts(memory.as_ptr(), self.len) },
            None => &[],
        }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.memory {
            // SAFETY: as above, and `self` is borrowed mutably.
            Some(memory) => unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr(), self.len) },
            None => &mut [],
        }
    }

    fn grow_to(&mut self, bytes: usize) {
        if bytes > self.room() {
            let room = bytes.max(2 * self.room()).next_multiple_of(BLOCK_BYTES);
            let mut memory = allocate_dma_buffer_global(room);
            // SAFETY: the new memory has room for all that was written, and is nobody else's.
            unsafe { memory.as_mut_ptr().copy_from_nonoverlapping(self.as_slice().as_ptr(), self.len) };
            self.memory = Some(memory);
        }
    }

    /// The memory, cut to the length, to be shared with a write; none when there is no byte.
    pub(super) fn share(self) -> Option<Rc<DmaBuffer>> {
        let mut memory = self.memory.filter(|_| self.len > 0)?;
        memory.trim_to_size(self.len);
        Some(Rc::new(memory))
    }

    /// What was shared, all of it written; an empty one when a write that was given up still has it.
    pub(super) fn take_back(shared: Rc<DmaBuffer>) -> Self {
        let memory = Rc::into_inner(shared);
        Self { len: memory.as_ref().map_or(0, DmaBuffer::len), memory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_what_they_are_while_it_grows_and_is_cut() {
        let mut buffer = AlignedBuffer::new();
        let mut want = Vec::new();
        assert!(buffer.is_empty() && buffer.as_slice().is_empty() && buffer.as_mut_slice().is_empty());
        for round in 0..40usize {
            let bytes: Vec<u8> = (0..round * 331).map(|at| (at + round) as u8).collect();
            buffer.extend_from_slice(&bytes);
            want.extend_from_slice(&bytes);
            match round % 4 {
                1 => {
                    buffer.resize(want.len() / 2);
                    want.truncate(want.len() / 2);
                }
                2 => {
                    buffer.pad();
                    want.resize(want.len().next_multiple_of(BLOCK_BYTES), 0);
                }
                _ => {}
            }
            assert!(buffer.as_slice() == want, "round {round}");
            assert!(buffer.is_empty() || buffer.as_slice().as_ptr().align_offset(BLOCK_BYTES) == 0);
        }
        buffer.clear();
        buffer.resize(10);
        assert_eq!(buffer.as_slice(), [0; 10]);
    }

    #[test]
    fn what_was_shared_comes_back_as_long_as_it_was() {
        let mut buffer = AlignedBuffer::with_room(10 * BLOCK_BYTES);
        buffer.extend_from_slice(b"some bytes");
        buffer.pad();
        let shared = buffer.share().expect("there are bytes");
        assert_eq!(shared.len(), BLOCK_BYTES);
        let held = Rc::clone(&shared);
        assert!(AlignedBuffer::take_back(shared).is_empty(), "somebody still writes it");
        let buffer = AlignedBuffer::take_back(held);
        assert_eq!((buffer.len(), &buffer.as_slice()[..10]), (BLOCK_BYTES, &b"some bytes"[..]));
        assert!(AlignedBuffer::new().share().is_none());
    }
}
