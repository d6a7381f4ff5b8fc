//! Filters in the language of tcpdump, by libpcap.

use pcap::{BpfProgram, Capture, Linktype};
use thiserror::Error;

/// A filter that is none. libpcap says what is wrong with it.
#[derive(Debug, Error)]
#[error(
    "the filter {expression:?} is not understood: {detail}; write it as for tcpdump, for example \
     \"host 192.0.2.10 and tcp port 443\""
)]
pub struct FilterError {
    expression: String,
    detail: String,
}

/// A filter, for frames and for packets without one. Looks only at the bytes that were kept.
pub struct PacketFilter {
    /// `None`: nothing of the kind can match.
    ethernet: Option<BpfProgram>,
    raw: Option<BpfProgram>,
}

impl PacketFilter {
    /// Compiles an expression.
    ///
    /// # Errors
    /// When it makes sense neither for Ethernet nor for IP.
    pub fn compile(expression: &str) -> Result<Self, FilterError> {
        // DLT_RAW, as libpcap has it on Linux.
        const RAW_IP: Linktype = Linktype(12);
        let compile = |link| Capture::dead(link)?.compile(expression, true);
        let raw = compile(RAW_IP).ok();
        let ethernet = match compile(Linktype::ETHERNET) {
            Ok(program) => Some(program),
            Err(_) if raw.is_some() => None,
            Err(error) => {
                let detail = match error {
                    pcap::Error::PcapError(detail) => detail,
                    other => other.to_string(),
                };
                return Err(FilterError { expression: expression.to_owned(), detail });
            }
        };
        Ok(Self { ethernet, raw })
    }

    /// Whether a frame or, if it has no Ethernet header, an IP packet is wanted.
    pub fn accepts(&self, bytes: &[u8], is_frame: bool) -> bool {
        let program = if is_frame { &self.ethernet } else { &self.raw };
        program.as_ref().is_some_and(|program| program.filter(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(last: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, last];
        packet.extend_from_slice(&[0, 7, 0, 53, 0, 8, 0, 0]);
        packet
    }

    fn frame(last: u8) -> Vec<u8> {
        [&[2; 12][..], &[8, 0], &packet(last)].concat()
    }

    #[test]
    fn one_expression_serves_frames_and_packets() {
        let filter = PacketFilter::compile("dst host 10.0.0.2 and udp port 53").unwrap();
        for (last, wanted) in [(2, true), (3, false)] {
            assert_eq!(filter.accepts(&packet(last), false), wanted);
            assert_eq!(filter.accepts(&frame(last), true), wanted);
        }
        assert!(!filter.accepts(&[], true) && !filter.accepts(&[0x45], false));
    }

    #[test]
    fn what_only_frames_have_matches_only_frames() {
        let filter = PacketFilter::compile("ether src 02:02:02:02:02:02").unwrap();
        assert!(filter.accepts(&frame(1), true));
        assert!(!filter.accepts(&packet(1), false));
    }

    #[test]
    fn what_is_wrong_is_said_as_libpcap_says_it() {
        let refused = PacketFilter::compile("host and and").err().unwrap().to_string();
        assert!(refused.contains("syntax error") && refused.contains("host and and"), "{refused}");
        assert!(PacketFilter::compile("nonsense 5").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(0u8.., 0..100), is_frame: bool) {
            let filter = PacketFilter::compile("vlan or ip6 protochain 6 or tcp[tcpflags] & tcp-syn != 0").unwrap();
            let _ = filter.accepts(&bytes, is_frame);
        }
    }
}
