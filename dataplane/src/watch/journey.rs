//! What is noted of one packet: where it came from, each decision, its bytes at four places, and its end.

use arrayvec::ArrayVec;

use crate::drop_reason::DropReason;
use crate::frame::Buffer;
use crate::ids::{AdjacencyId, InterfaceId, PortId, TunnelId, VrfId};
use crate::tables::Hop;

/// Most decisions noted of one packet: three rounds of look-ups and what is around them take sixteen.
pub const MAX_STEPS: usize = 20;

/// Where a packet came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// By a port's queue.
    Received {
        /// The port.
        port: PortId,
        /// The queue.
        queue: u16,
    },
    /// The kernel's twin sent it.
    Injected {
        /// The port that it leaves by.
        port: PortId,
    },
    /// Another worker handed it over, after it had received it.
    HandedIn {
        /// That worker.
        worker: u16,
    },
    /// An ICMP error that was made here.
    IcmpError,
    /// A health probe, made here.
    Probe,
    /// A piece of a packet that was cut here.
    #[default]
    Piece,
    /// A frame that had left the pipeline and waited for its port.
    Queued {
        /// The port.
        port: PortId,
    },
    /// A fragment that waited for the rest of its packet; its bytes are gone.
    Fragment,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Given to a port.
    Sent {
        /// The port.
        port: PortId,
    },
    /// Given to the kernel.
    Punted {
        /// By the twin of this interface.
        interface: InterfaceId,
    },
    /// Dropped.
    Dropped(DropReason),
    /// A fragment that waits, or has become part of another packet.
    Merged,
    /// The answer to a health probe: control has been told.
    ProbeAnswer,
    /// Handed to another worker.
    HandedOn {
        /// That worker.
        worker: u16,
    },
    /// Cut into pieces.
    Cut {
        /// How many.
        pieces: u8,
        /// Largest piece, bytes.
        mtu: u16,
    },
}

/// A TCP SYN's segment size before and after the clamp, bytes.
pub type MssChange = (u16, u16);

/// What a stage decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Whose frame it is.
    Classified {
        /// The interface.
        interface: InterfaceId,
        /// Its table.
        vrf: VrfId,
    },
    /// Looked up.
    LookedUp {
        /// The table.
        vrf: VrfId,
        /// The table that this one referred to.
        behind: Option<VrfId>,
        /// The destination; an IPv4 address in the low 32 bits.
        dst: u128,
        /// The destination is an IPv6 address.
        v6: bool,
        /// What it leads to.
        hop: Hop,
        /// A group's member, chosen by the packet's flow.
        of_group: bool,
    },
    /// A fragment, to be put together with the others.
    Reassembling,
    /// The last fragment came: from here on it is the whole packet.
    Reassembled,
    /// An ESP packet's association.
    Association {
        /// The tunnel that it is of.
        tunnel: TunnelId,
        /// Its number.
        spi: u32,
        /// The packet's number, as it is in the packet.
        sequence: u32,
    },
    /// Out of a tunnel, every check passed.
    CameOut {
        /// The tunnel.
        tunnel: TunnelId,
        /// Bytes inside.
        len: u16,
    },
    /// A GRE keepalive of the peer: what is inside goes back.
    KeepaliveAnswered,
    /// A ping of our address inside a tunnel: it is the reply now.
    PingAnswered,
    /// Another node of the fleet handed it over: what is inside, from here on.
    RescuedIn,
    /// To the node of the fleet that it belongs to.
    RescuedOut {
        /// That node's number.
        node: u16,
    },
    /// Out plain.
    Forwarded {
        /// To this next hop.
        adjacency: AdjacencyId,
        /// The clamp, if it is a SYN.
        mss: Option<MssChange>,
    },
    /// Into a tunnel.
    IntoTunnel {
        /// The tunnel.
        tunnel: TunnelId,
        /// The clamp, if it is a SYN.
        mss: Option<MssChange>,
    },
    /// GRE is around it.
    Encapsulated {
        /// To this next hop.
        adjacency: AdjacencyId,
        /// Bytes of the outer packet.
        len: u16,
    },
    /// ESP is around it.
    Sealed {
        /// To this next hop.
        adjacency: AdjacencyId,
        /// The association's number.
        spi: u32,
        /// The packet's number, as it is in the packet.
        sequence: u32,
        /// Bytes of the outer packet.
        len: u16,
    },
    /// Larger than what it has to go through.
    TooBig {
        /// Largest packet, bytes.
        mtu: u16,
        /// Into a tunnel.
        into_tunnel: bool,
    },
    /// No hop left.
    Expired,
    /// For the kernel.
    ForKernel,
}

