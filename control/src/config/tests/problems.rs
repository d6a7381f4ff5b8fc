//! The words of problems, with their places.

use super::{SMALL, problems, replace, valid};

/// Changes a piece of the small configuration and expects exactly one problem.
fn one(from: &str, to: &str, expected: &str) {
    assert_eq!(problems(&replace(from, to)), [expected], "{to}");
}

#[test]
fn the_file_the_line_the_key_and_the_fix_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("penstock.yaml");
    std::fs::write(&path, replace("192.0.2.77", "\"192.0.2.777\"")).unwrap();
    let problems = crate::config::load(&path).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        format!(
            "{}:14:17: tenants.acme.tunnels.dc1.remote: \"192.0.2.777\" is not an IP address; write an IPv4 or IPv6 \
             address such as 192.0.2.7 or \"2001:db8::7\"",
            path.display()
        )
    );
    let missing = crate::config::load(&directory.path().join("none.yaml")).unwrap_err();
    assert!(missing[0].to_string().contains("none.yaml: cannot be read: No such file"), "{}", missing[0]);
}

#[test]
fn all_problems_come_at_once() {
    let text = SMALL
        .replace("workers: [1]", "workers: [1, 1, x]")
        .replace("net_null0", "eth0")
        .replace("203.0.113.1", "224.0.0.1")
        .replace("prefixes: [198.51.100.0/24]", "prefixes: [198.51.100.7/24]")
        .replace("endpoint: gw", "endpont: gw")
        .replace("via: dc1}", "via: dc3, weight: 0}\n      - {prefix: 10.0.0.0/8, via: dc4}");
    assert_eq!(
        problems(&text),
        [
            "1:21: cores.workers: core 1 is named twice; name each core once",
            "1:37: cores.workers[2]: \"x\" is not a core or range of cores; write core numbers from 0 to 1023, such as \
             [2, 3] or \"2-4,8\"",
            "4:13: ports.edge0.device: \"eth0\" is not a device; write a PCI address such as \"0000:3b:00.0\" \
             (dpdk-devbind.py -s lists them) or a virtual device such as \"net_af_packet0,iface=veth0\"",
            "7:7: endpoints.gw: 224.0.0.1 is a multicast address; write the unicast address of one host",
            "10:16: tenants.acme.prefixes[0]: 198.51.100.7/24 has bits set beyond its prefix length; write \
             198.51.100.0/24, or 198.51.100.7/32",
            "13:9: tenants.acme.tunnels.dc1.endpoint: is missing; add \"endpoint: NAME (one of endpoints)\"",
            "13:9: tenants.acme.tunnels.dc1: unknown key \"endpont\"; did you mean \"endpoint\"?",
            "16:40: tenants.acme.routes[0].via: there is no tunnel \"dc3\"; add it to tenants.acme.tunnels, or use one \
             that is there",
            "16:53: tenants.acme.routes[0].weight: 0 is out of range; write a number from 1 to 256",
            "17:35: tenants.acme.routes[1].via: there is no tunnel \"dc4\"; add it to tenants.acme.tunnels, or use one \
             that is there",
        ]
    );
}

#[test]
fn metrics_listen_on_an_address_with_a_port() {
    for (text, found) in
        [("127.0.0.1", "\"127.0.0.1\""), ("127.0.0.1:0", "\"127.0.0.1:0\""), ("host:9477", "\"host:9477\"")]
    {
        one(
            "ports:",
            &format!("metrics: {{listen: \"{text}\"}}\nports:"),
            &format!(
                "2:19: metrics.listen: {found} is not an address with a port; write an address of this host and a port, \
                 such as 127.0.0.1:9477 or \"[::1]:9477\""
            ),
        );
    }
    let listen = |text: &str| valid(&replace("ports:", &format!("metrics: {text}\nports:"))).metrics.listen;
    assert_eq!(listen("{listen: \"[::1]:9477\"}"), Some("[::1]:9477".parse().unwrap()));
    assert_eq!(listen("{}"), None);
}

