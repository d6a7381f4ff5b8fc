//! Memory for expanded keys and for security associations: out of core dumps, on huge pages, wiped when given back.
//!
//! Slots of one size stand in chunks of 2 MiB, so that a hundred thousand keys need a few TLB entries
//! only. Taking and giving back locks and may call the system: that is control's work. A worker only
//! follows the pointer. Chunks are never given back to the system: a slot is reused instead.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroize;

/// Bytes of a cache line, and the alignment of a slot.
const LINE: usize = 64;
/// Bytes of a chunk: one huge page of x86.
const CHUNK: usize = 2 << 20;

static ARENA: Mutex<Vec<Class>> = Mutex::new(Vec::new());

/// The system gives no more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for keys")]
pub(crate) struct OutOfMemory;

/// All slots of one size.
struct Class {
    slot_len: usize,
    /// Wiped, and nobody's.
    free: Vec<Place>,
}

/// The first byte of a slot.
struct Place(NonNull<u8>);

// SAFETY: a place in the free list is referred to by nothing else; whoever takes it out owns it.
unsafe impl Send for Place {}

/// A value in the arena that several owners share: an `Arc` whose memory nobody dumps and nobody finds later.
pub(crate) struct Slot<T>(NonNull<Shared<T>>);

/// The value comes first, so that its lines are the slot's.
#[repr(C)]
struct Shared<T> {
    value: T,
    owners: AtomicUsize,
}

// SAFETY: a slot shares its value with clones of itself, as an `Arc` does.
unsafe impl<T: Send + Sync> Send for Slot<T> {}
// SAFETY: a shared slot gives out shared references and clones, as an `Arc` does.
unsafe impl<T: Send + Sync> Sync for Slot<T> {}

impl<T> Slot<T> {
    /// Bytes from one slot to the next. An odd number of cache lines, or else the first lines of all keys
    /// would fall into few sets of the cache.
    const LEN: usize = {
        assert!(align_of::<T>() <= LINE && size_of::<Shared<T>>() <= CHUNK / 16);
        (size_of::<Shared<T>>().div_ceil(LINE) | 1) * LINE
    };

    /// Moves `value` into a slot.
    ///
    /// # Errors
    /// When the system gives no more memory.
    pub(crate) fn new(value: T) -> Result<Self, OutOfMemory> {
        let at = take(Self::LEN)?.cast::<Shared<T>>();
        // SAFETY: `take` gives LEN bytes, enough for the type and aligned to LINE, at least its alignment, that nothing
        // else refers to.
        unsafe { at.write(Shared { value, owners: AtomicUsize::new(1) }) };
        Ok(Self(at))
    }

    /// As `new`; ends the process without memory, as a `Box` does.
    pub(crate) fn allocate(value: T) -> Self {
        Self::new(value).unwrap_or_else(|_| handle_alloc_error(Layout::new::<Shared<T>>()))
    }

    /// Lets `write` make the value in its slot, so that no move leaves a copy behind.
    ///
    /// # Errors
    /// Those of `write`, or when the system gives no more memory.
    #[cfg(ipsec_mb)]
    pub(crate) fn write<E: From<OutOfMemory>>(
        write: impl FnOnce(&mut MaybeUninit<T>) -> Result<&mut T, E>,
    ) -> Result<Self, E> {
        let at = take(Self::LEN)?;
        // SAFETY: `take` gives LEN bytes, enough for the type and aligned to LINE, at least its alignment, that nothing
        // else refers to; the value is at their start, and a MaybeUninit may hold any bytes.
        let place = unsafe { at.cast::<MaybeUninit<T>>().as_mut() };
        match write(place) {
            Ok(value) => {
                assert_eq!(NonNull::from(value).cast(), at, "the value was made elsewhere");
                let shared = at.cast::<Shared<T>>();
                // SAFETY: the slot has room for the count, which nothing refers to yet.
                unsafe { (&raw mut (*shared.as_ptr()).owners).write(AtomicUsize::new(1)) };
                Ok(Self(shared))
            }
            Err(error) => {
                give_back(Place(at), Self::LEN);
                Err(error)
            }
        }
    }

