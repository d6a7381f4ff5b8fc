//! Every parser of packets on any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_dataplane::icmp::{too_big::TooBig, v4, v6};
use penstock_dataplane::mss;
use penstock_dataplane::wire::gre::Gre;
use penstock_dataplane::wire::ipv4::Ipv4Header;
use penstock_dataplane::wire::ipv6::{self, Ipv6Header};

fuzz_target!(|input: &[u8]| {
    let _ = Ipv4Header::parse(input);
    let _ = Ipv6Header::parse(input);
    let _ = ipv6::transport(input);
    let _ = Gre::parse(input);
    let _ = TooBig::parse(input);
    let mut out = [0; 1280];
    let _ = v4::write(&mut out, v4::Error::TimeExceeded, 0x0a00_0001, input, false);
    let _ = v6::write(&mut out, v6::Error::TimeExceeded, 1 << 120, input, false);
    let mut packet = input.to_vec();
    mss::clamp_v4(&mut packet, 1200);
    mss::clamp_v6(&mut packet, 1200);
});
