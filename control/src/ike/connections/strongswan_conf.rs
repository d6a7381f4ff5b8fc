//! strongswan.conf for a charon of ours: the plugins that it needs and no other, nothing that touches the host's
//! routes or addresses, and bounds for what strangers may cost.

use crate::config::{IkeConfig, ManagedCharon};

/// Tested to be the least for pre-shared keys, RSA, ECDSA and every transform that a proposal may name: openssl has all
/// algorithms except the derivation of keys, which is kdf's (openssl offers it and then refuses), pem takes keys and certificates out of what vici brings. Our own comes before kernel-netlink, which would
/// else give security associations to the kernel; `!` has charon end where it is missing. (With `!` all that a plugin
/// can do must be there, so the others have none: pem can do much that needs further plugins.)
///
/// Left out on purpose: what fetches revocation lists (a router is revoked by removing its tunnel), other kinds of
/// authentication, updown scripts, attributes.
const PLUGINS: &str = "nonce openssl kdf pem constraints vici penstock! kernel-netlink socket-default";

/// Bits of an IKE SPI that the node's number has: the first ten, as in the SPIs of ESP.
const SPI_LABEL_SHIFT: u32 = 64 - 10;

/// The text of strongswan.conf. `node` is the node's number.
pub fn strongswan_conf(ike: &IkeConfig, daemon: &ManagedCharon, node: u16) -> String {
    let vici = quoted(&format!("unix://{}", ike.vici().display()));
    let socket = quoted(&ike.plugin_socket.display().to_string());
    let threads = daemon.threads;
    let mask = u64::MAX << SPI_LABEL_SHIFT;
    let label = u64::from(node) << SPI_LABEL_SHIFT;
    format!(
        "\
# Written by penstock at each start of charon: changes are lost. What can be set is in penstock's own configuration.
charon {{
  load = {PLUGINS}
  threads = {threads}
  # The node is in the SPIs: nodes that share an address do not give out the same.
  spi_mask = {mask:#018x}
  spi_label = {label:#018x}

  # Routes and addresses are not charon's. Responses go out from the address that was asked.
  install_routes = no
  install_virtual_ip = no
  process_route = no

  # Thousands of IKE SAs, each found at once.
  ikesa_table_size = 4096
  ikesa_table_segments = 16

  # Strangers: from so many negotiations under way on, a source must show that it is where it says it is (cookies),
  # and has so many at once; more than fit are dropped, and come again.
  dos_protection = yes
  cookie_threshold = 100
  cookie_threshold_ip = 10
  block_threshold = 64
  half_open_timeout = 30
  init_limit_half_open = 4096
  init_limit_job_load = 500

  # 2, 3.2, 5.1, 8.2, 13.1 and 21 s: a dead router is known in 53 s, and one lost packet costs 2 s.
  retransmit_timeout = 2.0
  retransmit_base = 1.6
  retransmit_tries = 5
  retransmit_jitter = 10

  # What the router still sends under the old security association is received.
  delete_rekeyed_delay = 5
  make_before_break = yes
  # A tunnel has one child: without it the IKE SA is of no use, and the router would not begin again.
  close_ike_on_child_failure = yes

  follow_redirects = no
  hash_and_url = no
  send_vendor_id = no

  plugins {{
    vici {{
      socket = {vici}
    }}
    penstock {{
      socket = {socket}
    }}
    kernel-netlink {{
      roam_events = no
      process_rules = no
    }}
  }}

  filelog {{
    stderr {{
      default = 1
      ike_name = yes
      flush_line = yes
      time_format = %Y-%m-%dT%H:%M:%S
      time_add_ms = yes
    }}
  }}
}}
charon-systemd {{
  # The same lines, once.
  journal {{
    default = -1
  }}
}}
"
    )
}

/// A value that may hold any character.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
