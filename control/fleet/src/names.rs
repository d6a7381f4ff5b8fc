//! Names that operators give, and the names of keys in the store, below the fleet's prefix.
//!
//! Each record has one name and each name is of one kind of record: what is parsed is written in the same way again,
//! and everything else in the store is none of ours.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// What the names of all nodes begin with.
pub const NODES: &str = "nodes/";
/// What the names of all numbers of nodes begin with.
pub const NUMBERS: &str = "numbers/";
/// What the names of all security associations begin with.
pub const SAS: &str = "sas/";
/// What the names of all tenants begin with.
pub const TENANTS: &str = "tenants/";
/// What the names of all pre-shared keys begin with.
pub const PSKS: &str = "psks/";
/// What the names of all path MTUs begin with.
pub const PATH_MTUS: &str = "pmtu/";

/// A name that the operator gave: 1 to 63 letters, digits, `-` and `_`, the first one a letter or digit. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name, if the text can be one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        fits.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The number of a node, which its SPIs carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeNumber(pub u16);

impl NodeNumber {
    /// What the names of this node's security associations begin with.
    pub fn sas(self) -> String {
        format!("{SAS}{self}/")
    }
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which way an SA's packets go, as nodes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the peer. The owner chose the SPI.
    Inbound,
    /// To the peer, which chose the SPI: two tunnels may have the same.
    Outbound,
}

impl Direction {
    const fn letter(self) -> &'static str {
        match self {
            Self::Inbound => "i",
            Self::Outbound => "o",
        }
    }
}

/// A tunnel: its tenant's name, and its own.
pub type TunnelName = (Name, Name);

fn tunnel_name(tenant: &str, tunnel: &str) -> Option<TunnelName> {
    Some((Name::new(tenant)?, Name::new(tunnel)?))
}

/// A security association, of all nodes' and tunnels'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SaName {
    /// The node that negotiated it.
    pub owner: NodeNumber,
    /// Whose packets it carries.
    pub tunnel: TunnelName,
    /// Which way.
    pub direction: Direction,
    /// Its SPI.
    pub spi: u32,
}

impl fmt::Display for SaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, tunnel: (tenant, tunnel), direction, spi } = self;
        write!(f, "{SAS}{owner}/{tenant}/{tunnel}/{}-{spi:08x}", direction.letter())
    }
}

/// The name of a key in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyName {
    /// `meta`: which store this is.
    Meta,
    /// `nodes/NAME`: a node that lives.
    Node(Name),
    /// `numbers/N`: who has this number.
    Number(NodeNumber),
    /// `senders`: the newest slot of time that a sender ID was taken from.
    Senders,
    /// `sas/NUMBER/TENANT/TUNNEL/i-SPI`, or `o-SPI`; the SPI as eight hexadecimal digits.
    Sa(SaName),
    /// `tenants/NAME`: a tenant's part of the configuration.
    Tenant(Name),
    /// `psks/TENANT/TUNNEL`: a tunnel's pre-shared key, sealed.
    Psk(TunnelName),
    /// `pmtu/TENANT/TUNNEL`: what is known of the path to the tunnel's other end.
    PathMtu(TunnelName),
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => f.write_str("meta"),
            Self::Node(name) => write!(f, "{NODES}{name}"),
            Self::Number(number) => write!(f, "{NUMBERS}{number}"),
            Self::Senders => f.write_str("senders"),
            Self::Sa(sa) => sa.fmt(f),
            Self::Tenant(name) => write!(f, "{TENANTS}{name}"),
            Self::Psk((tenant, tunnel)) => write!(f, "{PSKS}{tenant}/{tunnel}"),
            Self::PathMtu((tenant, tunnel)) => write!(f, "{PATH_MTUS}{tenant}/{tunnel}"),
        }
    }
}

/// A key in the store that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no record of a fleet has such a name: something else writes below the fleet's prefix, or a newer Penstock"
)]
pub struct NotOurs;

impl FromStr for KeyName {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        parse(text).ok_or(NotOurs)
    }
}

fn parse(text: &str) -> Option<KeyName> {
    let mut parts = text.split('/');
    let first = parts.next()?;
    let rest = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    Some(match (first, rest) {
        ("meta", (None, ..)) => KeyName::Meta,
        ("senders", (None, ..)) => KeyName::Senders,
        ("nodes", (Some(name), None, ..)) => KeyName::Node(Name::new(name)?),
        ("numbers", (Some(number), None, ..)) => KeyName::Number(parse_number(number)?),
        ("tenants", (Some(name), None, ..)) => KeyName::Tenant(Name::new(name)?),
        ("psks", (Some(tenant), Some(tunnel), None, ..)) => KeyName::Psk(tunnel_name(tenant, tunnel)?),
        ("pmtu", (Some(tenant), Some(tunnel), None, ..)) => KeyName::PathMtu(tunnel_name(tenant, tunnel)?),
        ("sas", (Some(owner), Some(tenant), Some(tunnel), Some(spi), None)) => {
            let (direction, spi) = parse_spi(spi)?;
            let (owner, tunnel) = (parse_number(owner)?, tunnel_name(tenant, tunnel)?);
            KeyName::Sa(SaName { owner, tunnel, direction, spi })
        }
        _ => return None,
    })
}

