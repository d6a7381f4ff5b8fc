//! Tests against the real kernel, in namespaces of their own. They need root and say so when they do not have
//! it.

mod differential;
mod hostile;
mod mirrored;
mod namespaces;
mod overrun;
mod routes;
mod traffic;
mod twins;

use std::collections::HashSet;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use penstock_dataplane::ids::InterfaceId;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::plan::{InterfacePlan, NextHopPlan, RouteAction, RoutePlan, TwinPlan};
use super::state::{IfIndex, KernelState, KernelUpdate, Mac};
use super::twin::Applied;
use super::{Kernel, netns::Netns};

const MAC_A: Mac = [2, 0, 0, 0, 0, 0xa];
const MAC_B: Mac = [2, 0, 0, 0, 0, 0xb];
const PATIENCE: Duration = Duration::from_secs(20);

/// A name that no other test, and no other run, uses. Fails loudly when the test cannot run here.
fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_root = nix::unistd::geteuid().is_root();
    assert!(is_root, "this test makes network namespaces and TAPs: run it as root (sudo -E cargo test ...)");
    format!("pkt-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a command line and gives what it printed.
fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output().expect("sh runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{line}: {} {out} {err}", output.status);
    out.into_owned()
}

fn fails(line: &str) -> bool {
    !Command::new("sh").args(["-ec", line]).output().expect("sh runs").status.success()
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn interface(number: u16, name: &str, mac: Mac, addresses: &[&str]) -> InterfacePlan {
    InterfacePlan {
        interface: InterfaceId(number),
        name: name.to_owned(),
        mac,
        mtu_bytes: 1500,
        vlan: None,
        addresses: addresses.iter().map(|a| net(a)).collect(),
    }
}

fn forward(prefix: &str, vias: &[&str]) -> RoutePlan {
    let hop = |via: &&str| NextHopPlan { via: Some(ip(via)), interface: None, weight: 1 };
    RoutePlan {
        prefix: net(prefix),
        action: RouteAction::Forward(vias.iter().map(hop).collect()),
        metric: None,
    }
}

/// Two ports with one network each, as most tests want it.
fn two_ports() -> TwinPlan {
    let a = interface(0, "a0", MAC_A, &["192.0.2.1/24", "2001:db8:a::1/64"]);
    let b = interface(1, "b0", MAC_B, &["198.51.100.1/24", "2001:db8:b::1/64"]);
    TwinPlan { interfaces: vec![a, b], ..TwinPlan::default() }
}

#[track_caller]
fn no_problems(applied: &Applied) {
    let problems: Vec<String> = applied.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// A consumer of the mirror.
struct Watch {
    updates: mpsc::Receiver<KernelUpdate>,
    state: KernelState,
    resyncs: usize,
}

impl Watch {
    fn new(updates: mpsc::Receiver<KernelUpdate>) -> Self {
        Self { updates, state: KernelState::default(), resyncs: 0 }
    }

    /// Takes updates until the state is as it should be.
    async fn until(&mut self, what: &str, is_so: impl Fn(&KernelState) -> bool) {
        let wait = async {
            while !is_so(&self.state) {
                let update = self.updates.recv().await.expect("the mirror lives");
                self.resyncs += usize::from(update.resync);
                self.state.apply_all(update);
            }
        };
        let in_time = timeout(PATIENCE, wait).await.is_ok();
        assert!(in_time, "waited for: {what}; have {:?}", self.state);
    }

    fn index(&self, name: &str) -> IfIndex {
        self.state.link_by_name(name).unwrap_or_else(|| panic!("no link {name}")).index
    }
}

/// A namespace with two ports, and a consumer that has seen them.
async fn started(what: &str) -> (Kernel, Watch, String) {
    let name = unique(what);
    let (mut kernel, updates) = Kernel::start(&name, false).expect("starts");
    let mut watch = Watch::new(updates);
    no_problems(&kernel.apply(&two_ports()).await);
    watch
        .until("both twins and their networks", |s| {
            s.link_by_name("a0").is_some_and(super::state::Link::is_up)
                && s.link_by_name("b0").is_some_and(super::state::Link::is_up)
                && ["192.0.2.0/24", "198.51.100.0/24", "2001:db8:a::/64", "2001:db8:b::/64"]
                    .iter()
                    .all(|p| s.routes.contains_key(&net(p)))
        })
        .await;
    (kernel, watch, name)
}

/// Removes a namespace that a test made by hand, also when the test fails.
struct Gone(String);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

fn wanted(keys: &[(IfIndex, &str)]) -> HashSet<super::resolve::NeighbourKey> {
    keys.iter().map(|(index, text)| (*index, ip(text))).collect()
}

fn peer(what: &str) -> Netns {
    Netns::open_or_create(&unique(what), false).expect("a namespace for the peer")
}