/// A packet's bytes at one place, as many as there was room for.
#[derive(Debug, Default)]
pub struct Piece {
    room: Box<[u8]>,
    caught: usize,
    len: usize,
    at: u64,
}

impl Piece {
    fn with_room(room: usize) -> Self {
        Self { room: vec![0; room].into_boxed_slice(), caught: 0, len: 0, at: 0 }
    }

    /// The bytes that were kept; none where the session does not want them.
    pub fn bytes(&self) -> &[u8] {
        self.room.get(..self.caught).unwrap_or_default()
    }

    /// Bytes that the packet had.
    pub fn total_len(&self) -> usize {
        self.len
    }

    /// When, in cycles of the driver's clock.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether the packet came by here and was wanted.
    pub fn is_there(&self) -> bool {
        self.len != 0 && !self.room.is_empty()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.room.get_mut(..self.caught).unwrap_or_default()
    }

    /// Takes the packet but for its first `skip` bytes.
    pub(super) fn take<B: Buffer>(&mut self, packet: &B, skip: usize, now: u64) {
        self.len = packet.total_len().saturating_sub(skip);
        self.at = now;
        self.caught = 0;
        let mut skip = skip;
        for segment in packet.segments() {
            let bytes = segment.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(segment.len());
            let room = self.room.get_mut(self.caught..).unwrap_or_default();
            let count = bytes.len().min(room.len());
            if let (Some(to), Some(from)) = (room.get_mut(..count), bytes.get(..count)) {
                to.copy_from_slice(from);
            }
            self.caught += count;
        }
    }

    fn clear(&mut self) {
        (self.caught, self.len) = (0, 0);
    }
}

/// One packet's way through one worker.
#[derive(Debug)]
pub struct Journey {
    /// The worker.
    pub worker: u16,
    /// Counts the packets that this worker has watched for the session.
    pub number: u64,
    /// When it came, in cycles of the driver's clock.
    pub begun: u64,
    /// When it ended.
    pub ended: u64,
    /// Where it came from.
    pub origin: Origin,
    /// What became of it.
    pub end: End,
    /// The tunnel that it came out of, or would have.
    pub tunnel_in: Option<TunnelId>,
    /// The tunnel that it was on its way into.
    pub tunnel_out: Option<TunnelId>,
    /// What each stage decided, in order.
    pub steps: ArrayVec<Step, MAX_STEPS>,
    /// As it came: a frame if it was received, injected or queued, else from its IP header on.
    pub arrived: Piece,
    /// As it came out of a tunnel, from its IP header on.
    pub came_out: Piece,
    /// As it went into a tunnel, after what the tunnel changed in it.
    pub went_in: Piece,
    /// The frame that left.
    pub left: Piece,
}

impl Journey {
    /// With room for so many bytes of frames, and of packets in tunnels.
    pub(super) fn with_room(outer: usize, inner: usize) -> Self {
        Self {
            worker: 0,
            number: 0,
            begun: 0,
            ended: 0,
            origin: Origin::default(),
            end: End::Merged,
            tunnel_in: None,
            tunnel_out: None,
            steps: ArrayVec::new(),
            arrived: Piece::with_room(outer),
            came_out: Piece::with_room(inner),
            went_in: Piece::with_room(inner),
            left: Piece::with_room(outer),
        }
    }

    /// Forgets the packet before.
    pub(super) fn begin(&mut self, worker: u16, number: u64, origin: Origin, now: u64) {
        (self.worker, self.number, self.origin) = (worker, number, origin);
        (self.begun, self.ended) = (now, now);
        self.end = End::Merged;
        (self.tunnel_in, self.tunnel_out) = (None, None);
        self.steps.clear();
        for piece in [&mut self.arrived, &mut self.came_out, &mut self.went_in, &mut self.left] {
            piece.clear();
        }
    }

    /// The first frames are the ones to be told of; a packet that goes round in circles says the same again.
    pub(super) fn note(&mut self, step: Step) {
        match step {
            Step::Association { tunnel, .. } | Step::CameOut { tunnel, .. } => self.tunnel_in = Some(tunnel),
            Step::IntoTunnel { tunnel, .. } => self.tunnel_out = Some(tunnel),
            _ => {}
        }
        let _ = self.steps.try_push(step);
    }

    /// Whether the packet had to do with this tunnel.
    pub fn concerns(&self, tunnel: TunnelId) -> bool {
        self.tunnel_in == Some(tunnel) || self.tunnel_out == Some(tunnel)
    }
}
