//! A TAP interface: the file end of a twin. Frames written here are received by the kernel, frames that the
//! kernel sends are read here.
//!
//! Each read and write is one Ethernet frame without any header in front. No offloads are asked for, so the
//! kernel hands over frames with good checksums and no larger than the MTU. The interface lives exactly as
//! long as the [`Tap`]: closing the file removes it, also when the process dies.
//!
//! This is one of the leaf modules with unsafe code: two ioctls.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::error::KernelError;

/// Longest interface name, without the closing NUL of `IFNAMSIZ`.
pub const NAME_MAX_BYTES: usize = libc::IFNAMSIZ - 1;

const TUN_DEVICE: &str = "/dev/net/tun";

/// linux/if_tun.h; both are declared with `int`, whatever the argument really is.
mod ioctl {
    use super::c_int;

    nix::ioctl_write_ptr_bad!(
        tun_set_iff,
        nix::request_code_write!(b'T', 202, size_of::<c_int>()),
        libc::ifreq
    );
    nix::ioctl_write_ptr_bad!(
        tun_set_carrier,
        nix::request_code_write!(b'T', 226, size_of::<c_int>()),
        c_int
    );
}

/// An open TAP interface. Reads and writes never block.
#[derive(Debug)]
pub struct Tap {
    name: String,
    file: File,
}

impl Tap {
    /// Makes the interface `name` in the namespace of the calling thread. It must not exist.
    pub fn open(name: &str) -> Result<Self, KernelError> {
        if !is_valid_name(name) {
            return Err(KernelError::InterfaceName(name.to_owned()));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
        let file = options.open(TUN_DEVICE).map_err(KernelError::TunDevice)?;
        let mut request = interface_request(name, libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_TUN_EXCL);
        // SAFETY: TUNSETIFF reads and writes one `struct ifreq`; `request` is one and lives in this frame;
        // the pointer is to a mutable local. `file` stays open for the time of the call.
        let made = unsafe { ioctl::tun_set_iff(file.as_raw_fd(), &raw mut request) };
        made.map_err(|e| KernelError::Tap { name: name.to_owned(), source: e.into() })?;
        Ok(Self { name: name.to_owned(), file })
    }

    /// The interface's name at the time it was made.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells the kernel whether the port behind this twin has a link, so that routes and daemons react as
    /// they would to a pulled cable.
    pub fn set_carrier(&self, up: bool) -> io::Result<()> {
        let value = c_int::from(up);
        // SAFETY: TUNSETCARRIER reads one int; `value` lives in this frame for the time of the call.
        unsafe { ioctl::tun_set_carrier(self.file.as_raw_fd(), &raw const value) }?;
        Ok(())
    }

    /// Takes the next frame that the kernel sends. A frame longer than `buffer` is cut.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Hands one frame, given in pieces, to the kernel.
    pub fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        (&self.file).write_vectored(pieces).map(drop)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A name that the kernel takes for an interface and that cannot be mistaken for anything else in /proc/sys.
pub fn is_valid_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(['-', '.'])
        && !matches!(name, "lo" | "all" | "default")
}

fn interface_request(name: &str, flags: c_int) -> libc::ifreq {
    let mut ifr_name: [c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    for (slot, byte) in ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    // The flags are 16 bits in the kernel; IFF_TUN_EXCL is the top one.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "all flags used fit in 16 bits; the sign bit is a flag"
    )]
    let ifru_flags = flags as i16;
    libc::ifreq { ifr_name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_the_kernel_sees_them() {
        for bad in
            ["", "sixteen-letters-", "a/b", "a b", "lo", "all", "default", "..", ".", "a:1", "%d", "-a"]
        {
            assert!(!is_valid_name(bad), "{bad:?}");
            assert!(matches!(Tap::open(bad), Err(KernelError::InterfaceName(_))), "{bad:?}");
        }
        for good in ["edge0", "edge0.100", "fifteen-letters"] {
            assert!(is_valid_name(good), "{good:?}");
        }
    }
}
