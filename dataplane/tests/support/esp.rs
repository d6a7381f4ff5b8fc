//! Both ends of an ESP tunnel, each a gateway, and a peer that seals what no gateway sends.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use penstock_dataplane::esp::cipher::{Cipher, Engine, OpenJob, SealJob};
use penstock_dataplane::esp::feed::SaHandle;
use penstock_dataplane::esp::iv::Sender;
use penstock_dataplane::esp::key::KeyMaterial;
use penstock_dataplane::esp::replay::ReplayWindow;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec, Spi};
use penstock_dataplane::esp::selector::Selectors;
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::*;
use penstock_dataplane::tables::*;

use super::fleet::{OTHER, OWNER, Site};
use super::*;

pub const SPI: Spi = Spi(0x1001);
/// Our endpoint and the customer's router when the outer packets are IPv6.
pub const ENDPOINT6: &str = "2001:db8:ffff::1";
pub const REMOTE6: &str = "2001:db8:7::77";
/// What tells the tunnel of the tests from others that may get its number.
pub const INCARNATION: u32 = 7;

/// Ciphers by suite and number of the key.
type Expanded = HashMap<(Suite, u8), Arc<Cipher>>;

/// What both ends agree on.
#[derive(Clone)]
pub struct Agreement {
    /// Of the tunnel. Other tunnels have other addresses, SPIs and customers.
    pub number: u32,
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
            number: 0,
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
        self.cipher_of(self.number as u8)
    }

    /// The key of this number. Expanding keys is slow, and some tests want thousands of gateways.
    pub fn cipher_of(&self, number: u8) -> Arc<Cipher> {
        static EXPANDED: Mutex<Option<Expanded>> = Mutex::new(None);
        let mut expanded = EXPANDED.lock().unwrap();
        let cipher = expanded.get_or_insert_default().entry((self.suite, number)).or_insert_with(|| {
            let suite = self.suite;
            let bytes = |len| (0..len).map(|i| (i * 7 + usize::from(number)) as u8).collect::<Vec<u8>>();
            let encryption = bytes(suite.encryption_key_len() + suite.salt_len());
            let keys = KeyMaterial::new(suite, &encryption, &bytes(suite.integrity_key_len())).unwrap();
            Arc::new(Cipher::new(suite, &keys, backend()).unwrap())
        });
        Arc::clone(cipher)
    }

    pub fn tunnel(&self) -> TunnelId {
        TunnelId(self.number)
    }

    pub fn spi(&self) -> Spi {
        Spi(SPI.0 + self.number)
    }

    /// Our endpoint.
    pub fn local(&self) -> &'static str {
        if self.v6 { ENDPOINT6 } else { ENDPOINT }
    }

    /// The customer's router: `REMOTE` or `REMOTE6`, and those behind them.
    pub fn remote(&self) -> String {
        if self.v6 {
            format!("2001:db8:7::{:x}", 0x77 + self.number)
        } else {
            format!("192.0.2.{}", 77 + self.number)
        }
    }

    /// A host of the customer: `INSIDE`, or in the networks behind it.
    pub fn inside(&self) -> String {
        format!("198.51.{}.5", 100 + self.number)
    }

    pub fn inside6(&self) -> String {
        format!("2001:db8:{:x}::5", 0x100 + self.number)
    }

    /// The tunnel as we see it.
    pub fn spec(&self) -> TunnelSpec {
        let udp = self.udp.then_some(UdpPorts { local: 4500, remote: 4500 });
        TunnelSpec {
            local: self.local().parse().unwrap(),
            remote: self.remote().parse().unwrap(),
            encapsulation: Encapsulation::Esp { udp },
            incarnation: INCARNATION,
            mtu: self.suite.inner_mtu(1500, self.v6, self.udp),
            ..spec()
        }
    }

    pub fn outbound(&self) -> OutboundSpec {
        OutboundSpec {
            spi: self.spi(),
            tunnel: self.tunnel(),
            incarnation: INCARNATION,
            cipher: self.cipher(),
            esn: self.esn,
            numbering: Numbering::Shared(Arc::new(AtomicU64::new(0))),
            first: self.first + 1,
            selectors: Arc::new(self.selectors.clone()),
            remote: self.remote().parse().unwrap(),
            soft_limit: u64::MAX,
            hard_limit: self.hard_limit,
        }
    }

    pub fn replay(&self) -> Option<Arc<ReplayWindow>> {
        self.window.map(|size| Arc::new(ReplayWindow::new(size, self.esn).unwrap()))
    }

    pub fn inbound(&self) -> InboundSpec {
        InboundSpec {
            spi: self.spi(),
            endpoint: EndpointId(u16::from(self.v6)),
            tunnel: self.tunnel(),
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
    pub fn arriving(&self, esp: &[u8]) -> Vec<u8> {
        self.marked(0, esp)
    }

    /// As `arriving`, with this TOS or traffic class.
    pub fn marked(&self, tos: u8, esp: &[u8]) -> Vec<u8> {
        let payload = if self.udp { natt(esp) } else { esp.to_vec() };
        let protocol = if self.udp { 17 } else { 50 };
        frame(&if self.v6 {
            ip6(protocol, tos, 64, &self.remote(), ENDPOINT6, &payload)
        } else {
            Ip4 { tos, protocol, ..Ip4::default() }.build(&self.remote(), ENDPOINT, &payload)
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
            engine: Engine::new(backend()).unwrap(),
            sender: Sender::new(lease(99)),
            spi: agreement.spi(),
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

/// Opens what our end sealed, knowing nothing of pipelines.
pub struct Opener {
    engine: Engine,
    keys: HashMap<Spi, Arc<Cipher>>,
}

impl Opener {
    pub fn new() -> Self {
        Self { engine: Engine::new(backend()).unwrap(), keys: HashMap::new() }
    }

    pub fn add(&mut self, spi: Spi, cipher: Arc<Cipher>) {
        self.keys.insert(spi, cipher);
    }

    /// What is inside an outer packet at layer 3, without extended sequence numbers; `None` when it is not ESP as our
    /// end makes it, under one of the keys.
    pub fn open(&mut self, outer: &[u8]) -> Option<Opened> {
        let is_v6 = outer[0] >> 4 == 6;
        let protocol = outer[if is_v6 { 6 } else { 9 }];
        let at = esp_at(outer);
        if protocol != 50 && (protocol != 17 || outer.get(at - 6..at - 4)? != [0x11, 0x94]) {
            return None;
        }
        let mut esp = outer.get(at..)?.to_vec();
        let word = |at: usize| Some(u32::from_be_bytes(*esp.get(at..)?.first_chunk()?));
        let (spi, sequence) = (Spi(word(0)?), word(4)?);
        let cipher = self.keys.get(&spi)?;
        let mut jobs = [OpenJob::new(cipher, &mut esp, None)];
        self.engine.open(&mut jobs);
        if !jobs[0].is_authentic() {
            return None;
        }
        let suite = cipher.suite();
        let iv = esp[8..8 + suite.iv_len()].to_vec();
        let body = &esp[8 + suite.iv_len()..esp.len() - suite.icv_len()];
        let [rest @ .., pad, next_header] = body else { return None };
        let (payload, padding) = rest.split_at_checked(rest.len().checked_sub(usize::from(*pad))?)?;
        // Our end pads no more than it must.
        let is_ours = padding.iter().zip(1u8..).all(|(byte, expected)| *byte == expected)
            && padding.len() < suite.block_len();
        is_ours.then(|| Opened { spi, sequence, iv, next_header: *next_header, payload: payload.to_vec() })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opened {
    pub spi: Spi,
    pub sequence: u32,
    pub iv: Vec<u8>,
    pub next_header: u8,
    pub payload: Vec<u8>,
}

/// Tunnel 0 is GRE as ever; tunnels 1 to 15 are ESP, one of each suite, in turns over IPv4, in UDP, and over IPv6.
pub fn agreements() -> Vec<Agreement> {
    let suites = Suite::all().zip(1..16);
    suites
        .map(|(suite, number)| Agreement {
            number,
            suite,
            udp: number % 3 == 1,
            v6: number % 3 == 2,
            ..Agreement::default()
        })
        .collect()
}

/// The tables for them: each tunnel has a customer behind it, in one tenant. The gateway is the owner of a fleet of two.
pub fn mixed_tables() -> Snapshot {
    let mut tables = Lab::new().tables;
    let edge = Hop::adjacency(AdjacencyId(0));
    tables.set_vrf(
        VrfId::INTERNET,
        table(
            &[
                ("0.0.0.0/0", edge),
                ("192.0.2.1/32", Hop::LOCAL),
                ("192.0.2.10/32", Hop::FLEET),
                ("192.0.2.200/32", Hop::adjacency(AdjacencyId(2))),
                ("203.0.113.1/32", Hop::endpoint(EndpointId(0))),
                ("198.51.96.0/19", Hop::vrf(TENANT)),
            ],
            &[
                ("::/0", edge),
                ("2001:db8:ffff::1/128", Hop::endpoint(EndpointId(1))),
                ("2001:db8:100::/40", Hop::vrf(TENANT)),
            ],
        ),
    );
    let mut four = vec![
        ("0.0.0.0/0".to_owned(), Hop::vrf(VrfId::INTERNET)),
        ("198.51.100.0/24".to_owned(), Hop::tunnel(TUNNEL)),
        ("10.255.0.0/32".to_owned(), Hop::tunnel_address(TUNNEL)),
    ];
    let mut six = vec![
        ("::/0".to_owned(), Hop::vrf(VrfId::INTERNET)),
        ("2001:db8:100::/48".to_owned(), Hop::tunnel(TUNNEL)),
    ];
    for agreement in agreements() {
        four.push((format!("{}/32", agreement.inside()), Hop::tunnel(agreement.tunnel())));
        six.push((format!("{}/128", agreement.inside6()), Hop::tunnel(agreement.tunnel())));
        tables.set_tunnel(agreement.tunnel(), Tunnel::new(&agreement.spec()).unwrap());
    }
    tables.set_vrf(TENANT, table(&by_text(&four), &by_text(&six)));
    tables.set_fleet(Some(Site::v4(OWNER).fleet(&[OTHER])));
    tables
}

fn by_text(routes: &[(String, Hop)]) -> Vec<(&str, Hop)> {
    routes.iter().map(|(prefix, hop)| (prefix.as_str(), *hop)).collect()
}

/// A gateway with all of them, both ways under the same SPIs and keys.
pub fn mixed() -> Lab {
    let mut lab = mixed_tables_only();
    install_mixed(&mut lab.feed);
    lab
}

/// A gateway that has the tunnels but no associations.
pub fn mixed_tables_only() -> Lab {
    thread_local! {
        static TABLES: Snapshot = mixed_tables();
    }
    let mut lab = Lab::unpublished();
    TABLES.with(|tables| lab.change(|mine| *mine = tables.clone()));
    lab
}

/// Their associations, and the first worker's lease.
pub fn install_mixed(feed: &mut SaFeed) -> Vec<SaHandle> {
    let handles = agreements().into_iter().map(|agreement| {
        feed.set_outbound(&agreement.outbound());
        feed.add_inbound(&agreement.inbound()).unwrap()
    });
    let handles = handles.collect();
    feed.lease(0, lease(1));
    handles
}
