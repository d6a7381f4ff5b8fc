//! The fleet as a worker sees it: who the other nodes are, how to reach them, and what shows that a packet comes from
//! one of them.
//!
//! A node's number is in the first bits of every SPI that it makes: of ESP, and of IKE.

use std::net::IpAddr;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

use super::hop::Hop;
use crate::wire::rescue::TOKEN_LEN;

/// Bits of a node's number, at the front of an SPI.
pub const NUMBER_BITS: u32 = 10;
/// How many numbers there are.
pub const NUMBERS: usize = 1 << NUMBER_BITS;

/// What all nodes of a fleet know and nobody else. Wiped when dropped; never shown.
#[derive(Clone)]
pub struct Token([u8; TOKEN_LEN]);

impl Token {
    /// A token of these bytes.
    pub const fn new(bytes: [u8; TOKEN_LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> [u8; TOKEN_LEN] {
        self.0
    }

    fn is(&self, bytes: &[u8; TOKEN_LEN]) -> Choice {
        self.0.ct_eq(bytes)
    }
}

impl PartialEq for Token {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0).into()
    }
}

impl Eq for Token {}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The tokens in use: one, or two while the fleet's key is being changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Sent, and accepted.
    pub current: Token,
    /// Accepted: the one before, or the next.
    pub other: Option<Token>,
}

/// Another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its data address.
    pub address: IpAddr,
    /// The way there: an adjacency, a group of adjacencies, or no route.
    pub underlay: Hop,
}

/// The nodes that live, and what this one needs to exchange packets with them.
#[derive(Clone, Debug)]
pub struct Fleet {
    number: u16,
    address: IpAddr,
    port: u16,
    tokens: Tokens,
    nodes: Box<[Option<Node>]>,
    /// Data addresses in order, and whose they are.
    by_address: Box<[(IpAddr, u16)]>,
}

impl Fleet {
    /// The node with `number` of a fleet, reached at `address` and UDP port `port`. `nodes` are those that live, by
    /// number; this one, and numbers beyond [`NUMBERS`], are left out.
    pub fn new(
        number: u16,
        address: IpAddr,
        port: u16,
        tokens: Tokens,
        nodes: impl IntoIterator<Item = (u16, Node)>,
    ) -> Self {
        let mut slots = vec![None; NUMBERS];
        let mut by_address = Vec::new();
        for (other, node) in nodes.into_iter().filter(|(other, _)| *other != number) {
            if let Some(slot) = slots.get_mut(usize::from(other)) {
                *slot = Some(node);
                by_address.push((node.address, other));
            }
        }
        by_address.sort_unstable();
        Self { number, address, port, tokens, nodes: slots.into(), by_address: by_address.into() }
    }

    /// This node's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// This node's data address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The UDP port of packets from node to node.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Another node that lives.
    pub fn node(&self, number: u16) -> Option<&Node> {
        self.nodes.get(usize::from(number))?.as_ref()
    }

    /// The other node that made an ESP SPI, if it lives.
    pub(crate) fn owner_of_esp(&self, spi: u32) -> Option<u16> {
        self.other((spi >> (u32::BITS - NUMBER_BITS)) as u16)
    }

    /// The other node that made an IKE SPI, if it lives.
    pub(crate) fn owner_of_ike(&self, spi: u64) -> Option<u16> {
        self.other((spi >> (u64::BITS - NUMBER_BITS)) as u16)
    }

    fn other(&self, number: u16) -> Option<u16> {
        self.node(number).map(|_| number)
    }

    /// The node that has this data address.
    pub(crate) fn at(&self, address: IpAddr) -> Option<u16> {
        let place = self.by_address.binary_search_by_key(&address, |(address, _)| *address).ok()?;
        self.by_address.get(place).map(|(_, number)| *number)
    }

    pub(crate) fn current_token(&self) -> [u8; TOKEN_LEN] {
        self.tokens.current.bytes()
    }

    /// Whether these bytes are one of the fleet's tokens; in constant time.
    pub(crate) fn accepts(&self, token: &[u8; TOKEN_LEN]) -> bool {
        let other = self.tokens.other.as_ref().map_or(Choice::from(0), |other| other.is(token));
        (self.tokens.current.is(token) | other).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AdjacencyId;

    fn fleet(nodes: &[(u16, &str)]) -> Fleet {
        let node = |address: &&str| Node {
            address: address.parse().unwrap(),
            underlay: Hop::adjacency(AdjacencyId(1)),
        };
        let tokens = Tokens { current: Token::new([1; 16]), other: Some(Token::new([2; 16])) };
        let nodes = nodes.iter().map(|(number, address)| (*number, node(address)));
        Fleet::new(5, "192.0.2.5".parse().unwrap(), 4790, tokens, nodes)
    }

    #[test]
    fn owners_are_others_that_live() {
        let fleet = fleet(&[(0, "192.0.2.9"), (5, "192.0.2.5"), (1023, "192.0.2.8"), (1024, "192.0.2.7")]);
        assert_eq!(fleet.owner_of_esp(0x0000_1001), Some(0));
        assert_eq!(fleet.owner_of_esp(0x003f_ffff), Some(0));
        assert_eq!(fleet.owner_of_esp(0x0040_0000), None, "no such node");
        assert_eq!(fleet.owner_of_esp(5 << 22), None, "this one");
        assert_eq!(fleet.owner_of_esp(u32::MAX), Some(1023));
        assert_eq!(fleet.owner_of_ike(0xffc0_0000_0000_0000), Some(1023));
        assert_eq!(fleet.owner_of_ike(0x003f_ffff_ffff_ffff), Some(0));
        assert_eq!(fleet.owner_of_ike(5 << 54), None);
        let at = |address: &str| fleet.at(address.parse().unwrap());
        assert_eq!(["192.0.2.9", "192.0.2.8"].map(at), [Some(0), Some(1023)]);
        assert_eq!(["192.0.2.5", "192.0.2.7", "192.0.2.6", "::1"].map(at), [None; 4]);
    }

    #[test]
    fn tokens_are_compared_whole_and_never_shown() {
        let fleet = fleet(&[]);
        assert!(fleet.accepts(&[1; 16]) && fleet.accepts(&[2; 16]) && !fleet.accepts(&[3; 16]));
        for at in 0..16 {
            let mut token = [1; 16];
            token[at] ^= 0x80;
            assert!(!fleet.accepts(&token));
        }
        assert!(!format!("{fleet:?}").contains("1, 1"));
        assert_eq!(format!("{:?}", Token::new([9; 16])), "Token(..)");
    }
}
