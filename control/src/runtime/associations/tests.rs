//! Which associations stay, come and go. The workers are made up: they have what they are told at once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use penstock_dataplane::esp::cipher::Backend;
use penstock_dataplane::stats::WorkerStats;

use super::*;
use crate::config::{self, CryptoBackend, Name};
use crate::leases::MAX_KEY_LIFE;
use crate::static_sas;

const CONFIG: &str = "\
cores: {control: 0, workers: [1, 2]}
ports: {edge0: {device: net_null0, addresses: [192.0.2.1/24]}}
endpoints: {gw: 203.0.113.1, gw2: 203.0.113.2}
tenants:
  acme:
    tunnels:
      dc1: {type: ipsec, endpoint: gw, remote: 192.0.2.77}
      dc2: {type: ipsec, endpoint: gw, remote: 192.0.2.78}
";

struct Lab {
    compiler: Compiler,
    stats: Vec<Arc<WorkerStats>>,
    feed: SaFeed,
    associations: Associations,
    now: Now,
}

impl Lab {
    fn new() -> Self {
        let stats: Vec<_> = (0..2).map(|_| Arc::new(WorkerStats::new(1, 8))).collect();
        let (feed, _) = SaFeed::new(stats.iter().cloned(), 8);
        let config = config::parse_str(CONFIG).unwrap();
        let compiler = Compiler::new(config, vec![[2, 0, 0, 0, 0, 1]]);
        let associations = Associations::new(Backends::choose(CryptoBackend::Auto).unwrap());
        Self { compiler, stats, feed, associations, now: Now::read() }
    }

    fn configure(&mut self, text: &str) {
        self.compiler.configure(config::parse_str(text).unwrap());
    }

    fn settle(&mut self) {
        self.stats.iter().for_each(|stats| stats.sa_generation.set(self.feed.generation()));
    }

    /// What a reload does, and the changes that it made.
    fn install(&mut self, text: &str) -> u64 {
        let sas = static_sas::parse_str(&mut text.as_bytes().to_vec(), self.compiler.config());
        let sas = sas.unwrap_or_else(|problems| panic!("{problems:?}"));
        let before = self.feed.generation();
        let places = places(&self.compiler);
        self.associations.shape(&sas, &mut self.compiler);
        self.associations.make_room(&sas, &places, &mut self.feed);
        self.settle();
        assert!(self.associations.receive(&sas, &places, &mut self.feed).is_empty());
        self.settle();
        assert!(self.associations.send(&sas, &places, &mut self.feed, self.now).is_empty());
        self.settle();
        self.associations.retire(&sas, self.now.steady);
        self.associations.shape(&sas, &mut self.compiler);
        self.feed.generation() - before
    }

    /// The tunnels that are stopped now, and the changes that this made.
    fn stop_old_keys(&mut self) -> (Vec<String>, u64) {
        let before = self.feed.generation();
        let stopped = self.associations.stop_old_keys(&mut self.feed, self.now);
        let named = stopped.iter().map(|(name, spi)| format!("{} {spi:#x}", name.1)).collect();
        (named, self.feed.generation() - before)
    }

    fn shown(&self) -> Vec<String> {
        let of_tunnel = |(name, there): (&TunnelName, &OfTunnel)| {
            let inbound: Vec<_> = there.inbound.keys().map(|spi| format!("{spi:#x}")).collect();
            let outbound =
                there.outbound.as_ref().map(|sa| format!("{:#x} {:?}", sa.spi, sa.sending.numbers));
            format!("{} in {} out {}", name.1, inbound.join(" "), outbound.unwrap_or_default())
        };
        self.associations.tunnels().map(of_tunnel).collect()
    }
}

fn inbound(spi: u32) -> String {
    format!("{{spi: {spi:#x}, cipher: aes128gcm16, key: 0x{spi:040x}}}")
}

fn outbound(spi: u32, window: u32) -> String {
    format!("{{spi: {spi:#x}, cipher: aes128gcm16, key: 0x{spi:040x}, peer_replay_window: {window}}}")
}

fn file(tunnel: &str, in_spis: &[u32], out: Option<u32>) -> String {
    let inbounds: Vec<_> = in_spis.iter().map(|spi| inbound(*spi)).collect();
    let outbound = out.map(|spi| format!(", outbound: {}", outbound(spi, 0))).unwrap_or_default();
    format!("tunnels: {{acme/{tunnel}: {{inbound: [{}]{outbound}}}}}", inbounds.join(", "))
}