#[test]
fn single_values() {
    one(
        "[192.0.2.1/24]",
        "192.0.2.1",
        "5:16: ports.edge0.addresses: \"192.0.2.1\" is not an address with prefix \
        length; add the prefix length, such as 192.0.2.1/24",
    );
    one(
        "[192.0.2.1/24]",
        "[192.0.2.255/24]",
        "5:17: ports.edge0.addresses[0]: 192.0.2.255/24 is the broadcast address \
        of its prefix; write an address inside it, such as 192.0.2.1/24",
    );
    one(
        "gw: 203.0.113.1",
        "gw: 203.0.113.1/32",
        "7:7: endpoints.gw: \"203.0.113.1/32\" is not an IP address; write it \
        without the prefix length: 203.0.113.1",
    );
    one(
        "remote:",
        "ttl: 256\n        remote:",
        "14:14: tenants.acme.tunnels.dc1.ttl: 256 is out of range; write a \
        number from 1 to 255",
    );
    one(
        "remote:",
        "key: 4294967296\n        remote:",
        "14:14: tenants.acme.tunnels.dc1.key: 4294967296 is out of \
        range; write a number from 0 to 4294967295",
    );
    one(
        "remote:",
        "mtu: big\n        remote:",
        "14:14: tenants.acme.tunnels.dc1.mtu: \"big\" is not auto or a number; \
        write auto or a number",
    );
    one(
        "remote:",
        "type: ipip\n        remote:",
        "14:15: tenants.acme.tunnels.dc1.type: \"ipip\" is not one of gre, ipsec; \
        write one of gre, ipsec",
    );
    one(
        "control: 0",
        "control: 0, spread: maybe",
        "1:29: cores.spread: \"maybe\" is not one of auto, off; write one of auto, off",
    );
    one(
        "control: 0",
        "control: 0, idle: rest",
        "1:27: cores.idle: \"rest\" is not one of poll, pause, sleep; write one of poll, pause, sleep",
    );
    one(
        "control: 0",
        "control: 0, idle: {1: pause, 7: sleep}",
        "1:41: cores.idle.7: core 7 is not a worker; name a core of cores.workers, or remove it",
    );
    one(
        "ports:",
        "node: {drain: 2h}\nports:",
        "2:15: node.drain: 2h is out of range; write a time from 0s to 1h with its unit (s, m, h or d), such as 10s",
    );
    one(
        "ports:",
        "crypto: {backend: openssl}\nports:",
        "2:19: crypto.backend: \"openssl\" is not one of auto, ipsec-mb, vaes, rustcrypto; write one of auto, ipsec-mb, vaes, \
        rustcrypto",
    );
    one(
        "ports:",
        "node: {state: state}\nports:",
        "2:15: node.state: \"state\" is not an absolute path; write a directory of our own, such as \
        /var/lib/penstock",
    );
    one(
        "device: net_null0",
        "device: net_null",
        "4:13: ports.edge0.device: the virtual device \"net_null\" has no \
        number; add a number that no other port has, such as net_null0",
    );
    one(
        "device: net_null0",
        "device: net_null0\n    mac: \"01:00:5e:00:00:01\"",
        "5:10: ports.edge0.mac: \
        01:00:5e:00:00:01 is a multicast address; write a unicast address; one that starts with 02 is free to use",
    );
    one(
        "device: net_null0",
        "device: net_null0\n    vlans: {4095: {}}",
        "5:13: ports.edge0.vlans.4095: \"4095\" is \
        not a VLAN id; write a number from 1 to 4094",
    );
    one(
        "  edge0:",
        "  edge.0:",
        "3:3: ports.edge.0: \"edge.0\" is not a usable name; use 1 to 63 letters, digits, \
        \"-\" and \"_\", and start with a letter or digit",
    );
    one(
        "      dc1:\n",
        "      internet: {endpoint: gw, remote: 192.0.2.9}\n      dc1:\n",
        "12:7: \
        tenants.acme.tunnels.internet: \"internet\" means something else in routes; give the tunnel another name",
    );
    one(
        "gw: 203.0.113.1",
        "gw: 203.0.113.1\n  gw: 203.0.113.2",
        "8:3: endpoints.gw: is already defined in line 7; \
        rename or remove one of them",
    );
    one(
        "endpoint: gw",
        "endpoint: gw\n        endpoint: gw",
        "14:9: tenants.acme.tunnels.dc1.endpoint: is already \
        set in line 13; remove one of them",
    );
    one(
        "  acme:",
        "  <<: {}\n  acme:",
        "9:3: tenants.<<: \"<<\" is not a usable name; use 1 to 63 letters, digits, \
        \"-\" and \"_\", and start with a letter or digit",
    );
}

