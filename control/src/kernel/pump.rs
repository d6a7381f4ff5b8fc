//! The pump: a thread on the control core that carries frames between the twins and the data plane.
//!
//! Towards the kernel go the frames that the workers punt; towards the ports go the frames that the kernel
//! sends. The workers' side is a lock-free queue that cannot wake anybody, so the pump looks at it at least
//! once a millisecond, and every 50 microseconds while there is traffic. Each direction moves a bounded
//! number of frames per round, so that neither starves the other. A frame that the other side has no room for
//! is dropped and counted, as a NIC would.
//!
//! VLANs: the twin of a VLAN is an untagged interface. The pump takes the tag off what goes up and puts it on
//! what comes down.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;
use penstock_dataplane::ids::InterfaceId;
use serde::Serialize;

use super::state::IfIndex;
use super::tap::Tap;

/// Frames taken from one twin per round.
const READ_BATCH: usize = 32;
/// Sleep while there is traffic, and while there is none.
const BUSY_SLEEP: Duration = Duration::from_micros(50);
const IDLE_SLEEP: Duration = Duration::from_millis(1);
/// Rounds without a frame until the pump counts as idle: 5 ms of busy sleeps.
const IDLE_AFTER_ROUNDS: u32 = 100;
/// Room for a VLAN tag in front of a frame that is read.
const TAG_LEN: usize = 4;
/// Destination and source address.
const ADDRESSES_LEN: usize = 12;
/// The largest frame of a TAP interface: MTU 65521 and a header of 14 bytes.
const FRAME_MAX_BYTES: usize = 65_535;
/// EtherType of an 802.1Q tag.
const TPID_8021Q: [u8; 2] = [0x81, 0x00];
/// The VLAN identifier's bits in a tag (802.1Q section 9.6).
const VID_MASK: u16 = 0x0fff;

/// The data plane has no room for a frame now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The data plane's end of the slow path, in bytes.
pub trait FrameLink: Send {
    /// Hands the frames that workers punted to `take`, each with the interface that it came in by, as it was
    /// on the wire (with or without its VLAN tag). Moves a bounded number of frames and returns how many.
    fn poll_punts(&mut self, take: &mut dyn FnMut(InterfaceId, &[u8])) -> usize;

    /// Sends a frame by an interface. It is complete, VLAN tag included.
    fn inject(&mut self, interface: InterfaceId, frame: &[u8]) -> Result<(), Full>;
}

/// One twin as the pump sees it.
#[derive(Debug, Clone)]
pub struct PumpPort {
    /// The data plane's number of the interface.
    pub interface: InterfaceId,
    /// The kernel's number of the twin.
    pub index: IfIndex,
    /// The tag of its frames on the wire.
    pub vlan: Option<u16>,
    /// The file end.
    pub tap: Arc<Tap>,
}

#[derive(Debug, Default)]
struct Counters {
    punted: AtomicU64,
    punt_no_twin: AtomicU64,
    punt_refused: AtomicU64,
    punt_wrong_vlan: AtomicU64,
    injected: AtomicU64,
    inject_full: AtomicU64,
    inject_bad: AtomicU64,
}

/// What the pump has moved since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PumpStats {
    /// Frames handed to the kernel.
    pub punted: u64,
    /// Punted frames of an interface without a twin.
    pub punt_no_twin: u64,
    /// Punted frames that the kernel refused: the twin is down or its queue is full.
    pub punt_refused: u64,
    /// Punted frames too short to be Ethernet, or with another VLAN than their interface.
    pub punt_wrong_vlan: u64,
    /// Frames of the kernel handed to the data plane.
    pub injected: u64,
    /// Frames of the kernel that the data plane had no room for.
    pub inject_full: u64,
    /// Frames of the kernel too short to be Ethernet.
    pub inject_bad: u64,
}

impl PumpStats {
    /// Frames that went nowhere, in either direction.
    pub fn lost(&self) -> u64 {
        self.punt_no_twin + self.punt_refused + self.punt_wrong_vlan + self.inject_full + self.inject_bad
    }
}

