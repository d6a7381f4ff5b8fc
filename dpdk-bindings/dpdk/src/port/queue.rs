//! A port's queues: the data path's ends.
//!
//! Architecture invariant: one queue, one thread. A queue can be moved to a thread (`Send`) but not shared
//! (`!Sync`), and its operations take `&mut self`. Holding one keeps the device alive; nothing is counted
//! or locked per burst.
//!
//! ```compile_fail,E0277
//! fn shared_between_threads<T: Sync>() {}
//! shared_between_threads::<dpdk::RxQueue>();
//! ```

use super::Device;
use crate::mbuf::Mbuf;
use arrayvec::ArrayVec;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

/// Packets come from here.
#[derive(Debug)]
pub struct RxQueue {
    port: u16,
    queue: u16,
    _device: Arc<Device>,
    _one_thread: PhantomData<Cell<()>>,
}

/// Packets go here.
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    _device: Arc<Device>,
    _one_thread: PhantomData<Cell<()>>,
}

impl RxQueue {
    pub(super) fn new(device: &Arc<Device>, queue: u16) -> Self {
        Self { port: device.id, queue, _device: Arc::clone(device), _one_thread: PhantomData }
    }

    /// Takes what has arrived, as much as `burst` has room for, and says how many packets.
    #[inline(always)]
    pub fn rx_burst<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        let len = burst.len();
        let room = burst.remaining_capacity().min(usize::from(u16::MAX));
        // SAFETY: the port runs while a queue of it exists, and &mut self is the only user of this queue.
        // `room` slots behind the first `len` are inside the ArrayVec; the device fills the first `count` with
        // packets that are now ours, each a non-null pointer like an Mbuf (repr(transparent)).
        unsafe {
            let slots = burst.as_mut_ptr().add(len).cast();
            let count = usize::from(dpdk_sys::penstock_rx_burst(self.port, self.queue, slots, room as u16));
            burst.set_len(len + count);
            count
        }
    }

    /// Frames that wait in the device's ring; `None` where its driver cannot tell.
    #[must_use]
    pub fn waiting(&self) -> Option<u32> {
        // SAFETY: the port runs while a queue of it exists, and a queue that is not shared between threads is asked by
        // the one thread that also receives from it.
        let waiting = unsafe { dpdk_sys::penstock_rx_waiting(self.port, self.queue) };
        u32::try_from(waiting).ok()
    }

    /// As `rx_burst`, into an array of slots from the first on. A packet that a slot still holds is lost: its
    /// buffer does not go back to its pool.
    #[inline(always)]
    pub fn rx_slots<const N: usize>(&mut self, slots: &mut [Option<Mbuf>; N]) -> usize {
        const { assert!(N <= u16::MAX as usize) };
        // SAFETY: the port runs while a queue of it exists, and &mut self is the only user of this queue. An
        // Option<Mbuf> is a pointer that may be null (repr(transparent) over NonNull); the device writes at most
        // N of them, each a packet that is now ours.
        unsafe {
            let first = slots.as_mut_ptr().cast();
            usize::from(dpdk_sys::penstock_rx_burst(self.port, self.queue, first, N as u16))
        }
    }

    /// The port's number.
    #[must_use]
    pub fn port_id(&self) -> u16 {
        self.port
    }

    /// The queue's number in its port.
    #[must_use]
    pub fn queue_id(&self) -> u16 {
        self.queue
    }
}

impl TxQueue {
    pub(super) fn new(device: &Arc<Device>, queue: u16) -> Self {
        Self { port: device.id, queue, _device: Arc::clone(device), _one_thread: PhantomData }
    }

    /// Hands packets to the device, first to last, until it takes no more, and says how many it took. Those
    /// are gone from `burst`; the rest is still there, in order.
    #[inline(always)]
    pub fn tx_burst<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        let len = burst.len().min(usize::from(u16::MAX));
        // SAFETY: the port runs while a queue of it exists, and &mut self is the only user of this queue. The
        // device takes over the first `sent` packets, so the ArrayVec must forget exactly these: the others
        // are moved to the front and its length is set to their number. Nothing between can panic.
        unsafe {
            let first: *mut Mbuf = burst.as_mut_ptr();
            let sent =
                usize::from(dpdk_sys::penstock_tx_burst(self.port, self.queue, first.cast(), len as u16));
            let left = burst.len() - sent;
            if left > 0 {
                std::ptr::copy(first.add(sent), first, left);
            }
            burst.set_len(left);
            sent
        }
    }

    /// The port's number.
    #[must_use]
    pub fn port_id(&self) -> u16 {
        self.port
    }

    /// The queue's number in its port.
    #[must_use]
    pub fn queue_id(&self) -> u16 {
        self.queue
    }
}
