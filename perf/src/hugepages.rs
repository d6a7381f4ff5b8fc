//! Hugepages for a run.
//!
//! Without them nearly every packet buffer is a page of its own, and the devices alone cost twice as much: such
//! figures say little about a real gateway. So a run takes free hugepages, and where there are too few and this
//! process may, reserves what is missing and gives it back at the end.

use std::path::Path;

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
const PAGE_MIB: u64 = 2;

/// Hugepages of 2 MiB that are free for the run; gives back those it reserved itself.
#[derive(Debug)]
pub struct Reservation {
    /// The size of the kernel's pool before, if it was changed.
    before: Option<u64>,
}

impl Reservation {
    /// Sees to it that `mib` of hugepages are free; `None` when that cannot be.
    pub fn new(mib: u32) -> Option<Self> {
        let wanted = u64::from(mib).div_ceil(PAGE_MIB);
        let free = read("free_hugepages")?;
        if free >= wanted {
            return Some(Self { before: None });
        }
        let before = read("nr_hugepages")?;
        write(before + wanted - free)?;
        let reservation = Self { before: Some(before) };
        // The kernel gives what it finds in one piece, which may be less.
        (read("free_hugepages")? >= wanted).then_some(reservation)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // Nobody is left to tell if this fails; the pool then stays larger.
            let _ = write(before);
        }
    }
}

fn read(file: &str) -> Option<u64> {
    std::fs::read_to_string(Path::new(POOL).join(file)).ok()?.trim().parse().ok()
}

fn write(pages: u64) -> Option<()> {
    std::fs::write(Path::new(POOL).join("nr_hugepages"), pages.to_string()).ok()
}
