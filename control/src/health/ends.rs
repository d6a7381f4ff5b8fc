//! The addresses of a tunnel's probes: ours, where answers come to, and the target.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{HealthConfig, HealthDirection, TunnelConfig};

/// Both ends of a probe, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Ours: inside the tunnel, or the endpoint.
    pub ours: IpAddr,
    /// Who answers.
    pub target: IpAddr,
}

/// Why a tunnel cannot be probed as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEnds {
    /// Nothing tells whom to probe.
    #[error(
        "there is nobody to probe: the tunnel has no address whose other end could be told, and any remote"
    )]
    NoTarget,
    /// Answers would come to an address that we do not have.
    #[error("answers through the tunnel need an address of ours inside it, of the family of {0}")]
    NoAddress(IpAddr),
    /// The endpoint is of another family.
    #[error("answers by the Internet come to the endpoint {endpoint}, and {target} is of another family")]
    Family {
        /// Our endpoint.
        endpoint: IpAddr,
        /// Who is to answer.
        target: IpAddr,
    },
    /// We would answer ourselves.
    #[error("{0} is our own address")]
    Ours(IpAddr),
}

impl NoEnds {
    /// What to write instead.
    pub fn fix(self) -> &'static str {
        match self {
            Self::NoTarget => "add \"target: ADDRESS\", of a host behind the tunnel that answers pings",
            Self::NoAddress(_) => {
                "add such an address to the tunnel's \"address\", or write direction: unidirectional"
            }
            Self::Family { .. } => "write a target of the endpoint's family, or direction: bidirectional",
            Self::Ours(_) => "write the address of the other end",
        }
    }
}

/// The ends of a tunnel's probes; `endpoint` is the address that the tunnel ends on.
///
/// # Errors
/// When the tunnel cannot be probed as it is configured.
pub fn ends(tunnel: &TunnelConfig, health: &HealthConfig, endpoint: IpAddr) -> Result<Ends, NoEnds> {
    let ends = match health.direction {
        HealthDirection::Bidirectional => {
            let target = inner_target(tunnel, health).ok_or(NoEnds::NoTarget)?;
            let of_family = |net: &&IpNet| net.addr().is_ipv4() == target.is_ipv4();
            let on_link = tunnel.address.iter().find(|net| net.contains(&target));
            let ours = on_link.or_else(|| tunnel.address.iter().find(of_family));
            Ends { ours: ours.ok_or(NoEnds::NoAddress(target))?.addr(), target }
        }
        HealthDirection::Unidirectional => {
            let target = health.target.or_else(|| tunnel.remote.address()).ok_or(NoEnds::NoTarget)?;
            if target.is_ipv4() != endpoint.is_ipv4() {
                return Err(NoEnds::Family { endpoint, target });
            }
            Ends { ours: endpoint, target }
        }
    };
    if ends.target == endpoint || tunnel.address.iter().any(|net| net.addr() == ends.target) {
        return Err(NoEnds::Ours(ends.target));
    }
    Ok(ends)
}

/// Whose answers come out of the tunnel: a source that it has to accept.
pub fn target_inside(tunnel: &TunnelConfig) -> Option<IpAddr> {
    let health = tunnel.health.as_ref();
    let health = health.filter(|health| health.direction == HealthDirection::Bidirectional)?;
    inner_target(tunnel, health)
}

/// The other end of the tunnel's link, unless another target is configured; else the customer's router.
fn inner_target(tunnel: &TunnelConfig, health: &HealthConfig) -> Option<IpAddr> {
    health.target.or_else(|| far_end(tunnel)).or_else(|| tunnel.remote.address())
}

/// The other address of the first link with two.
fn far_end(tunnel: &TunnelConfig) -> Option<IpAddr> {
    tunnel.address.iter().find_map(|net| match net {
        IpNet::V4(net) => {
            let ours = u32::from(net.addr());
            other_host(net.prefix_len(), 32, u128::from(ours))
                .map(|flip| IpAddr::V4((ours ^ flip as u32).into()))
        }
        IpNet::V6(net) => {
            let ours = u128::from(net.addr());
            other_host(net.prefix_len(), 128, ours).map(|flip| IpAddr::V6((ours ^ flip).into()))
        }
    })
}

/// The bits that lead from one host of a link to the other: a /31 (RFC 3021) or a /127 (RFC 6164) has two addresses, a /30
/// or a /126 four, of which the middle ones are hosts.
fn other_host(prefix_len: u8, of: u8, ours: u128) -> Option<u128> {
    match (of - prefix_len, ours & 3) {
        (1, _) => Some(1),
        (2, 1 | 2) => Some(3),
        _ => None,
    }
}
