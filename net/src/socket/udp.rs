//! Many datagrams per wake-up.
//!
//! One `recvmmsg` takes what the kernel has queued, up to a bound, and says with it how many datagrams the kernel had to
//! drop for want of room (`SO_RXQ_OVFL`): a sender never learns, so the receiver must count.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Datagrams taken at once.
pub const DATAGRAMS_MAX: usize = 32;
/// The largest datagram there is, so that none is cut short.
pub const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Room for the one control message asked for, with its header, in words that align it.
const CONTROL_WORDS: usize = 8;

/// Room for a batch of datagrams, and the batch that was last taken.
pub struct Datagrams {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
    dropped: u32,
}

impl Default for Datagrams {
    fn default() -> Self {
        Self {
            bytes: vec![0; DATAGRAMS_MAX * DATAGRAM_BYTES_MAX],
            lengths: Vec::with_capacity(DATAGRAMS_MAX),
            dropped: 0,
        }
    }
}

impl Datagrams {
    /// The datagrams in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes
            .chunks_exact(DATAGRAM_BYTES_MAX)
            .zip(&self.lengths)
            .map(|(bytes, &length)| &bytes[..length])
    }

    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Datagrams the kernel has dropped since the socket was made, as last told; it wraps around.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Takes what is queued on the socket, without waiting.
    pub fn take(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.lengths.clear();
        let mut vectors: Vec<libc::iovec> = self
            .bytes
            .chunks_exact_mut(DATAGRAM_BYTES_MAX)
            .map(|bytes| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() })
            .collect();
        let mut controls = [[0u64; CONTROL_WORDS]; DATAGRAMS_MAX];
        let mut messages: Vec<libc::mmsghdr> = vectors
            .iter_mut()
            .zip(&mut controls)
            .map(|(vector, control)| {
                // SAFETY: a header of zeros is a valid value of this plain C struct.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = vector;
                message.msg_hdr.msg_iovlen = 1;
                message.msg_hdr.msg_control = control.as_mut_ptr().cast();
                message.msg_hdr.msg_controllen = size_of::<[u64; CONTROL_WORDS]>() as _;
                message
            })
            .collect();
        // SAFETY: each header points at one vector over 64 KiB of `bytes` and at one control buffer of the length it
        // states; all of them outlive the call, and none is used otherwise meanwhile.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        for message in &messages[..count as usize] {
            self.lengths.push((message.msg_len as usize).min(DATAGRAM_BYTES_MAX));
            if let Some(dropped) = overflow_count(&message.msg_hdr) {
                self.dropped = dropped;
            }
        }
        Ok(count as usize)
    }
}

/// Asks the kernel to tell with each datagram how many it dropped before.
pub fn count_drops(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, and gets a pointer to one and its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RXQ_OVFL,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn overflow_count(header: &libc::msghdr) -> Option<u32> {
    // SAFETY: the kernel filled the control buffer and its length in; the macros walk within it, and the message asked
    // for carries a u32, read without asking for alignment.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = control.as_ref() {
            if message.cmsg_level == libc::SOL_SOCKET && message.cmsg_type == libc::SO_RXQ_OVFL {
                return Some(libc::CMSG_DATA(control).cast::<u32>().read_unaligned());
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    fn pair() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
        sender.connect(receiver.local_addr().expect("address")).expect("connect");
        (sender, receiver)
    }

    #[test]
    fn all_that_is_queued_comes_at_once_and_whole() {
        let (sender, receiver) = pair();
        for number in 0..5usize {
            sender.send(&vec![number as u8; number * 1_000]).expect("send");
        }
        let mut datagrams = Datagrams::default();
        assert_eq!(datagrams.take(receiver.as_fd()).expect("take"), 5);
        for (number, datagram) in datagrams.iter().enumerate() {
            assert_eq!(datagram, vec![number as u8; number * 1_000]);
        }
        let error = datagrams.take(receiver.as_fd()).expect_err("nothing more");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(datagrams.is_empty());
    }

    #[test]
    fn what_the_kernel_drops_is_counted() {
        let (sender, receiver) = pair();
        count_drops(receiver.as_fd()).expect("the kernel counts");
        let mut sent = 0u32;
        for _ in 0..5_000 {
            sender.send(&[0; 1_000]).expect("send");
            sent += 1;
        }
        let mut datagrams = Datagrams::default();
        let mut taken = 0;
        while let Ok(count) = datagrams.take(receiver.as_fd()) {
            taken += count as u32;
        }
        // The count comes with a datagram that was queued after the drops.
        sender.send(b"last").expect("send");
        datagrams.take(receiver.as_fd()).expect("take");
        assert!(taken < sent, "the queue is bounded");
        assert_eq!(datagrams.dropped(), sent - taken);
    }
}