#[test]
fn a_rekey_touches_only_what_changes() {
    let mut lab = Lab::new();
    assert_eq!(lab.install(&file("dc1", &[0x1001], Some(0x2001))), 2);
    assert_eq!(lab.shown(), ["dc1 in 0x1001 out 0x2001 PerCore"]);
    assert_eq!(lab.install(&file("dc1", &[0x1001], Some(0x2001))), 0, "what stays is not touched");
    assert_eq!(lab.install(&file("dc1", &[0x1001, 0x1002], Some(0x2001))), 1);
    assert_eq!(lab.install(&file("dc1", &[0x1001, 0x1002], Some(0x2002))), 1);
    assert_eq!(
        lab.install(&file("dc1", &[0x1002], Some(0x2002))),
        0,
        "the old one is received a while longer"
    );
    assert_eq!(lab.shown(), ["dc1 in 0x1002 out 0x2002 PerCore"]);
    let before = lab.feed.generation();
    lab.associations.turn(&mut lab.feed, lab.now.steady + GRACE / 2);
    assert_eq!(lab.feed.generation(), before);
    lab.associations.turn(&mut lab.feed, lab.now.steady + GRACE);
    assert_eq!(lab.feed.generation(), before + 1);
}

#[test]
fn a_number_that_comes_back_at_once_waits_for_the_old_one() {
    let mut lab = Lab::new();
    lab.install(&file("dc1", &[0x1001], None));
    lab.install(&file("dc1", &[], Some(0x2001)));
    assert_eq!(lab.associations.retiring.len(), 1);
    // The old one goes first, the new one comes.
    assert_eq!(lab.install(&file("dc1", &[0x1001], Some(0x2001))), 2);
    assert!(lab.associations.retiring.is_empty());
    // To another tunnel at the same endpoint, too; the first one has nothing to send under any more.
    assert_eq!(lab.install(&file("dc2", &[0x1001], None)), 3);
    assert_eq!(lab.shown(), ["dc2 in 0x1001 out "]);
}

#[test]
fn associations_follow_their_tunnel() {
    let mut lab = Lab::new();
    lab.install(&file("dc1", &[0x1001], Some(0x2001)));
    // Another endpoint is another place.
    lab.configure(&CONFIG.replace("dc1: {type: ipsec, endpoint: gw,", "dc1: {type: ipsec, endpoint: gw2,"));
    assert_eq!(lab.install(&file("dc1", &[0x1001], Some(0x2001))), 4);
    // A tunnel that is gone takes them along.
    lab.configure(&CONFIG.replace("      dc1: {type: ipsec, endpoint: gw, remote: 192.0.2.77}\n", ""));
    assert_eq!(lab.install("tunnels: {}"), 2);
    assert!(lab.shown().is_empty());
}

#[test]
fn the_peers_window_says_who_numbers() {
    let mut lab = Lab::new();
    for (window, numbers) in
        [(0, Numbers::PerCore), (32, Numbers::Pinned(0)), (1023, Numbers::Pinned(0)), (1024, Numbers::Shared)]
    {
        let text = format!("tunnels: {{acme/dc1: {{outbound: {}}}}}", outbound(0x2000 + window, window));
        lab.install(&text);
        let name = |text| Name::new(text).unwrap();
        let there = lab.associations.tunnel(&(name("acme"), name("dc1"))).unwrap();
        let sa = there.outbound.as_ref().unwrap();
        assert_eq!(sa.sending.numbers, numbers, "{window}");
        assert_eq!((sa.sending.soft_limit, sa.sending.hard_limit), (0xc000_0000, 0xffff_ffff));
    }
}

#[test]
fn the_tunnel_fits_old_and_new_until_the_old_is_gone() {
    let mut lab = Lab::new();
    lab.install(&file("dc1", &[0x1001], Some(0x2001)));
    let sas = "tunnels: {acme/dc1: {outbound: {spi: 0x2002, cipher: aes128-sha256, key: 0x00112233445566778899aabbccddeeff, \
               auth_key: 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f}}}";
    let sas = static_sas::parse_str(&mut sas.as_bytes().to_vec(), lab.compiler.config()).ok().unwrap();
    let suites = |lab: &Lab| {
        let tunnel = lab.compiler.tunnels().find(|tunnel| tunnel.name.as_str() == "dc1").unwrap();
        tunnel.esp.suites.iter().map(|suite| suite.name()).collect::<Vec<_>>()
    };
    lab.associations.shape(&sas, &mut lab.compiler);
    assert_eq!(suites(&lab), ["aes128-sha256", "aes128gcm16"]);
    let places = places(&lab.compiler);
    lab.associations.send(&sas, &places, &mut lab.feed, lab.now);
    lab.associations.retire(&sas, lab.now.steady);
    lab.associations.shape(&sas, &mut lab.compiler);
    assert_eq!(suites(&lab), ["aes128-sha256"]);
}

