//! Why a packet went nowhere. One list is the enum, the counter's index, the stable name and the
//! help text; a reason that is not here cannot be returned, and every returned one is counted.

macro_rules! drop_reasons {
    ($($variant:ident, $name:literal, $help:literal;)*) => {
        /// The end of a packet that was neither sent nor punted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $help] $variant,)*
        }

        impl DropReason {
            /// Every reason, in counter order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name used by `show drops` and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means and what to do, in words for an operator.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

drop_reasons! {
    FrameTruncated, "frame_truncated", "The frame is shorter than its Ethernet, VLAN or IP header says. Look for a broken sender or a too small MTU on the switch.";
    NotOurMac, "not_our_mac", "A unicast frame for another station: the switch floods, or a neighbour has a stale entry for this address.";
    VlanUnknown, "vlan_unknown", "The frame carries a VLAN that this port has no entry for. Add it under the port's vlans, or remove it from the switch's trunk.";
    Ipv4Header, "ipv4_header", "Bad IPv4 version, header length or total length.";
    Ipv4Checksum, "ipv4_checksum", "The IPv4 header checksum is wrong.";
    Ipv6Header, "ipv6_header", "Bad IPv6 version or payload length.";
    HeaderSplit, "header_split", "The headers span several buffers and could not be joined. Raise memory.mbuf_size.";
    SourceInvalid, "source_invalid", "The source address is multicast, loopback or unspecified and may not be forwarded (RFC 1812 5.3.7).";
    TtlExpired, "ttl_expired", "TTL or hop limit ran out; the sender got a time exceeded message within the ICMP budget. Traceroute does this on purpose, a routing loop by accident.";
    NoRoute, "no_route", "No route to the destination in the table of this tenant (or of the underlay). See `penstock show routes`.";
    Blackhole, "blackhole", "A blackhole route matched.";
    Unreachable, "unreachable", "An unreachable or prohibit route matched; the sender was told within the ICMP budget.";
    NeighborUnresolved, "neighbor_unresolved", "The next hop's MAC address is not known yet and the budget for sending through the kernel is used up. See `penstock show neighbors`.";
    TooBig, "too_big", "Larger than the tunnel's or link's MTU and not allowed to be fragmented; the sender got fragmentation needed or packet too big within the ICMP budget.";
    FragmentFailed, "fragment_failed", "Fragmentation failed: no buffers left, or more than 20 fragments would be needed.";
    GreTruncated, "gre_truncated", "The packet ends inside the GRE header.";
    GreVersion, "gre_version", "GRE version is not 0 (version 1 is PPTP).";
    GreReserved, "gre_reserved", "A reserved GRE flag is set (RFC 2784 2.3: such packets must be discarded). Old RFC 1701 routing is not supported.";
    GreChecksum, "gre_checksum", "The GRE checksum is present and wrong: damage on the way.";
    GreTunnelUnknown, "gre_tunnel_unknown", "GRE to one of our endpoints from an address that no tunnel has as its remote.";
    GreKeyMissing, "gre_key_missing", "The tunnel is configured with a key and the packet has none.";
    GreKeyWrong, "gre_key_wrong", "The packet's GRE key is not the tunnel's key, or it has one where the tunnel has none.";
    GreProtocol, "gre_protocol", "The GRE payload is neither IPv4 nor IPv6.";
    EcnCongestion, "ecn_congestion", "The tunnel's path marked congestion on a packet whose sender does not speak ECN (RFC 6040 4.2).";
    TunnelLoop, "tunnel_loop", "The inner packet is addressed to the tunnel's own far endpoint: a routing loop at the customer's router.";
    TunnelNested, "tunnel_nested", "A tunnel inside a tunnel, addressed to one of our endpoints.";
    TunnelAddress, "tunnel_address", "Addressed to one of our own addresses from inside a tunnel, and not a ping: nothing else is served there.";
    TunnelGone, "tunnel_gone", "The tunnel was removed while the packet was on its way through the tables.";
    TunnelDown, "tunnel_down", "No route to the tunnel's remote address. See `penstock show tunnels`.";
    SourceFilter, "source_filter", "The inner source address is outside the prefixes that this tunnel may send from. Add the prefix to the tenant, or set the tunnel's source_filter.";
    RouteLoop, "route_loop", "The tables refer to each other in a circle.";
    ReassemblyFailed, "reassembly_failed", "Outer fragments that overlap, are malformed, exceed the limit of 8 pieces, or found the table full.";
    ReassemblyTimeout, "reassembly_timeout", "Outer fragments whose missing pieces did not come within a second.";
    PuntRate, "punt_rate", "More packets for the kernel (ping, ARP, BGP, ..., but IKE) than the punt budget allows.";
    IkeRate, "ike_rate", "More IKE than ike.rate allows, in its sender's share: half is for tunnels' remotes, a quarter for negotiations under way, a quarter for first messages.";
    IkeSourceRate, "ike_source_rate", "More IKE from one source than ike.source_rate allows.";
    PuntQueueFull, "punt_queue_full", "A queue to the kernel twin is full: the control core is busy or the twin is down.";
    TxQueueFull, "tx_queue_full", "The port's transmit queue stayed full: the link is slower than what comes in.";
    TxPortMissing, "tx_port_missing", "The route leaves by a port on which this worker has no transmit queue.";
    NoHeadroom, "no_headroom", "No room in front of the packet for the outer header.";
    GreKeepalive, "gre_keepalive", "A GRE keepalive reply to one of ours: taken note of, not forwarded.";
    EspTruncated, "esp_truncated", "ESP packet too short for its headers and ICV, or its length does not fit the cipher's blocks.";
    EspSaUnknown, "esp_sa_unknown", "ESP with an SPI that no security association at this endpoint has: the peer still uses one that ended here. See `penstock show sas`.";
    EspSpiReserved, "esp_spi_reserved", "ESP with a reserved SPI, 0 to 255 (RFC 4303 2.1).";
    EspSplit, "esp_split", "The packet spans several buffers and does not fit into one, which encryption needs. Raise memory.mbuf_size.";
    EspReplay, "esp_replay", "A sequence number that was received before: a replay, or the network duplicates packets.";
    EspTooOld, "esp_too_old", "A sequence number left of the replay window: a replay, or packets are reordered further than the window reaches. Widen it.";
    EspAuth, "esp_auth", "The integrity check failed: damage, forgery, or the ends have different keys.";
    EspPadding, "esp_padding", "The padding of a decrypted packet is wrong (RFC 4303 2.4): the peer's implementation is broken.";
    EspSelector, "esp_selector", "The inner packet is outside the traffic selectors of the security association (RFC 4301 5.2). Widen the selectors or mend the routes.";
    EspNextHeader, "esp_next_header", "The ESP payload is neither IPv4 nor IPv6: transport mode or another protocol, which is not supported.";
    EspDummy, "esp_dummy", "A dummy packet, which the peer sends to hide its traffic (RFC 4303 2.6): nothing is wrong.";
    EspNoSa, "esp_no_sa", "The tunnel has no security association to send under yet, or no more. See `penstock show sas`.";
    EspSequence, "esp_sequence", "The security association has used up its sequence numbers and stopped: a rekey did not come in time.";
    EspLifetime, "esp_lifetime", "The security association has reached its hard lifetime, in time, bytes or packets, and stopped: a rekey did not come in time. See `penstock show sas` and the log.";
    EspNoLease, "esp_no_lease", "This worker has no sender ID, without which nothing may be encrypted. See `penstock show crypto` and the log.";
    EspIvExhausted, "esp_iv_exhausted", "The worker's sender ID has no initialization vectors left and no new one came. See `penstock show crypto` and the log.";
    NatTKeepalive, "natt_keepalive", "A NAT keepalive of a customer's router (RFC 3948 2.3): nothing is wrong.";
    NoTailroom, "no_tailroom", "No room behind the packet for the ESP trailer. Raise memory.mbuf_size.";
    HandoffFull, "handoff_full", "The queue to another worker, which shares in a tunnel's load, is full.";
    RescueUnreachable, "rescue_unreachable", "The packet belongs to another node of the fleet, and there is no route to that node's data address. See `penstock show fleet`.";
    RescueRate, "rescue_rate", "More ESP of other nodes of the fleet than the budget for handing it on: customers' packets come by the wrong node for long, or somebody invents SPIs.";
    RescueSource, "rescue_source", "A packet to the fleet's port from an address that is no live node's: a scan, or a node that the store does not show. See `penstock show fleet`.";
    RescueToken, "rescue_token", "A packet from a node's address without the fleet's token: forged, or the nodes have different fleet keys.";
    RescueMalformed, "rescue_malformed", "A packet from a node's address that is not what nodes send each other: forged, or the nodes' versions differ.";
    RescueEndpoint, "rescue_endpoint", "A node handed over a packet to an address that is no endpoint here: the nodes' configurations differ.";
    ProbeQueueFull, "probe_queue_full", "The answer to a health probe, and the queue to control is full: the control core is busy. The probe counts as lost.";
    TooBigNotice, "too_big_notice", "ICMP fragmentation needed or packet too big about one of our outer packets: control was told, and lowers the tunnel's MTU where it is smaller.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_reason_explains_itself() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
        assert!(DropReason::ALL.iter().all(|r| r.help().len() > 20));
        assert!(DropReason::ALL.iter().enumerate().all(|(i, r)| *r as usize == i));
    }
}
