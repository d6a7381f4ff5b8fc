//! Inner sources that may come out of a tunnel.

use std::net::IpAddr;

use super::fib::Prefix4;
use super::snapshot::RouteTable;

/// Accepted prefixes. Most packets come from the widest one, which one comparison tells.
#[derive(Clone, Debug)]
pub struct SourceFilter {
    routes: RouteTable,
    widest_v4: u32,
    /// With a network that no address has under it, there is none.
    widest_mask: u32,
}

impl Default for SourceFilter {
    /// Accepts nothing.
    fn default() -> Self {
        Self::new(RouteTable::default(), None)
    }
}

impl SourceFilter {
    /// Accepts what `routes` has a value other than 0 for. All of `widest`, if given, must be accepted by them.
    pub fn new(routes: RouteTable, widest: Option<Prefix4>) -> Self {
        let (widest_v4, widest_mask) = widest.map_or((1, 0), |prefix| (prefix.addr(), mask(prefix.len())));
        Self { routes, widest_v4, widest_mask }
    }

    /// Whether a source is accepted.
    pub fn accepts(&self, src: IpAddr) -> bool {
        match src {
            IpAddr::V4(src) => self.accepts_v4(src.into()),
            IpAddr::V6(src) => self.accepts_v6(src.into()),
        }
    }

    /// Whether a source is accepted.
    #[inline(always)]
    pub(crate) fn accepts_v4(&self, src: u32) -> bool {
        src & self.widest_mask == self.widest_v4 || self.routes.v4.lookup(src) != 0
    }

    /// Whether a source is accepted.
    #[inline(always)]
    pub(crate) fn accepts_v6(&self, src: u128) -> bool {
        self.routes.v6.lookup(src) != 0
    }
}

fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_prefix_is_a_short_cut_and_nothing_more() {
        let prefix = |addr, len| Some(Prefix4::new(addr, len).unwrap());
        let filter = |widest| SourceFilter::new(RouteTable::default(), widest);
        assert!(!filter(None).accepts_v4(0) && !filter(None).accepts_v4(1));
        let ten = filter(prefix(0x0a00_0000, 8));
        assert!(ten.accepts_v4(0x0aff_ffff) && !ten.accepts_v4(0x0b00_0000));
        assert!(filter(prefix(0, 0)).accepts_v4(0xffff_ffff));
        let one = filter(prefix(0x0a00_0001, 32));
        assert!(one.accepts_v4(0x0a00_0001) && !one.accepts_v4(0x0a00_0000));
        assert!(!ten.accepts_v6(0));
    }
}
