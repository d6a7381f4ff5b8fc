//! Asking the kernel for all objects of a kind.

use std::io;

use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::super::error::KernelError;
use super::socket::{NetlinkSocket, Received};

/// Flag of linux/netlink.h: the table changed while it was dumped; entries may be missing.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The kinds of objects that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Links,
    Addresses,
    Neighbours(AddressFamily),
    Routes(AddressFamily),
}

/// All that the mirror wants, in an order in which each object comes after those that it refers to.
pub(crate) const ALL: [Kind; 6] = [
    Kind::Links,
    Kind::Addresses,
    Kind::Neighbours(AddressFamily::Inet),
    Kind::Neighbours(AddressFamily::Inet6),
    Kind::Routes(AddressFamily::Inet),
    Kind::Routes(AddressFamily::Inet6),
];

/// How a dump ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dumped {
    /// Messages that could not be read.
    pub(crate) unreadable: u64,
    /// The table changed meanwhile: objects may be missing. Try again.
    pub(crate) interrupted: bool,
}

/// Gives every object of `kind` to `take`. The socket must not be subscribed to any group.
pub(crate) async fn dump(
    socket: &mut NetlinkSocket,
    kind: Kind,
    take: &mut impl FnMut(RouteNetlinkMessage),
) -> Result<Dumped, KernelError> {
    let fail = |source| KernelError::Netlink { action: kind.action(), source };
    let mut dumped = Dumped::default();
    socket.drain();
    socket.send(&request(kind)).map_err(fail)?;
    let mut end = None;
    while end.is_none() {
        let receive = &mut |received| match received {
            Received::Message(message, flags) => {
                dumped.interrupted |= flags & NLM_F_DUMP_INTR != 0;
                take(message);
            }
            Received::Unreadable(_) | Received::NextHopObject(_) => dumped.unreadable += 1,
            Received::Done(error) | Received::Reply(error) => end = Some(error),
        };
        socket.receive(receive).await.map_err(fail)?;
    }
    match end.flatten() {
        None => Ok(dumped),
        Some(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Dumped { interrupted: true, ..dumped }),
        // The family is not in this kernel: then it has no entries.
        Some(e) if matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => Ok(dumped),
        Some(e) => Err(fail(e)),
    }
}

impl Kind {
    fn action(self) -> &'static str {
        match self {
            Self::Links => "list the interfaces",
            Self::Addresses => "list the addresses",
            Self::Neighbours(_) => "list the neighbours",
            Self::Routes(_) => "list the routes",
        }
    }
}

fn request(kind: Kind) -> Vec<u8> {
    let inner = match kind {
        Kind::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
        Kind::Addresses => RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        Kind::Neighbours(family) => {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            RouteNetlinkMessage::GetNeighbour(message)
        }
        Kind::Routes(family) => {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            RouteNetlinkMessage::GetRoute(message)
        }
    };
    serialize(inner, NLM_F_REQUEST | NLM_F_DUMP)
}

/// The bytes of one request.
pub(crate) fn serialize(inner: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut message = NetlinkMessage::from(inner);
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}
