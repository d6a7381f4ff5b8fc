//! Any sequence of changes leads to the same tables as starting with the last state.

use proptest::prelude::*;

use super::fleet::{spec, ways};
use super::lab::{Lab, address, link, neighbour, no_route, route};
use crate::compile::FleetSpec;
use crate::kernel::state::{Change, KernelUpdate, RouteKind};

/// One step: a configuration made of switches, a change of the kernel, or another fleet.
#[derive(Debug, Clone)]
enum Step {
    Configure(u32),
    Kernel(Change),
    Fleet(u32),
}

/// A fleet in which each bit says whether a node lives; without a bit there is none.
fn fleet(bits: u32) -> Option<FleetSpec> {
    let all = [(5, "192.0.2.1"), (6, "192.0.2.77"), (7, "100.64.0.7"), (8, "10.9.0.9"), (9, "8.8.8.8")];
    let nodes: Vec<_> = (0..).zip(all).filter(|(n, _)| bits >> n & 1 == 1).map(|(_, node)| node).collect();
    (bits != 0).then(|| spec(&nodes))
}

/// A configuration in which each bit of `bits` decides something.
fn config(bits: u32) -> String {
    let bit = |n: u32| bits >> n & 1 == 1;
    let pick = |n: u32, yes: &'static str, no: &'static str| if bit(n) { yes } else { no };
    let mut text =
        "cores: {workers: [1]}\nports:\n  edge0:\n    device: net_null0\n    addresses: [192.0.2.1/24]\n"
            .to_owned();
    text += pick(0, "    vlans:\n      100: {addresses: [10.20.0.1/24], tenant: acme}\n", "");
    text += "  edge1: {device: net_null1, addresses: [10.9.0.1/24]}\n";
    text += &format!("endpoints: {{gw: {}, gx: 203.0.113.9}}\n", pick(1, "203.0.113.1", "203.0.113.2"));
    text += "tenants:\n  acme:\n    prefixes: [198.51.100.0/24]\n    tunnels:\n";
    let remote = pick(2, "192.0.2.77", "100.64.0.7");
    text += &format!("      a: {{endpoint: gw, remote: {remote}, key: {}}}\n", pick(3, "1", "2"));
    text += &format!(
        "      b: {{endpoint: {}, remote: {remote}, key: {}",
        pick(4, "gw", "gx"),
        pick(3, "2", "1")
    );
    text += &format!(", source_filter: {}}}\n", pick(5, "off", "[10.0.0.0/8]"));
    text += pick(6, "      c: {endpoint: gw, remote: 10.9.0.9, address: [10.255.0.0/31]}\n", "");
    text += "    routes:\n      - {prefix: 198.51.100.0/24, via: a, weight: 3}\n";
    text += pick(7, "      - {prefix: 198.51.100.0/24, via: b}\n", "");
    text += pick(8, "      - {prefix: 0.0.0.0/0, via: internet}\n", "      - {prefix: 0.0.0.0/0, via: b}\n");
    if bit(0) {
        text += pick(9, "      - {prefix: 10.3.0.0/16, via: 10.20.0.2}\n", "");
    }
    text += pick(
        10,
        "  beta: {tunnels: {z: {endpoint: gw, remote: 192.0.2.9}}, routes: [{prefix: '::/0', via: z}]}\n",
        "",
    );
    text
}