/// The running pump. Dropping it stops the thread.
#[derive(Debug)]
pub struct Pump {
    commands: Sender<Vec<PumpPort>>,
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// Starts the thread, on `core` if one is given, without any twins yet.
    pub fn start(link: Box<dyn FrameLink>, core: Option<usize>) -> io::Result<Self> {
        let (commands, receiver) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let counters = Arc::new(Counters::default());
        let mut running = Running {
            link,
            ports: Vec::new(),
            by_interface: Vec::new(),
            buffer: vec![0; TAG_LEN + FRAME_MAX_BYTES],
            counters: Arc::clone(&counters),
        };
        let thread = thread::Builder::new().name("pump".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || {
                if let Err(error) = core.map_or(Ok(()), pin) {
                    tracing::warn!(%error, ?core, "cannot pin the pump to the control core; it runs anywhere");
                }
                running.run(&receiver, &stop);
            }
        })?;
        Ok(Self { commands, stop, counters, thread: Some(thread) })
    }

    /// Replaces the twins, from the next round on.
    pub fn set_ports(&self, ports: Vec<PumpPort>) {
        // It fails only if the thread is gone, and it goes only with this handle.
        let _ = self.commands.send(ports);
    }

    /// Counters, for metrics and `show`.
    pub fn stats(&self) -> PumpStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        PumpStats {
            punted: get(&c.punted),
            punt_no_twin: get(&c.punt_no_twin),
            punt_refused: get(&c.punt_refused),
            punt_wrong_vlan: get(&c.punt_wrong_vlan),
            injected: get(&c.injected),
            inject_full: get(&c.inject_full),
            inject_bad: get(&c.inject_bad),
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the pump had panicked");
        }
    }
}

struct Running {
    link: Box<dyn FrameLink>,
    ports: Vec<Port>,
    /// Position in `ports` by interface number.
    by_interface: Vec<Option<usize>>,
    buffer: Vec<u8>,
    counters: Arc<Counters>,
}

struct Port {
    port: PumpPort,
    /// Somebody deleted the interface: its file is always ready and always fails.
    is_dead: bool,
}

