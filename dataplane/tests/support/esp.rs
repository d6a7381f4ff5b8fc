//! Both ends of an ESP tunnel, each a gateway, and a peer that seals what no gateway sends.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use penstock_dataplane::esp::cipher::{Backend, Cipher, Engine, SealJob};
use penstock_dataplane::esp::iv::Sender;
use penstock_dataplane::esp::key::KeyMaterial;
use penstock_dataplane::esp::replay::ReplayWindow;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec, Spi};
use penstock_dataplane::esp::selector::Selectors;
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::*;
use penstock_dataplane::tables::*;

use super::*;

pub const SPI: Spi = Spi(0x1001);
/// Our endpoint and the customer's router when the outer packets are IPv6.
pub const ENDPOINT6: &str = "2001:db8:ffff::1";
pub const REMOTE6: &str = "2001:db8:7::77";
/// What tells the tunnel of the tests from others that may get its number.
pub const INCARNATION: u32 = 7;

/// What both ends agree on.
#[derive(Clone)]
pub struct Agreement {
    pub suite: Suite,
    pub esn: bool,
    pub window: Option<u32>,
    pub selectors: Selectors,
    pub hard_limit: u64,
    /// The sequence number before the first.
    pub first: u64,
    pub udp: bool,
    pub v6: bool,
}

impl Default for Agreement {
    fn default() -> Self {
        Self {
            suite: Suite::AES128_GCM,
            esn: false,
            window: None,
            selectors: Selectors::any(),
            hard_limit: u64::MAX,
            first: 0,
            udp: false,
            v6: false,
        }
    }
}

impl Agreement {
    pub fn cipher(&self) -> Arc<Cipher> {
        self.cipher_of(1)
    }

    /// The key of this number.
    pub fn cipher_of(&self, number: u8) -> Arc<Cipher> {
        let bytes = |len| (0..len).map(|i| (i * 7 + usize::from(number)) as u8).collect::<Vec<u8>>();
        let encryption = bytes(self.suite.encryption_key_len() + self.suite.salt_len());
        let keys = KeyMaterial::new(self.suite, &encryption, &bytes(self.suite.integrity_key_len())).unwrap();
        Arc::new(Cipher::new(self.suite, &keys, Backend::best()).unwrap())
    }

    /// The tunnel as we see it.
    pub fn spec(&self) -> TunnelSpec {
        let (local, remote) = if self.v6 { (ENDPOINT6, REMOTE6) } else { (ENDPOINT, REMOTE) };
        let udp = self.udp.then_some(UdpPorts { local: 4500, remote: 4500 });
        TunnelSpec {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            encapsulation: Encapsulation::Esp { udp },
            incarnation: INCARNATION,
            mtu: self.suite.inner_mtu(1500, self.v6, self.udp),
            ..spec()
        }
    }

    pub fn outbound(&self) -> OutboundSpec {
        OutboundSpec {
            spi: SPI,
            tunnel: TUNNEL,
            incarnation: INCARNATION,
            cipher: self.cipher(),
            esn: self.esn,
            numbering: Numbering::Shared(Arc::new(AtomicU64::new(self.first))),
            selectors: Arc::new(self.selectors.clone()),
            remote: if self.v6 { REMOTE6 } else { REMOTE }.parse().unwrap(),
            soft_limit: u64::MAX,
            hard_limit: self.hard_limit,
        }
    }

    pub fn replay(&self) -> Option<Arc<ReplayWindow>> {
        self.window.map(|size| Arc::new(ReplayWindow::new(size, self.esn).unwrap()))
    }

    pub fn inbound(&self) -> InboundSpec {
        InboundSpec {
            spi: SPI,
            endpoint: EndpointId(u16::from(self.v6)),
            tunnel: TUNNEL,
            incarnation: INCARNATION,
            cipher: self.cipher(),
            esn: self.esn,
            replay: self.replay(),
            selectors: Arc::new(self.selectors.clone()),
        }
    }

    /// Us: clients' packets go into the tunnel.
    pub fn near(&self) -> Lab {
        self.near_with(&self.spec())
    }

    pub fn near_with(&self, spec: &TunnelSpec) -> Lab {
        let mut lab = Lab::with(spec);
        lab.feed.set_outbound(&self.outbound());
        lab.feed.lease(0, lease(1));
        lab
    }

    /// Us, and what the customer's router sends comes out of the tunnel too, under the same SPI and key.
    pub fn gateway(&self) -> Lab {
        self.gateway_with(&self.spec())
    }

    pub fn gateway_with(&self, spec: &TunnelSpec) -> Lab {
        let mut lab = self.near_with(spec);
        lab.feed.add_inbound(&self.inbound()).unwrap();
        lab
    }

    /// The customer's end of the same tunnel: another gateway, which delivers to the edge.
    pub fn far(&self) -> Lab {
        self.far_with(&self.spec())
    }

