//! What the cipher alone costs: the scenario's packets, under its keys and in its order, sealed or opened in bursts as
//! large as the data path's, and nothing else.
//!
//! Before each burst its packets are copied into the buffers, as a device does it, which is not counted: a packet can be
//! opened only once. Keys are asked for ahead, as the data path can.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::Result;
use arrayvec::ArrayVec;
use dpdk::cycles::rdtsc;
use penstock_dataplane::esp::cipher::{Cipher, Engine, OpenJob, SealJob};
use penstock_dataplane::esp::iv::Sender;
use penstock_dataplane::frame::BURST;

use crate::associations;
use crate::esp::{self, HEADER_LEN};
use crate::packet::{ETHERNET_LEN, IPV4_LEN};
use crate::scenario::Protection;

/// Bytes from one packet buffer to the next in a pool of buffers of 2048 bytes, a multiple of a cache line.
const STRIDE: usize = 2432;
/// Where a device puts a frame in a buffer.
const HEADROOM: usize = 128;
const LINE: usize = 64;

/// To encrypt or to decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Seal,
    Open,
}

/// A packet's key and where it is kept.
struct Kept {
    cipher: Arc<Cipher>,
    start: usize,
    len: usize,
}

/// The measurement's state.
pub struct Aead {
    direction: Direction,
    engine: Engine,
    sender: Sender,
    packets: Vec<Kept>,
    bytes: Vec<u8>,
    buffers: Vec<u8>,
    /// Where the first ESP header is in the buffers.
    first: usize,
    next: usize,
    refused: usize,
}

impl Aead {
    /// For ESP packets from their SPI to their ICV, each with its key. To be sealed, only their lengths matter.
    pub fn new(
        direction: Direction,
        protection: &Protection,
        packets: impl Iterator<Item = Result<(Arc<Cipher>, Vec<u8>)>>,
    ) -> Result<Self> {
        let mut kept = Vec::new();
        let mut bytes = Vec::new();
        for packet in packets {
            let (cipher, packet) = packet?;
            kept.push(Kept { cipher, start: bytes.len(), len: packet.len() });
            bytes.extend(packet);
        }
        let buffers = vec![0; (BURST + 1) * STRIDE];
        // The inner packet of what is sealed is where it came in; what is opened came in with a header in front.
        let at = HEADROOM
            + match direction {
                Direction::Seal => ETHERNET_LEN - HEADER_LEN - esp::iv_len(protection.suite),
                Direction::Open => ETHERNET_LEN + IPV4_LEN,
            };
        let first = buffers.as_ptr().align_offset(LINE) + at;
        Ok(Self {
            direction,
            engine: Engine::new(protection.backend)?,
            sender: Sender::new(associations::lease()?),
            packets: kept,
            bytes,
            buffers,
            first,
            next: 0,
            refused: 0,
        })
    }

    /// Cycles a packet over so many packets at least.
    pub fn round(&mut self, packets: usize) -> f64 {
        let (mut spent, mut done) = (0, 0);
        while done < packets {
            spent += self.burst();
            done += BURST;
        }
        spent as f64 / done as f64
    }

    /// Packets that were not sealed or not authentic: there must be none.
    pub fn refused(&self) -> usize {
        self.refused
    }

    fn burst(&mut self) -> u64 {
        let Self { direction, engine, sender, packets, bytes, buffers, first, next, refused } = self;
        let mut burst = ArrayVec::<(&Cipher, &mut [u8]), BURST>::new();
        for buffer in buffers[*first..].chunks_mut(STRIDE).take(BURST) {
            let Kept { cipher, start, len } = &packets[*next];
            *next = (*next + 1) % packets.len();
            let esp = &mut buffer[..*len];
            esp.copy_from_slice(&bytes[*start..][..*len]);
            burst.push((cipher, esp));
        }
        let keys: ArrayVec<&Cipher, BURST> = burst.iter().map(|(cipher, _)| *cipher).collect();
        match direction {
            Direction::Seal => {
                let mut jobs: ArrayVec<SealJob<'_>, BURST> = burst
                    .into_iter()
                    .filter_map(|(cipher, esp)| Some(SealJob::new(cipher, esp, None, sender.next_iv()?)))
                    .collect();
                let start = rdtsc();
                keys.iter().for_each(|key| key.fetch());
                engine.seal(black_box(&mut jobs));
                let spent = rdtsc().wrapping_sub(start);
                *refused += BURST - jobs.iter().filter(|job| job.is_sealed()).count();
                spent
            }
            Direction::Open => {
                let mut jobs: ArrayVec<OpenJob<'_>, BURST> =
                    burst.into_iter().map(|(cipher, esp)| OpenJob::new(cipher, esp, None)).collect();
                let start = rdtsc();
                keys.iter().for_each(|key| key.fetch());
                engine.open(black_box(&mut jobs));
                let spent = rdtsc().wrapping_sub(start);
                *refused += BURST - jobs.iter().filter(|job| job.is_authentic()).count();
                spent
            }
        }
    }
}