/// A number as we write it: no sign, no zeros in front.
fn parse_number(text: &str) -> Option<NodeNumber> {
    let number = NodeNumber(text.parse().ok()?);
    (number.to_string() == text).then_some(number)
}

fn parse_spi(text: &str) -> Option<(Direction, u32)> {
    let (letter, digits) = text.split_once('-')?;
    let direction = [Direction::Inbound, Direction::Outbound].into_iter().find(|d| d.letter() == letter)?;
    let is_ours = digits.len() == 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_ours.then(|| u32::from_str_radix(digits, 16).ok()).flatten().map(|spi| (direction, spi))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = Name> {
        "[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}".prop_map(|text| Name::new(&text).unwrap())
    }

    fn tunnel() -> impl Strategy<Value = TunnelName> {
        (name(), name())
    }

    fn key_name() -> impl Strategy<Value = KeyName> {
        let number = || any::<u16>().prop_map(NodeNumber);
        let direction = prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)];
        prop_oneof![
            Just(KeyName::Meta),
            Just(KeyName::Senders),
            name().prop_map(KeyName::Node),
            number().prop_map(KeyName::Number),
            name().prop_map(KeyName::Tenant),
            tunnel().prop_map(KeyName::PathMtu),
            tunnel().prop_map(KeyName::Psk),
            (number(), tunnel(), direction, any::<u32>())
                .prop_map(|(owner, tunnel, direction, spi)| SaName { owner, tunnel, direction, spi })
                .prop_map(KeyName::Sa),
        ]
    }

    #[test]
    fn the_names_are_these() {
        let name = |text| Name::new(text).unwrap();
        let tunnel = || (name("acme"), name("dc1"));
        let (owner, direction) = (NodeNumber(7), Direction::Inbound);
        let sa = SaName { owner, tunnel: tunnel(), direction, spi: 0x0040_abcd };
        assert!(sa.to_string().starts_with(&owner.sas()));
        for (key, text) in [
            (KeyName::Meta, "meta"),
            (KeyName::Node(name("edge-1")), "nodes/edge-1"),
            (KeyName::Number(owner), "numbers/7"),
            (KeyName::Senders, "senders"),
            (KeyName::Sa(sa.clone()), "sas/7/acme/dc1/i-0040abcd"),
            (KeyName::Sa(SaName { direction: Direction::Outbound, ..sa }), "sas/7/acme/dc1/o-0040abcd"),
            (KeyName::Tenant(name("acme")), "tenants/acme"),
            (KeyName::PathMtu(tunnel()), "pmtu/acme/dc1"),
            (KeyName::Psk(tunnel()), "psks/acme/dc1"),
        ] {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key));
        }
    }

    #[test]
    fn what_looks_like_a_name_is_none() {
        for text in [
            "",
            "/",
            "meta/",
            "Meta",
            "nodes",
            "nodes/",
            "nodes/a/",
            "nodes/a/b",
            "nodes/-a",
            "nodes/ä",
            "nodes/a b",
            "nodes//a",
            "numbers/",
            "numbers/01",
            "numbers/+1",
            "numbers/-0",
            "numbers/65536",
            "numbers/1/",
            "numbers/x",
            "senders/1",
            "tenants/",
            "pmtu/a",
            "pmtu/a/",
            "pmtu/a/b/c",
            "sas/1/a/b",
            "sas/1/a/b/i-0040abcd/",
            "sas/1/a/b/i-0040ABCD",
            "sas/1/a/b/i-40abcd",
            "sas/1/a/b/x-0040abcd",
            "sas/1/a/b/0040abcd",
            "sas/1/a/b/i0040abcd",
            "sas/1/a/b/i-00040abcd",
            "sas/1/a/b/i-+040abcd",
            "sas/01/a/b/i-0040abcd",
            "sas/1/a//i-0040abcd",
            "/sas/1/a/b/i-0040abcd",
        ] {
            assert_eq!(text.parse::<KeyName>(), Err(NotOurs), "{text}");
        }
        assert_eq!(format!("nodes/{}", "a".repeat(64)).parse::<KeyName>(), Err(NotOurs));
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(key in key_name()) {
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }

        #[test]
        fn two_records_have_two_names(one in key_name(), other in key_name()) {
            prop_assert_eq!(one == other, one.to_string() == other.to_string());
        }

        #[test]
        fn what_is_read_has_no_second_form(
            text in "(nodes|numbers|sas|tenants|pmtu|senders|meta)?(/[+0-9a-fA-Fio-]{0,9}){0,5}",
        ) {
            if let Ok(key) = text.parse::<KeyName>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_a_name_or_none(text in any::<String>()) {
            if let Ok(key) = text.parse::<KeyName>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