#[test]
fn values_that_do_not_fit_each_other() {
    one(
        "endpoint: gw",
        "endpoint: gv",
        "13:19: tenants.acme.tunnels.dc1.endpoint: there is no endpoint \"gv\"; did you \
        mean \"gw\"?",
    );
    one(
        "via: dc1",
        "via: dc11",
        "16:40: tenants.acme.routes[0].via: there is no tunnel \"dc11\"; did you mean \"dc1\"?",
    );
    one(
        "remote: 192.0.2.77",
        "remote: 2001:db8::77",
        "14:17: tenants.acme.tunnels.dc1.remote: 2001:db8::77 is IPv6, \
        endpoint gw is IPv4; write the router's IPv4 address, or add an IPv6 endpoint",
    );
    one(
        "remote: 192.0.2.77",
        "remote: 198.51.100.9",
        "14:17: tenants.acme.tunnels.dc1.remote: 198.51.100.9 is inside \
        198.51.100.0/24 (tenants.acme.prefixes[0]), which is reached through tunnels; a tunnel cannot run inside \
        itself: write an address of the router's own provider",
    );
    one(
        "remote: 192.0.2.77",
        "remote: 192.0.2.77\n      dc2: {endpoint: gw, remote: 192.0.2.77}",
        "15:7: \
        tenants.acme.tunnels.dc2: has the same endpoint, remote and key as tenants.acme.tunnels.dc1 (line 12); \
        received packets could be of either: give one another key",
    );
    one(
        "gw: 203.0.113.1",
        "gw: 192.0.2.1",
        "7:7: endpoints.gw: 192.0.2.1 is also ports.edge0.addresses[0]; an endpoint \
        belongs to the fast path alone: use another address, or remove it from the port",
    );
    one(
        "gw: 203.0.113.1",
        "gw: 203.0.113.1\n  gx: 203.0.113.1",
        "8:7: endpoints.gx: 203.0.113.1 is also endpoints.gw \
        (line 7); remove one of them",
    );
    one(
        "tenants:",
        "tenants:\n  beta: {prefixes: [198.51.100.0/24], routes: [{prefix: 198.51.100.0/24, via: \
        blackhole}]}",
        "9:21: tenants.beta.prefixes[0]: 198.51.100.0/24 is also tenants.acme.prefixes[0]; a public \
        prefix has one owner: remove one of them",
    );
    one(
        "ports:",
        "routes: [{prefix: 0.0.0.0/0, via: 10.0.0.1}]\nports:",
        "2:35: routes[0].via: 10.0.0.1 is in no \
        prefix of a port; write a router on one of our links, give a port an address beside it, or add interface",
    );
    one(
        "ports:",
        "routes: [{prefix: '::/0', via: 'fe80::1'}]\nports:",
        "2:32: routes[0].via: fe80::1 is a link-local \
        address, which exists on every link; add interface, such as interface: edge0",
    );
    one(
        "ports:",
        "routes: [{prefix: 0.0.0.0/0, via: 192.0.2.9, interface: edge1}]\nports:",
        "2:57: \
        routes[0].interface: there is no port \"edge1\"; did you mean \"edge0\"?",
    );
    one(
        "device: net_null0",
        "device: net_null0\n    tenant: amce",
        "5:13: ports.edge0.tenant: there is no tenant \
        \"amce\"; did you mean \"acme\"?",
    );
    one(
        "  edge0:",
        "  e1: {device: net_null0}\n  edge0:",
        "5:13: ports.edge0.device: net_null0 is also the device of \
        e1; a device is one port: name another device",
    );
    one(
        "via: dc1}",
        "via: dc1}\n      - {prefix: 198.51.100.0/24, via: blackhole}",
        "17:9: tenants.acme.routes[1]: \
        198.51.100.0/24 has the same priority as tenants.acme.routes[0]; only tunnels and routers can share the flows \
        of a prefix: give one another priority",
    );
    one(
        "via: dc1}",
        "via: dc1}\n      - {prefix: 10.0.0.0/8, via: 10.0.0.1}",
        "17:35: tenants.acme.routes[1].via: \
        10.0.0.1 is in no prefix of a port or VLAN of tenant acme; write a tunnel's name, internet, or a router on a \
        link of this tenant",
    );
    one(
        "[192.0.2.1/24]",
        "[192.0.2.1/24]\n    vlans: {7: {addresses: [192.0.2.129/25], tenant: acme}}",
        "6:29: \
        ports.edge0.vlans.7.addresses[0]: 192.0.2.129/25 overlaps 192.0.2.1/24 of ports.edge0.addresses[0]; links of \
        different tenants need prefixes of their own",
    );
    one(
        "cores: {control: 0, workers: [1]}",
        "memory: {mbufs: 1000000, size_mib: 512}\ncores: {control: 0, workers: \
        [1]}",
        "1:17: memory.mbufs: 1000000 packet buffers need 2258 MiB, memory.size_mib is 512; write auto, fewer \
        buffers, or more memory",
    );
}

