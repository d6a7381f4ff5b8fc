//! The link of a port that is a kernel interface.
//!
//! DPDK's af_packet and af_xdp drivers report the link as up for ever. The kernel knows better, so it is
//! asked, by a socket made when the port was attached: the interface may be in another network namespace
//! than whoever asks later.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A kernel interface, by name, in the namespace of the thread that made this.
#[derive(Debug)]
pub(super) struct KernelLink {
    socket: OwnedFd,
    name: [u8; libc::IFNAMSIZ],
}

impl KernelLink {
    /// For a device string of the drivers concerned.
    pub(super) fn of_device(device: &str) -> Option<Self> {
        let mut parts = device.split(',');
        let name = parts.next()?;
        if !name.starts_with("net_af_packet") && !name.starts_with("net_af_xdp") {
            return None;
        }
        Self::new(parts.find_map(|part| part.strip_prefix("iface="))?)
    }

    fn new(interface: &str) -> Option<Self> {
        let mut name = [0; libc::IFNAMSIZ];
        // One byte is for the NUL.
        name[..libc::IFNAMSIZ - 1].get_mut(..interface.len())?.copy_from_slice(interface.as_bytes());
        // SAFETY: makes a descriptor, or returns -1.
        let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        // SAFETY: a fresh descriptor that nobody else has.
        (socket >= 0).then(|| Self { socket: unsafe { OwnedFd::from_raw_fd(socket) }, name })
    }

    /// Whether the interface is up and has a carrier. An interface that is gone has none.
    pub(super) fn is_up(&self) -> bool {
        // SAFETY: all zeros is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name) {
            *to = from.cast_signed();
        }
        // SAFETY: SIOCGIFFLAGS reads the name and writes the flags of the ifreq it is given.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) };
        // SAFETY: the call filled the union's flags; before it they were zero.
        let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
        let wanted = libc::IFF_UP | libc::IFF_RUNNING;
        result == 0 && flags & wanted == wanted
    }
}