impl Running {
    fn run(&mut self, commands: &Receiver<Vec<PumpPort>>, stop: &AtomicBool) {
        let mut idle_rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            loop {
                match commands.try_recv() {
                    Ok(ports) => self.set_ports(ports),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let punted = self.punt();
            let sleep = match (punted, idle_rounds) {
                (1.., _) => Duration::ZERO,
                (0, ..IDLE_AFTER_ROUNDS) => BUSY_SLEEP,
                _ => IDLE_SLEEP,
            };
            let ready = self.wait(sleep);
            let injected: usize = ready.into_iter().map(|at| self.inject(at)).sum();
            idle_rounds = if punted + injected > 0 { 0 } else { u32::saturating_add(idle_rounds, 1) };
        }
    }

    fn set_ports(&mut self, ports: Vec<PumpPort>) {
        self.by_interface.clear();
        for (at, port) in ports.iter().enumerate() {
            let number = port.interface.index();
            if self.by_interface.len() <= number {
                self.by_interface.resize(number + 1, None);
            }
            self.by_interface[number] = Some(at);
        }
        self.ports = ports.into_iter().map(|port| Port { port, is_dead: false }).collect();
    }

    /// Data plane to kernel.
    fn punt(&mut self) -> usize {
        let Self { link, ports, by_interface, counters, .. } = self;
        link.poll_punts(&mut |interface, frame| {
            let at = by_interface.get(interface.index()).copied().flatten();
            let counter = match at.and_then(|at| ports.get(at)) {
                None => &counters.punt_no_twin,
                Some(Port { port, .. }) => match untag(frame, port.vlan) {
                    None => &counters.punt_wrong_vlan,
                    Some(pieces) => match port.tap.write(&pieces) {
                        Ok(()) => &counters.punted,
                        Err(_) => &counters.punt_refused,
                    },
                },
            };
            counter.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Sleeps until a twin has a frame or the time is over. Returns the positions of the twins to read.
    fn wait(&mut self, sleep: Duration) -> Vec<usize> {
        let alive: Vec<usize> = (0..self.ports.len()).filter(|&at| !self.ports[at].is_dead).collect();
        let fds = alive.iter().map(|&at| PollFd::new(self.ports[at].port.tap.as_fd(), PollFlags::POLLIN));
        let mut fds: Vec<PollFd<'_>> = fds.collect();
        match ppoll(&mut fds, Some(TimeSpec::from_duration(sleep)), None) {
            // A signal: another round does no harm.
            Err(_) | Ok(0) => Vec::new(),
            Ok(_) => alive
                .into_iter()
                .zip(&fds)
                .filter(|(_, fd)| fd.any() == Some(true))
                .map(|(at, _)| at)
                .collect(),
        }
    }

    /// Kernel to data plane, for one twin.
    fn inject(&mut self, at: usize) -> usize {
        let Self { link, ports, buffer, counters, .. } = self;
        let Some(port) = ports.get_mut(at) else { return 0 };
        for moved in 0..READ_BATCH {
            let length = match port.port.tap.read(&mut buffer[TAG_LEN..]) {
                Ok(length) => length,
                Err(error) => {
                    port.is_dead = error.raw_os_error() == Some(libc::EBADFD);
                    return moved;
                }
            };
            let frame = tag(buffer, length, port.port.vlan);
            let counter = match frame.map(|frame| link.inject(port.port.interface, frame)) {
                None => &counters.inject_bad,
                Some(Ok(())) => &counters.injected,
                Some(Err(Full)) => &counters.inject_full,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        READ_BATCH
    }
}

/// A punted frame without its tag, in two pieces. A frame that has no tag is passed as it is; one with
/// another tag than its interface's is refused.
fn untag(frame: &[u8], vlan: Option<u16>) -> Option<[IoSlice<'_>; 2]> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES_LEN)?;
    let rest = match (vlan, rest) {
        (Some(vlan), [a, b, tci_high, tci_low, inner @ ..]) if [*a, *b] == TPID_8021Q => {
            let vid = u16::from_be_bytes([*tci_high, *tci_low]) & VID_MASK;
            if vid != vlan {
                return None;
            }
            inner
        }
        _ => rest,
    };
    // What is left must have an EtherType.
    (rest.len() >= 2).then(|| [IoSlice::new(addresses), IoSlice::new(rest)])
}

/// The frame that was read to `buffer[TAG_LEN..]`, with its tag if it needs one.
fn tag(buffer: &mut [u8], length: usize, vlan: Option<u16>) -> Option<&[u8]> {
    if length < ADDRESSES_LEN + 2 {
        return None;
    }
    let Some(vlan) = vlan else { return buffer.get(TAG_LEN..TAG_LEN + length) };
    buffer.copy_within(TAG_LEN..TAG_LEN + ADDRESSES_LEN, 0);
    let [tci_high, tci_low] = (vlan & VID_MASK).to_be_bytes();
    let tag = [TPID_8021Q[0], TPID_8021Q[1], tci_high, tci_low];
    buffer.get_mut(ADDRESSES_LEN..ADDRESSES_LEN + TAG_LEN)?.copy_from_slice(&tag);
    buffer.get(..TAG_LEN + length)
}

/// Keeps this thread, and those it starts, on one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn frame(parts: &[&[u8]]) -> Vec<u8> {
        [&[&ADDRESSES[..]], parts].concat().concat()
    }

    fn joined(pieces: Option<[IoSlice<'_>; 2]>) -> Option<Vec<u8>> {
        pieces.map(|[a, b]| [&*a, &*b].concat())
    }

    #[test]
    fn takes_off_the_tag_of_its_own_vlan_only() {
        let plain = frame(&[&[0x08, 0x00], b"payload"]);
        let tagged = frame(&[&[0x81, 0x00, 0xa0, 0x64], &[0x08, 0x00], b"payload"]);
        assert_eq!(joined(untag(&tagged, Some(100))), Some(plain.clone()), "priority bits are not the VLAN");
        assert_eq!(joined(untag(&plain, Some(100))), Some(plain.clone()), "a NIC may have stripped it");
        assert_eq!(joined(untag(&tagged, Some(101))), None);
        assert_eq!(joined(untag(&tagged, None)), Some(tagged.clone()), "not ours to take off");
    }

    #[test]
    fn refuses_what_is_too_short_to_be_a_frame() {
        let tagged = frame(&[&[0x81, 0x00, 0x00, 0x64], &[0x08, 0x00]]);
        for length in 0..tagged.len() {
            let got = joined(untag(&tagged[..length], Some(100)));
            // 14 and 15 bytes end inside the tag: an EtherType follows, and the kernel will make nothing of
            // it.
            assert_eq!(got.is_some(), (14..16).contains(&length), "{length}");
        }
        assert!(untag(&tagged, Some(100)).is_some());
        assert_eq!(tag(&mut [0; 64], 13, None), None);
    }

    #[test]
    fn puts_the_tag_on_and_takes_it_off_again() {
        let plain = frame(&[&[0x86, 0xdd], b"payload"]);
        let mut buffer = vec![0; 64];
        buffer[TAG_LEN..TAG_LEN + plain.len()].copy_from_slice(&plain);
        let tagged = tag(&mut buffer, plain.len(), Some(4094)).expect("long enough").to_vec();
        assert_eq!(tagged, frame(&[&[0x81, 0x00, 0x0f, 0xfe], &[0x86, 0xdd], b"payload"]));
        assert_eq!(joined(untag(&tagged, Some(4094))), Some(plain));
    }
}
