//! Index newtypes. All are dense slot numbers given out by control; none is ever a wire value.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $repr);

        impl $name {
            /// The slot this id names.
            #[inline(always)]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A DPDK port, in the order of the configuration.
    PortId, u16);
id!(
    /// A layer 3 interface: a port, or one VLAN of a port.
    InterfaceId, u16);
id!(
    /// A routing table. 0 is the underlay ("internet"), the others belong to tenants.
    VrfId, u16);
id!(
    /// A tunnel.
    TunnelId, u32);
id!(
    /// A prebuilt layer 2 rewrite.
    AdjacencyId, u32);
id!(
    /// A set of equal next hops.
    GroupId, u32);
id!(
    /// One of our anycast addresses that tunnels end on.
    EndpointId, u16);
id!(
    /// A list of prefixes that a tunnel accepts as inner sources.
    FilterId, u32);

impl EndpointId {
    /// Our data address in a fleet: no endpoint has this number, so no tunnel and no association is found there.
    pub const FLEET: Self = Self(u16::MAX);
}

impl VrfId {
    /// The underlay's table.
    pub const INTERNET: Self = Self(0);
}