    /// Asks the processor for `LINES` cache lines of the value from its `first` on.
    #[inline(always)]
    pub(crate) fn fetch<const LINES: usize>(&self, first: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in first..first + LINES {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let address = self.0.as_ptr().cast::<i8>().wrapping_add(line * LINE);
            // SAFETY: a prefetch reads nothing that the program can see and cannot fault, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = first;
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        self.shared().owners.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T> Slot<T> {
    #[inline(always)]
    fn shared(&self) -> &Shared<T> {
        // SAFETY: `new` or `write` made it; it lives as long as there is an owner, and we are one.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Deref for Slot<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.shared().value
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        if self.shared().owners.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // What the other owners did with the value comes before its end, as with an `Arc`.
        fence(Ordering::Acquire);
        // SAFETY: this was the last owner, so nobody can refer to the value any more, and it is dropped once.
        unsafe { self.0.drop_in_place() };
        give_back(Place(self.0.cast()), Self::LEN);
    }
}

fn take(slot_len: usize) -> Result<NonNull<u8>, OutOfMemory> {
    let mut classes = ARENA.lock().unwrap_or_else(PoisonError::into_inner);
    let known = classes.iter().position(|class| class.slot_len == slot_len);
    let known = known.unwrap_or_else(|| {
        classes.push(Class { slot_len, free: Vec::new() });
        classes.len() - 1
    });
    let class = &mut classes[known];
    if class.free.is_empty() {
        let chunk = map_chunk()?;
        class.free.extend((0..CHUNK / slot_len).rev().map(|slot| {
            // SAFETY: slot * slot_len + slot_len <= CHUNK, so the place is within the chunk.
            Place(unsafe { chunk.add(slot * slot_len) })
        }));
    }
    class.free.pop().map(|place| place.0).ok_or(OutOfMemory)
}

fn give_back(place: Place, slot_len: usize) {
    // SAFETY: the place has slot_len bytes of mapped memory, of which nothing is assumed, and only we know it.
    unsafe { slice::from_raw_parts_mut(place.0.as_ptr().cast::<MaybeUninit<u8>>(), slot_len) }.zeroize();
    let mut classes = ARENA.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(class) = classes.iter_mut().find(|class| class.slot_len == slot_len) {
        class.free.push(place);
    }
}

/// A chunk of zero bytes, aligned to its own size.
fn map_chunk() -> Result<NonNull<u8>, OutOfMemory> {
    // SAFETY: a new private mapping at an address of the system's choice touches no memory of ours.
    let mapped = unsafe {
        libc::mmap(
            ptr::null_mut(),
            2 * CHUNK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(OutOfMemory);
    }
    // The chunk is the one aligned piece of CHUNK bytes in the mapping; what is before and behind it goes back.
    let before = mapped.align_offset(CHUNK);
    let chunk = mapped.wrapping_byte_add(before);
    // SAFETY: all three ranges are whole pages within the mapping of 2 * CHUNK bytes, which only we know. A munmap of
    // no bytes does nothing. Advice changes no contents; without it keys still work, on small pages or in a dump, so
    // that a kernel that does not know it is no error.
    unsafe {
        if before > 0 {
            libc::munmap(mapped, before);
        }
        if before < CHUNK {
            libc::munmap(chunk.byte_add(CHUNK), CHUNK - before);
        }
        libc::madvise(chunk, CHUNK, libc::MADV_DONTDUMP);
        libc::madvise(chunk, CHUNK, libc::MADV_HUGEPAGE);
    }
    NonNull::new(chunk.cast()).ok_or(OutOfMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Key<const N: usize>([u8; N]);

    fn bytes_of<T>(place: NonNull<Shared<T>>) -> &'static [u8] {
        // SAFETY: the arena never unmaps; the tests that call this are the only ones with slots of the size.
        unsafe { slice::from_raw_parts(place.as_ptr().cast(), Slot::<T>::LEN) }
    }

    #[test]
    fn a_slot_is_wiped_and_used_again() {
        let slot = Slot::new(Key([0xa5; 1000])).unwrap();
        let place = slot.0;
        assert_eq!(slot.0.as_ptr().align_offset(LINE), 0);
        assert_eq!(slot.deref().0, [0xa5; 1000]);
        slot.fetch::<2>(0);
        let other = slot.clone();
        drop(slot);
        assert_eq!(other.deref().0, [0xa5; 1000], "there is another owner");
        drop(other);
        assert!(bytes_of(place).iter().all(|&byte| byte == 0));
        assert_eq!(Slot::new(Key([1; 1000])).unwrap().0, place);
    }

    #[test]
    fn values_are_dropped_once() {
        struct Counted<'a>([u8; 1800], &'a std::cell::Cell<u32>);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.1.set(self.1.get() + 1);
            }
        }
        let dropped = std::cell::Cell::new(0);
        let slot = Slot::new(Counted([7; 1800], &dropped)).unwrap();
        assert_eq!((slot.deref().0[0], dropped.get()), (7, 0));
        drop(slot);
        assert_eq!(dropped.get(), 1);
    }

    #[cfg(ipsec_mb)]
    #[test]
    fn a_value_is_made_in_its_slot() {
        let refused = Slot::<Key<1400>>::write(|place| {
            place.write(Key([9; 1400]));
            Err(OutOfMemory)
        });
        assert!(refused.is_err());
        let slot = Slot::write(|place| Ok::<_, OutOfMemory>(place.write(Key([3; 1400])))).unwrap();
        assert_eq!(slot.deref().0, [3; 1400]);
    }

    /// More slots than a chunk has, all distinct, all theirs.
    #[test]
    fn many_slots() {
        let count = 2 * CHUNK / Slot::<Key<2048>>::LEN + 3;
        let slots: Vec<_> = (0..count).map(|i| Slot::new(Key::<2048>([i as u8; 2048])).unwrap()).collect();
        let mut places: Vec<_> = slots.iter().map(|slot| slot.0.as_ptr().addr()).collect();
        places.sort_unstable();
        assert!(places.windows(2).all(|pair| pair[0] + Slot::<Key<2048>>::LEN <= pair[1]));
        assert!(slots.iter().enumerate().all(|(i, slot)| slot.deref().0.iter().all(|&byte| byte == i as u8)));
    }

    /// First lines of slots spread over all sets of a cache of 64.
    #[test]
    fn slots_are_an_odd_number_of_lines() {
        assert_eq!(Slot::<Key<64>>::LEN, 192);
        assert_eq!(Slot::<Key<128>>::LEN, 192);
        assert_eq!(Slot::<Key<1344>>::LEN, 1472);
    }

    #[test]
    fn chunks_stay_out_of_core_dumps() {
        let slot = Slot::new(Key([1; 3000])).unwrap();
        let at = slot.0.as_ptr().addr();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let flags = maps.lines().find_map(|line| {
            let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
            if let Some((from, to)) = range
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&at);
            }
            line.strip_prefix("VmFlags:").filter(|_| inside)
        });
        assert!(flags.unwrap().split_whitespace().any(|flag| flag == "dd"), "{flags:?}");
    }
}