    /// `ours` is the tunnel as the near end has it.
    pub fn far_with(&self, ours: &TunnelSpec) -> Lab {
        let mut lab = self.deaf_with(ours);
        lab.feed.add_inbound(&self.inbound()).unwrap();
        lab
    }

    /// As `far_with`, without an association.
    pub fn deaf_with(&self, ours: &TunnelSpec) -> Lab {
        let mut lab = Lab::with(&TunnelSpec { local: ours.remote, remote: ours.local, ..ours.clone() });
        lab.change(|tables| {
            let endpoint = Hop::endpoint(EndpointId(u16::from(self.v6)));
            let underlay = table(&[("192.0.2.77/32", endpoint)], &[("2001:db8:7::77/128", endpoint)]);
            tables.set_vrf(VrfId::INTERNET, underlay);
            let edge = Hop::adjacency(AdjacencyId(0));
            tables.set_vrf(TENANT, table(&[("0.0.0.0/0", edge)], &[("::/0", edge)]));
        });
        lab
    }

    pub fn both(&self) -> (Lab, Lab) {
        (self.near(), self.far())
    }

    /// The frame around ESP from the customer's router to us.
    pub fn from_remote(&self, esp: &[u8]) -> Vec<u8> {
        self.marked(0, esp)
    }

    /// As `from_remote`, with this TOS or traffic class.
    pub fn marked(&self, tos: u8, esp: &[u8]) -> Vec<u8> {
        let payload = if self.udp { natt(esp) } else { esp.to_vec() };
        let protocol = if self.udp { 17 } else { 50 };
        frame(&if self.v6 {
            ip6(protocol, tos, 64, REMOTE6, ENDPOINT6, &payload)
        } else {
            Ip4 { tos, protocol, ..Ip4::default() }.build(REMOTE, ENDPOINT, &payload)
        })
    }
}

/// A datagram between the ports of ESP in UDP, without a checksum.
pub fn natt(payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x11, 0x94, 0x11, 0x94];
    datagram.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    datagram
}

/// Sends a packet through our end; returns the outer packet, at layer 3.
pub fn sealed(near: &mut Lab, inner: &[u8]) -> Vec<u8> {
    let (edge, core) = near.feed(&frame(inner));
    let mut out: Vec<_> = edge.into_iter().chain(core).collect();
    assert_eq!(out.len(), 1, "{:?}", near.all_drops());
    out.remove(0)[14..].to_vec()
}

/// Where the ESP header of an outer packet is that has no options.
pub fn esp_at(outer: &[u8]) -> usize {
    let (ip, protocol) = if outer[0] >> 4 == 6 { (40, outer[6]) } else { (20, outer[9]) };
    ip + if protocol == 17 { 8 } else { 0 }
}

/// Holds the key, and seals whatever it is told to.
pub struct Forger {
    cipher: Arc<Cipher>,
    engine: Engine,
    sender: Sender,
    spi: Spi,
    esn: bool,
}

impl Forger {
    pub fn of(agreement: &Agreement) -> Self {
        Self {
            cipher: agreement.cipher(),
            engine: Engine::new(Backend::best()).unwrap(),
            sender: Sender::new(lease(99)),
            spi: SPI,
            esn: agreement.esn,
        }
    }

    /// An ESP packet with these bytes where payload, padding, pad length and next header belong; `None` when their
    /// number does not fit the suite.
    pub fn seal(&mut self, sequence: u64, body: &[u8]) -> Option<Vec<u8>> {
        let suite = self.cipher.suite();
        let mut esp = self.spi.0.to_be_bytes().to_vec();
        esp.extend_from_slice(&(sequence as u32).to_be_bytes());
        esp.resize(esp.len() + suite.iv_len(), 0);
        esp.extend_from_slice(body);
        esp.resize(esp.len() + suite.icv_len(), 0);
        let high = self.esn.then_some((sequence >> 32) as u32);
        let iv = self.sender.next_iv().unwrap();
        let mut jobs = [SealJob::new(&self.cipher, &mut esp, high, iv)];
        self.engine.seal(&mut jobs);
        let is_sealed = jobs[0].is_sealed();
        is_sealed.then_some(esp)
    }

    /// As `seal`, with sound padding around a payload of this protocol.
    pub fn payload(&mut self, sequence: u64, payload: &[u8], next_header: u8) -> Vec<u8> {
        let block = self.cipher.suite().block_len();
        let pad = (block - (payload.len() + 2) % block) % block;
        self.padded(sequence, payload, pad as u8, next_header).unwrap()
    }

    /// As `payload`, with so much padding.
    pub fn padded(&mut self, sequence: u64, payload: &[u8], pad: u8, next_header: u8) -> Option<Vec<u8>> {
        let mut body = payload.to_vec();
        body.extend(1..=pad);
        body.extend_from_slice(&[pad, next_header]);
        self.seal(sequence, &body)
    }
}
