//! Nodes of a fleet, and what they send each other.

use penstock_dataplane::tables::fleet::{Node, Token, Tokens};

use super::*;

pub const PORT: u16 = 4790;
pub const TOKEN: [u8; 16] = *b"all nodes' token";
pub const OLD_TOKEN: [u8; 16] = *b"yesterday's one.";
/// The node that made the SPIs of all agreements, which begin with ten zeros.
pub const OWNER: u16 = 0;
/// Another one.
pub const OTHER: u16 = 5;

/// A node with data addresses of one family.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    pub number: u16,
    pub v6: bool,
}

impl Site {
    pub fn v4(number: u16) -> Self {
        Self { number, v6: false }
    }

    pub fn address(self) -> String {
        let last = 10 + self.number % 200;
        if self.v6 { format!("2001:db8:1::{last:x}") } else { format!("192.0.2.{last}") }
    }

    /// What it knows of these others, which are all reached by the core port.
    pub fn fleet(self, others: &[u16]) -> Fleet {
        let underlay = Hop::adjacency(AdjacencyId(1));
        let nodes = others.iter().map(|number| {
            let address = Self { number: *number, ..self }.address().parse().unwrap();
            (*number, Node { address, underlay })
        });
        self.fleet_of(nodes)
    }

    pub fn fleet_of(self, nodes: impl IntoIterator<Item = (u16, Node)>) -> Fleet {
        let tokens = Tokens { current: Token::new(TOKEN), other: Some(Token::new(OLD_TOKEN)) };
        Fleet::new(self.number, self.address().parse().unwrap(), PORT, tokens, nodes)
    }

    /// Makes a gateway this node.
    pub fn join(self, lab: &mut Lab, others: &[u16]) {
        let route = format!("{}/{}", self.address(), if self.v6 { 128 } else { 32 });
        let mine = [(route.as_str(), Hop::FLEET)];
        let (four, six) = if self.v6 { (&[][..], &mine[..]) } else { (&mine[..], &[][..]) };
        lab.change(|tables| {
            let routes = table(&[&INTERNET, four].concat(), &[&INTERNET6, six].concat());
            tables.set_vrf(VrfId::INTERNET, routes);
            tables.set_fleet(Some(self.fleet(others)));
        });
    }

    /// A datagram's payload from this node to another, as a frame there.
    pub fn sends(self, to: Self, payload: &[u8]) -> Vec<u8> {
        self.sends_to(to, PORT, payload)
    }

    pub fn sends_to(self, to: Self, port: u16, payload: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0xc1, 0x23];
        datagram.extend_from_slice(&port.to_be_bytes());
        datagram.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(payload);
        frame(&if self.v6 {
            ip6(17, 0, 64, &self.address(), &to.address(), &datagram)
        } else {
            Ip4 { flags: 0, ..Ip4::default() }.build(&self.address(), &to.address(), &datagram)
        })
    }
}

/// What is in front of a packet that one node hands to another.
pub fn rescue(token: &[u8; 16], packet: &[u8]) -> Vec<u8> {
    [b"PSTK\x01\x01\0\0", &token[..], packet].concat()
}