#[test]
fn each_key_is_made_for_the_fastest_backend_of_its_suite() {
    let mut lab = Lab::new();
    let hmac = "auth_key: 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    lab.install(&format!(
        "tunnels: {{acme/dc1: {{inbound: [{}], outbound: {{spi: 0x2001, cipher: aes128-sha256, key: 0x{:032x}, {hmac}}}}}}}",
        inbound(0x1001),
        7
    ));
    let name = |text| Name::new(text).unwrap();
    let there = lab.associations.tunnel(&(name("acme"), name("dc1"))).unwrap();
    let (opened, sealed) = (&there.inbound[&0x1001], there.outbound.as_ref().unwrap());
    assert_eq!(opened.agreed.backend(), Backend::best_for(opened.agreed.suite()));
    assert_eq!(sealed.agreed.backend(), Backend::best_for(sealed.agreed.suite()));
}

#[test]
fn a_key_is_sent_under_for_so_long_and_no_longer() {
    let mut lab = Lab::new();
    let second = Duration::from_secs(1);
    lab.install(&file("dc1", &[0x1001], Some(0x2001)));
    lab.now = lab.now + (MAX_KEY_LIFE - second);
    assert_eq!(lab.stop_old_keys(), (vec![], 0));
    lab.now = lab.now + second;
    assert_eq!(lab.stop_old_keys(), (vec!["dc1 0x2001".to_owned()], 1));
    assert_eq!(lab.shown(), ["dc1 in 0x1001 out "], "it still receives");
    assert_eq!(lab.associations.stopped(), 1);
    assert_eq!(lab.stop_old_keys(), (vec![], 0), "told once");
    // A reload does not bring it back, another key does.
    assert_eq!(lab.install(&file("dc1", &[0x1001], Some(0x2001))), 0);
    assert_eq!(lab.shown(), ["dc1 in 0x1001 out "]);
    assert_eq!(lab.install(&file("dc1", &[0x1001], Some(0x2002))), 1);
    assert_eq!(
        (lab.shown(), lab.associations.stopped()),
        (vec!["dc1 in 0x1001 out 0x2002 PerCore".to_owned()], 0)
    );
    assert_eq!(lab.stop_old_keys(), (vec![], 0));
}

#[test]
fn a_key_does_not_get_younger_with_its_tunnel() {
    let mut lab = Lab::new();
    lab.install(&file("dc1", &[0x1001], Some(0x2001)));
    lab.now = lab.now + MAX_KEY_LIFE / 2;
    lab.configure(&CONFIG.replace("dc1: {type: ipsec, endpoint: gw,", "dc1: {type: ipsec, endpoint: gw2,"));
    assert_eq!(lab.install(&file("dc1", &[0x1001], Some(0x2001))), 4, "all of it comes anew");
    lab.now = lab.now + MAX_KEY_LIFE / 2;
    assert_eq!(lab.stop_old_keys().0, ["dc1 0x2001"]);
    lab.install(&file("dc1", &[0x1001], Some(0x2001)));
    assert_eq!(lab.associations.stopped(), 1);
    // A tunnel that does not send has no key.
    lab.install(&file("dc1", &[0x1001], None));
    assert_eq!(lab.associations.stopped(), 0);
}

#[test]
fn a_key_is_as_old_as_its_file() {
    let mut lives = Lives::default();
    let (name, start) = ((Name::new("acme").unwrap(), Name::new("dc1").unwrap()), Now::read());
    let day = Duration::from_secs(24 * 3600);
    let mut ends = |written, now| {
        lives.begin(&name, 0x2001, written, start);
        lives.end(now).count()
    };
    let written = Some(start.date - day * 20);
    assert_eq!(ends(written, start), 0);
    // Written again meanwhile.
    assert_eq!(ends(Some(start.date), start + day), 1);
    assert!(lives.was_ended(&name, 0x2001) && !lives.was_ended(&name, 0x2002));
    // The clock is behind, the file of the future.
    lives.begin(&name, 0x2002, Some(start.date + day * 9), start);
    // Its date is put right: the key is as old as the other clock says.
    assert_eq!(lives.end(Now { date: start.date + day * 29, ..start }).count(), 0);
    assert_eq!(lives.end(Now { date: start.date, steady: start.steady + MAX_KEY_LIFE }).count(), 1);
}