fn kernel_change() -> impl Strategy<Value = Change> {
    let prefix = prop::sample::select(vec![
        "0.0.0.0/0",
        "100.64.0.0/10",
        "192.0.2.0/24",
        "10.20.0.0/24",
        "10.9.0.0/24",
    ]);
    let ip = prop::sample::select(vec!["192.0.2.77", "192.0.2.254", "10.20.0.2", "10.9.0.9", "fe80::1"]);
    let hop = (prop::option::of(ip.clone()), 2u32..6, 1u16..4);
    prop_oneof![
        (prefix.clone(), prop::collection::vec(hop, 1..3)).prop_map(|(p, hops)| route(
            p,
            RouteKind::Unicast,
            &hops
        )),
        prefix.prop_map(no_route),
        (2u32..6, ip, prop::option::of(1u8..4)).prop_map(|(index, ip, mac)| neighbour(index, ip, mac)),
        prop::sample::select(vec![(2, "edge0"), (3, "edge1"), (4, "edge0.100"), (5, "wg0")]).prop_flat_map(
            |(index, name)| any::<bool>().prop_map(move |there| link(index, there.then_some(name)))
        ),
        (2u32..6, any::<bool>()).prop_map(|(index, there)| address(index, "10.20.0.1/24", there)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u32..2048).prop_map(Step::Configure),
        kernel_change().prop_map(Step::Kernel),
        (0u32..32).prop_map(Step::Fleet)
    ]
}

fn describe(lab: &Lab, bits: u32) -> Vec<String> {
    let ips = [
        "8.8.8.8",
        "100.64.0.7",
        "192.0.2.1",
        "192.0.2.77",
        "192.0.2.254",
        "10.20.0.1",
        "10.20.0.2",
        "10.3.0.1",
        "10.9.0.9",
        "198.51.100.1",
        "203.0.113.1",
        "203.0.113.9",
        "10.255.0.0",
        "10.255.0.1",
        "2001:db8::1",
    ];
    let tables: &[&str] =
        if bits >> 10 & 1 == 1 { &["internet", "acme", "beta"] } else { &["internet", "acme"] };
    let mut lines: Vec<String> = tables
        .iter()
        .flat_map(|table| ips.map(|ip| format!("{table} {ip}: {}", lab.find(table, ip))))
        .collect();
    let mut tunnels = vec![("acme", "a"), ("acme", "b")];
    tunnels.extend((bits >> 6 & 1 == 1).then_some(("acme", "c")));
    tunnels.extend((bits >> 10 & 1 == 1).then_some(("beta", "z")));
    for (tenant, tunnel) in tunnels {
        let accepted =
            ["198.51.100.1", "8.8.8.8", "10.1.1.1"].map(|source| lab.accepts(tenant, tunnel, source));
        lines.push(format!("{tenant}/{tunnel} {} {accepted:?}", lab.tunnel(tenant, tunnel)));
    }
    lines.push(format!("{:?}", lab.compiler.tables().fleet().map(|_| ways(lab))));
    lines.push(format!(
        "{} bound, {:?} next hops",
        lab.compiler.tables().bound_tunnels(),
        lab.compiler.next_hops.len()
    ));
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_ends_like_a_fresh_start(first in 0u32..2048, steps in prop::collection::vec(step(), 1..40)) {
        let mut lab = Lab::new(&config(first));
        let (mut bits, mut nodes) = (first, 0);
        for step in steps {
            match step {
                Step::Configure(new) => {
                    bits = new;
                    lab.configure(&config(new));
                }
                Step::Kernel(change) => drop(lab.change(change)),
                Step::Fleet(new) => {
                    nodes = new;
                    lab.compiler.set_fleet(fleet(new));
                    lab.settle();
                }
            }
        }
        let kernel = lab.compiler.kernel_state();
        let changes = kernel
            .links.iter().map(|(k, v)| Change::Link(*k, Some(v.clone())))
            .chain(kernel.addresses.iter().map(|a| Change::Address(*a, true)))
            .chain(kernel.neighbours.iter().map(|(k, v)| Change::Neighbour(*k, Some(*v))))
            .chain(kernel.routes.iter().map(|(k, v)| Change::Route(*k, Some(v.clone()))))
            .collect();
        let mut fresh = Lab::new(&config(bits));
        fresh.compiler.set_fleet(fleet(nodes));
        fresh.compiler.kernel(KernelUpdate { changes, resync: true });
        fresh.settle();
        prop_assert_eq!(describe(&lab, bits), describe(&fresh, bits));
    }
}
