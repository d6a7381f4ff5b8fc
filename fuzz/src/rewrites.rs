//! What changes packets in place, and what quotes them: MSS clamping and ICMP errors.

use penstock_dataplane::icmp::{v4, v6};
use penstock_dataplane::mss::{self, Clamp};
use penstock_dataplane::wire::checksum;
use penstock_dataplane::wire::ipv4::Ipv4Header;
use penstock_dataplane::wire::ipv6::Ipv6Header;

/// Two bytes choose the limit, the rest is the packet.
pub fn rewrites(data: &[u8]) {
    let Some((limit, packet)) = data.split_first_chunk() else { return };
    let limit = u16::from_be_bytes(*limit);
    if Ipv4Header::parse(packet).is_ok() {
        clamped(packet, limit, mss::clamp_v4, mss::may_be_syn_v4);
        let mut out = [0; v4::MAX_LEN];
        if let Some(len) =
            v4::write(&mut out, v4::Error::FragmentationNeeded { mtu: limit }, 1, packet, false)
        {
            let error = Ipv4Header::parse(&out[..len]).expect("what we send can be parsed");
            assert_eq!(usize::from(error.total_len.get()), len);
            assert_eq!(checksum::sum(&out[20..len]), 0xffff);
        }
    }
    if Ipv6Header::parse(packet).is_ok() {
        clamped(packet, limit, mss::clamp_v6, mss::may_be_syn_v6);
        let mut out = [0; v6::MAX_LEN];
        if let Some(len) =
            v6::write(&mut out, v6::Error::PacketTooBig { mtu: limit.into() }, 1, packet, false)
        {
            let error = Ipv6Header::parse(&out[..len]).expect("what we send can be parsed");
            assert_eq!(error.packet_len(), len);
        }
    }
}

/// Clamping changes the option and the checksum or nothing, never twice, and only what may be a SYN.
fn clamped(packet: &[u8], limit: u16, clamp: fn(&mut [u8], u16) -> Clamp, may_be_syn: fn(&[u8]) -> bool) {
    let mut once = packet.to_vec();
    let result = clamp(&mut once, limit);
    let different = packet.iter().zip(&once).filter(|(before, after)| before != after).count();
    if result == Clamp::Clamped {
        assert!(may_be_syn(packet), "the cheap question must not hide a SYN");
        assert!((1..=4).contains(&different), "two bytes of option, two of checksum");
        assert_eq!(clamp(&mut once, limit), Clamp::Unchanged);
    } else {
        assert_eq!(different, 0);
    }
}
