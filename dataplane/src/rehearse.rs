//! What would become of a packet: the real pipeline over the live tables, for one frame, with counters, budgets, queues and
//! associations of its own, beside the workers and without their knowledge. Nothing leaves.

use std::marker::PhantomData;
use std::sync::Arc;

use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;

use crate::esp::EspParts;
use crate::frame::{BURST, Driver, Pool, RxQueue, TxQueue};
use crate::handoff::peers;
use crate::ids::PortId;
use crate::ike::IkeGate;
use crate::pipeline::{Parts, Pipeline};
use crate::probe::ProbeEnd;
use crate::punt::punt_queue;
use crate::stats::WorkerStats;
use crate::tables::Snapshot;
use crate::watch::{Drops, Journey, Recorder, Session, WatchSpec};

/// Packets that one can become: the pieces of two cuts, and an ICMP error.
const MOST: usize = 64;
/// Bytes of each that are kept: of an ICMP error, all.
const SNAPLEN: usize = 2048;

/// A driver's buffers without its queues.
struct Rehearsed<D>(PhantomData<D>);

impl<D: Driver> Driver for Rehearsed<D> {
    type Buffer = D::Buffer;
    type Rx = OneFrame<D::Buffer>;
    type Tx = Nowhere;
    type Pool = D::Pool;
    type Fragmentation = D::Fragmentation;
    type Watch = Recorder;

    fn now() -> u64 {
        D::now()
    }

    fn free(frames: &mut ArrayVec<D::Buffer, BURST>) {
        D::free(frames);
    }
}

/// A queue with one frame in it.
struct OneFrame<B>(Option<B>);

impl<B> RxQueue<B> for OneFrame<B> {
    fn receive(&mut self, slots: &mut [Option<B>; BURST]) -> usize {
        slots[0] = self.0.take();
        usize::from(slots[0].is_some())
    }

    fn waiting(&self) -> Option<u32> {
        Some(u32::from(self.0.is_some()))
    }

    fn number(&self) -> u16 {
        0
    }
}

/// A queue whose frames are freed.
struct Nowhere;

impl<B> TxQueue<B> for Nowhere {
    fn send(&mut self, frames: &mut ArrayVec<B, BURST>) -> usize {
        let sent = frames.len();
        frames.clear();
        sent
    }
}

/// What a rehearsal takes from the driver, and of associations.
pub struct Stage<D: Driver> {
    /// Where buffers come from.
    pub pool: D::Pool,
    /// Cuts packets, and puts fragments of remotes together.
    pub fragmentation: D::Fragmentation,
    /// Puts fragments of anybody else together.
    pub strangers: D::Fragmentation,
    /// Associations that stand for the live ones. Their keys must be of this rehearsal alone: its numbers and
    /// initialization vectors are not those of the workers.
    pub esp: EspParts,
    /// Frequency of [`Driver::now`], per second.
    pub hz: u64,
}

/// There is no buffer for the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no packet buffer for a frame of {0} bytes: the pool is empty, or its buffers are smaller")]
pub struct NoBuffer(pub usize);

/// What becomes of `frame` if a port receives it: its journey, and those of the packets that it is made into.
///
/// # Errors
/// When there is no buffer for it.
pub fn rehearse<D: Driver>(
    stage: Stage<D>,
    tables: &Snapshot,
    port: PortId,
    frame: &[u8],
) -> Result<Vec<Journey>, NoBuffer> {
    let packet = stage.pool.copy_of(frame).ok_or(NoBuffer(frame.len()))?;
    let ports = tables.interfaces.iter().map(|(_, interface)| interface.port.index() + 1).max().unwrap_or(0);
    let (punt, _twin) = punt_queue();
    let parts = Parts::<Rehearsed<D>> {
        tx: (0..ports).map(|_| Some(Nowhere)).collect(),
        pool: stage.pool,
        fragmentation: stage.fragmentation,
        strangers: stage.strangers,
        punt,
        probes: ProbeEnd::nobodys(),
        ike: IkeGate::new(),
        events: Arc::new(ArrayQueue::new(MOST)),
        stats: Arc::new(WorkerStats::new(ports, 0)),
        esp: stage.esp,
        peers: peers(1).remove(0),
        spread: false,
        hz: stage.hz,
    };
    let spec = WatchSpec {
        snaplen: SNAPLEN,
        outer: true,
        inner: true,
        tunnel: None,
        drops: Drops::Any,
        waiting: MOST,
    };
    let (session, mut rings) = Session::new(0, spec, 1);
    let recorder = Recorder::new(0, &[session]);
    let mut pipeline: Pipeline<Rehearsed<D>> = Pipeline::new(parts).watched_by(recorder);
    pipeline.adopt(tables.limits);
    pipeline.adopt_associations();
    pipeline.poll(&mut OneFrame(Some(packet)), port, tables);
    Ok(std::iter::from_fn(|| rings.take(0)).map(|journey| *journey).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drop_reason::DropReason;
    use crate::frame::heap::{Heap, HeapPool, NoFragmentation};
    use crate::support::{CLIENT, INSIDE, Ip4, Lab, frame, from_remote, gre, reply, request, udp};
    use crate::watch::{End, Origin};

    fn stage() -> Stage<Heap> {
        Stage {
            pool: HeapPool,
            fragmentation: NoFragmentation::default(),
            strangers: NoFragmentation::default(),
            esp: EspParts::none().unwrap(),
            hz: crate::support::HZ,
        }
    }

    /// What the rehearsal says is what the worker does, and the worker does not notice.
    #[test]
    fn a_rehearsal_is_like_the_performance() {
        let mut lab = Lab::new();
        let frames = [
            frame(&request(10)),
            frame(&from_remote(&gre(0, &[], &reply(10)))),
            frame(&request(1460)),
            frame(&Ip4 { ttl: 1, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(9))),
            frame(&Ip4::default().build(CLIENT, "100.64.1.1", &udp(9))),
            vec![1, 2, 3],
        ];
        let before = lab.stats.balance();
        let rehearsed: Vec<_> =
            frames.iter().map(|frame| rehearse(stage(), &lab.tables, PortId(0), frame).unwrap()).collect();
        assert_eq!(lab.stats.balance(), before);
        for (frame, journeys) in frames.iter().zip(rehearsed) {
            let drops = lab.all_drops();
            let (edge, core) = lab.feed(frame);
            let left: Vec<_> =
                journeys.iter().filter(|j| j.left.is_there()).map(|j| j.left.bytes().to_vec()).collect();
            assert_eq!([edge, core].concat(), left);
            let End::Dropped(reason) = journeys[0].end else { continue };
            let count = |drops: &[(&str, u64)]| {
                drops.iter().find(|(name, _)| *name == reason.name()).map_or(0, |(_, count)| *count)
            };
            assert_eq!(count(&lab.all_drops()), count(&drops) + 1);
        }
        let too_big = rehearse(stage(), &lab.tables, PortId(0), &frames[2]).unwrap();
        assert_eq!(too_big[0].end, End::Dropped(DropReason::TooBig));
        assert_eq!(too_big[1].origin, Origin::IcmpError);
    }
}
