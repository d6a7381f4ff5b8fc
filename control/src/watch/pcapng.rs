//! A capture as a pcapng file (draft-ietf-opsawg-pcapng): an interface for each port, and one more for each tunnel of which
//! packets are seen inside.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapResult};
use penstock_dataplane::ids::PortId;

use super::frames::{Caught, Place};
use crate::compile::Names;

/// Nanoseconds: the power of ten, negative.
const NANOSECONDS: u8 = 9;
/// `epb_flags`: two bits of direction.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A file in the making. Bytes that are ready are taken out as they come.
pub struct CaptureFile {
    writer: PcapNgWriter<Vec<u8>>,
    interfaces: HashMap<Place, u32>,
    snaplen: u32,
}

impl CaptureFile {
    /// Begins a file, with the ports by their numbers.
    ///
    /// # Errors
    /// Never: it is written to memory.
    pub fn new<'a>(
        version: &str,
        node: &str,
        ports: impl Iterator<Item = &'a str>,
        snaplen: u32,
    ) -> PcapResult<Self> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![
                SectionHeaderOption::UserApplication(Cow::Owned(format!("penstock {version}"))),
                SectionHeaderOption::Comment(Cow::Owned(format!("node {node}"))),
            ],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(Vec::new(), section)?;
        let mut file = Self { writer, interfaces: HashMap::new(), snaplen };
        for (number, name) in (0u16..).zip(ports) {
            file.add_interface(Place::Port(PortId(number)), name)?;
        }
        Ok(file)
    }

    /// Adds what was caught at this time, since 1970.
    ///
    /// # Errors
    /// Never: it is written to memory.
    pub fn add(&mut self, date: Duration, caught: &Caught, names: &Names) -> PcapResult<()> {
        let interface_id = match self.interfaces.get(&caught.place) {
            Some(id) => *id,
            None => {
                let name = match caught.place {
                    Place::Port(port) => format!("port {port}"),
                    Place::Tunnel(tunnel) => format!("tunnel {}", names.tunnel(tunnel)),
                    Place::Inside => "inside penstock".to_owned(),
                };
                self.add_interface(caught.place, &name)?
            }
        };
        let direction = if caught.inbound { INBOUND } else { OUTBOUND };
        self.writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id,
            timestamp: date,
            original_len: u32::try_from(caught.len).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&caught.bytes),
            options: vec![
                EnhancedPacketOption::Comment(Cow::Borrowed(&caught.comment)),
                EnhancedPacketOption::Flags(direction),
            ],
        })?;
        Ok(())
    }

    /// Ends the file with how many packets are not in it, though they were wanted.
    ///
    /// # Errors
    /// Never: it is written to memory.
    pub fn end(&mut self, date: Duration, caught: u64, missed: u64) -> PcapResult<()> {
        let nanos = date.as_nanos() as u64;
        self.writer.write_pcapng_block(InterfaceStatisticsBlock {
            interface_id: 0,
            // The high half comes first, whatever the file's byte order.
            timestamp: nanos.rotate_left(32),
            options: vec![
                InterfaceStatisticsOption::Comment(Cow::Owned(format!("{missed} packets were not caught"))),
                InterfaceStatisticsOption::IsbOsDrop(missed),
                InterfaceStatisticsOption::IsbUsrDeliv(caught),
            ],
        })?;
        Ok(())
    }

    /// What has been written since the last time.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }

    fn add_interface(&mut self, place: Place, name: &str) -> PcapResult<u32> {
        let id = self.interfaces.len() as u32;
        self.interfaces.insert(place, id);
        self.writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: if place.has_frames() { DataLink::ETHERNET } else { DataLink::RAW },
            snaplen: self.snaplen,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        })?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};
    use penstock_dataplane::ids::TunnelId;
    use proptest::prelude::*;

    use super::*;

    fn caught() -> impl Strategy<Value = Caught> {
        let place = prop_oneof![
            (0u16..2).prop_map(|port| Place::Port(PortId(port))),
            (0u32..5).prop_map(|tunnel| Place::Tunnel(TunnelId(tunnel))),
            Just(Place::Inside),
        ];
        let bytes = proptest::collection::vec(0u8.., 0..300);
        (place, any::<bool>(), bytes, 0usize..9000, "[ -~]{0,80}").prop_map(
            |(place, inbound, bytes, more, comment)| Caught {
                place,
                inbound,
                len: bytes.len() + more,
                bytes,
                comment,
            },
        )
    }

    proptest! {
        /// In whatever pieces the bytes are taken out, a reader finds everything again, each at an interface of its kind.
        #[test]
        fn what_is_written_is_read(all in proptest::collection::vec((caught(), any::<bool>()), 0..40)) {
            let names = Names::default();
            let mut file = CaptureFile::new("1.2", "fra1", ["edge0", "core0"].into_iter(), 2048).unwrap();
            let mut bytes = Vec::new();
            for (number, (caught, take)) in (1u32..).zip(&all) {
                file.add(Duration::new(1_700_000_000, number), caught, &names).unwrap();
                if *take {
                    bytes.append(&mut file.take_bytes());
                }
            }
            file.end(Duration::new(1_700_000_001, 0), all.len() as u64, 7).unwrap();
            bytes.append(&mut file.take_bytes());
            let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
            let (mut found, mut links) = (Vec::new(), Vec::new());
            let mut missed = None;
            while let Some(block) = reader.next_block() {
                match block.unwrap().into_owned() {
                    Block::InterfaceDescription(interface) => links.push(interface.linktype),
                    Block::EnhancedPacket(packet) => found.push(packet),
                    Block::InterfaceStatistics(statistics) => missed = Some(statistics),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert_eq!(found.len(), all.len());
            for ((packet, (caught, _)), number) in found.iter().zip(&all).zip(1u32..) {
                prop_assert_eq!(&*packet.data, &caught.bytes[..]);
                prop_assert_eq!(packet.original_len as usize, caught.len);
                prop_assert_eq!(packet.timestamp, Duration::new(1_700_000_000, number));
                let is_ethernet = links[packet.interface_id as usize] == DataLink::ETHERNET;
                prop_assert_eq!(is_ethernet, caught.place.has_frames());
                let comment = EnhancedPacketOption::Comment(caught.comment.clone().into());
                prop_assert!(packet.options.contains(&comment));
            }
            let options = missed.unwrap().options;
            prop_assert!(options.contains(&InterfaceStatisticsOption::IsbOsDrop(7)));
        }
    }
}