#[test]
fn a_path_mtu_cannot_be_probed_where_routers_may_cut() {
    one(
        "remote:",
        "health: {path_mtu: true}\n        df: clear\n        remote:",
        "14:28: tenants.acme.tunnels.dc1.health.path_mtu: with df: clear routers cut what is too large, and no probe is \
         lost for its size; remove it, or write df: set or df: copy",
    );
    one(
        "remote:",
        "health: {path_mtu_raise: 9s}\n        remote:",
        "14:34: tenants.acme.tunnels.dc1.health.path_mtu_raise: 9s is out of range; write a time from 10s to 1d with its \
         unit (s, m, h or d), such as 10m",
    );
}

#[test]
fn an_ipsec_tunnel_has_no_keys_of_gre() {
    for (key, value, column) in [("key", "5", 14), ("checksum", "true", 19), ("keepalive", "{}", 20)] {
        one(
            "remote:",
            &format!("{key}: {value}\n        type: ipsec\n        remote:"),
            &format!(
                "14:{column}: tenants.acme.tunnels.dc1.{key}: is for GRE, this tunnel is ipsec; remove it, or write \
                 type: gre"
            ),
        );
    }
}

/// What arrives names a security association, not the tunnel.
#[test]
fn ipsec_tunnels_may_share_endpoint_and_remote() {
    valid(&replace(
        "remote: 192.0.2.77",
        "remote: 192.0.2.77\n      dc2: {type: ipsec, endpoint: gw, remote: 192.0.2.77}\n      dc3: {type: ipsec, \
         endpoint: gw, remote: 192.0.2.77}",
    ));
}

#[test]
fn queues_by_hand() {
    let with = |queues: &str| replace("workers: [1]", &format!("workers: [1], queues: {{{queues}}}"));
    valid(&with("1: [edge0/0, edge0/1]"));
    for (queues, expected) in [
        ("1: [edge0/0], 2: [edge0/1]", "core 2 is not a worker; add it"),
        ("1: [edge0/0, edge0/0]", "edge0/0 is polled twice; one queue, one core"),
        ("1: [edge0/0, edge1/0]", "there is no port \"edge1\"; did you mean \"edge0\"?"),
        ("1: [edge0/1]", "some queues of edge0 below edge0/1 are polled by nobody; use every queue"),
        ("1: []", "nobody polls port edge0; give edge0/0 to a worker"),
        ("1: [edge0]", "\"edge0\" is not a receive queue; write port/queue"),
    ] {
        let problems = problems(&with(queues));
        assert!(problems.iter().any(|p| p.contains(expected)), "{queues}: {problems:?}");
    }
}

#[test]
fn warnings_do_not_refuse() {
    for (from, to, expected) in [
        ("control: 0", "control: 1", "1:18: cores.control: core 1 runs a worker as well as control"),
        (
            "remote:",
            "mtu: 1490\n        remote:",
            "14:14: tenants.acme.tunnels.dc1.mtu: 1490 and 24 bytes of headers",
        ),
        ("remote:", "mss: 1460\n        remote:", "14:14: tenants.acme.tunnels.dc1.mss: 1460 is more than"),
        (
            "via: dc1}",
            "via: internet}",
            "10:16: tenants.acme.prefixes[0]: no route of acme leads 198.51.100.0/24",
        ),
    ] {
        let config = valid(&replace(from, to));
        let warnings: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(expected), "{warnings:?}");
    }
}
