//! Every message by its literal bytes, and what is no message.

mod arbitrary;
mod bytes;
mod properties;

use std::num::NonZeroU64;

use penstock_dataplane::esp::sa::Spi;
use zeroize::Zeroizing;

pub(crate) use arbitrary::an_sa;

use super::*;
use crate::secret::Secret;

pub(crate) fn secret(bytes: &[u8]) -> Secret {
    Secret::new(Zeroizing::new(bytes.into()))
}

pub(crate) fn id() -> SaId {
    SaId {
        src: "192.0.2.77:4500".parse().unwrap(),
        dst: "198.51.100.1:4500".parse().unwrap(),
        spi: Spi(0xc000_0001),
    }
}

fn selector(prefix_first: &str, last: &str) -> TrafficSelectorSpec {
    TrafficSelectorSpec {
        protocol: 0,
        from_port: 0,
        to_port: u16::MAX,
        first: prefix_first.parse().unwrap(),
        last: last.parse().unwrap(),
    }
}

/// An inbound SA as charon hands over most: AES-128-GCM in UDP.
pub(crate) fn add_sa() -> AddSa {
    AddSa {
        id: id(),
        flags: SaFlags { inbound: true, encap: true, update: true, ..SaFlags::default() },
        reqid: 7,
        mode: Mode::Tunnel,
        encryption: 20,
        key: secret(b"sixteen byte keysalt"),
        integrity: 1024,
        auth_key: Secret::default(),
        replay_window: 64,
        lifetimes: Lifetimes {
            seconds: Limit { hard: NonZeroU64::new(3960), soft: NonZeroU64::new(3600) },
            bytes: Limit::default(),
            packets: Limit { hard: NonZeroU64::new(1 << 40), soft: None },
        },
        tfc: 0,
        ipcomp: 0,
        src_ts: vec![selector("10.0.0.0", "10.0.255.255")],
        dst_ts: vec![selector("0.0.0.0", "255.255.255.255"), selector("2001:db8::", "2001:db8::ffff")],
    }
}
