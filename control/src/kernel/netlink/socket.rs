//! A netlink socket for async tasks: open, subscribe, send, receive.
//!
//! This is one of the leaf modules with unsafe code: one call, which vouches for a descriptor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkDeserializable, NetlinkHeader, NlasIterator};
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::io::unix::AsyncFd;

use super::super::error::KernelError;

/// Bytes of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// No netlink datagram is larger: the kernel fills dumps up to 32 KiB.
const DATAGRAM_MAX_BYTES: usize = 64 * 1024;

const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const NHMSG_LEN: usize = 8;
const NHA_ID: u16 = 1;
/// Datagrams that are thrown away at once, at most. More than fit in any receive buffer.
const DRAIN_MAX: usize = 1 << 20;

/// What the header of a message says, and the message if it could be read.
pub(crate) enum Received {
    /// A message about an object, with the header's flags.
    Message(RouteNetlinkMessage, u16),
    /// An acknowledgement (`None`) or a refusal.
    Reply(Option<io::Error>),
    /// The end of a dump, with its error if it ended early.
    Done(Option<io::Error>),
    /// News of a next-hop object; its number.
    NextHopObject(u32),
    /// A message that cannot be read; its type.
    Unreadable(u16),
}

/// An open rtnetlink socket, non-blocking.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    fd: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

impl NetlinkSocket {
    /// Opens a socket in the namespace of the calling thread, with `receive_bytes` of buffer (the kernel may
    /// refuse more than `net.core.rmem_max` to a process without CAP_NET_ADMIN), subscribed to `groups`.
    /// Needs a tokio runtime to be entered.
    pub(crate) fn open(groups: &[MulticastGroup], receive_bytes: usize) -> Result<Self, KernelError> {
        let open = || -> io::Result<AsyncFd<OwnedFd>> {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
            if setsockopt(&fd, sockopt::RcvBufForce, &receive_bytes).is_err() {
                setsockopt(&fd, sockopt::RcvBuf, &receive_bytes)?;
            }
            let mask = groups.iter().fold(0, |mask, &group| mask | 1_u32 << (group as u32 - 1));
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, mask))?;
            // SAFETY: `register` requires that the descriptor is open, and is not registered elsewhere, for
            // as long as the `AsyncFd` lives. It is an `OwnedFd` made above, which moves into the `AsyncFd`
            // and out never.
            Ok(unsafe { AsyncFd::register(fd) }?)
        };
        let fd = open().map_err(|source| KernelError::Netlink { action: "open a socket", source })?;
        Ok(Self { fd, buffer: vec![0; DATAGRAM_MAX_BYTES] })
    }

    /// Sends one finished message to the kernel.
    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        // A netlink send is taken up by the kernel at once and does not wait for room.
        send(self.fd.get_ref().as_raw_fd(), message, MsgFlags::empty())?;
        Ok(())
    }

    /// Waits for the next datagram and gives its messages to `take`. `ENOBUFS` means that events were lost.
    /// Cancel-safe: a datagram is either given to `take` whole or still in the socket.
    pub(crate) async fn receive(&mut self, take: &mut impl FnMut(Received)) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            let buffer = &mut self.buffer;
            let flags = MsgFlags::MSG_TRUNC;
            match ready.try_io(|fd| Ok(recv(fd.get_ref().as_raw_fd(), buffer, flags)?)) {
                Ok(received) => {
                    let length = received?;
                    let datagram = self
                        .buffer
                        .get(..length)
                        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOBUFS))?;
                    split(datagram, take);
                    return Ok(());
                }
                Err(_would_block) => {}
            }
        }
    }

    /// Throws away all that waits in the socket and returns the number of refusals in it.
    pub(crate) fn drain(&mut self) -> usize {
        let mut refused = 0;
        let count = &mut |received| refused += usize::from(matches!(received, Received::Reply(Some(_))));
        for _ in 0..DRAIN_MAX {
            match recv(self.fd.get_ref().as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => split(self.buffer.get(..length).unwrap_or_default(), count),
                // What was lost has been told; what is left in the queue comes next.
                Err(Errno::ENOBUFS) => {}
                Err(_) => break,
            }
        }
        refused
    }
}

/// Takes a datagram apart. A message whose length makes no sense ends it.
pub(crate) fn split(mut datagram: &[u8], take: &mut impl FnMut(Received)) {
    while let Some((header, rest)) = datagram.split_at_checked(HEADER_LEN) {
        let length = u32_at(header, 0) as usize;
        let (kind, flags) = (u16_at(header, 4), u16_at(header, 6));
        let Some(payload) = length.checked_sub(HEADER_LEN).and_then(|n| rest.get(..n)) else { return };
        take(read(kind, flags, payload));
        // Messages start at multiples of four bytes (NLMSG_ALIGN).
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn read(kind: u16, flags: u16, payload: &[u8]) -> Received {
    // linux/netlink.h: NLMSG_ERROR and NLMSG_DONE start with a negative errno, or 0. An empty NLMSG_DONE is
    // good.
    let error = || match i32::from_ne_bytes(payload.first_chunk().copied().unwrap_or_default()) {
        0 => None,
        code => Some(io::Error::from_raw_os_error(code.saturating_neg())),
    };
    if i32::from(kind) == libc::NLMSG_ERROR {
        return Received::Reply(error());
    }
    if i32::from(kind) == libc::NLMSG_DONE {
        return Received::Done(error());
    }
    // linux/nexthop.h. The library does not know these messages.
    if (RTM_NEWNEXTHOP..=RTM_DELNEXTHOP).contains(&kind) {
        return next_hop_object(payload).map_or(Received::Unreadable(kind), Received::NextHopObject);
    }
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    match RouteNetlinkMessage::deserialize(&header, payload) {
        Ok(message) => Received::Message(message, flags),
        Err(_) => Received::Unreadable(kind),
    }
}

/// Finds `NHA_ID` behind the `struct nhmsg`.
fn next_hop_object(payload: &[u8]) -> Option<u32> {
    let attributes = NlasIterator::new(payload.get(NHMSG_LEN..)?);
    attributes.flatten().find(|nla| nla.kind() == NHA_ID).map(|nla| u32_at(nla.value(), 0))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default())
}
