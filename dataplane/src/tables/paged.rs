//! A slot table that is cheap to copy after a small change: pages of slots behind `Arc`s.
//!
//! Control changes one slot by copying one page; all other pages stay shared with the snapshot that
//! the workers use. Reading costs one load more than a flat array.

use std::sync::Arc;

/// Slots a page.
const PAGE: usize = 64;

/// A growable array of `T` with copy-on-write pages. Slots never written read as `T::default()`
/// within a page, and as `None` past the last page.
#[derive(Clone, Debug)]
pub struct Paged<T> {
    pages: Vec<Arc<[T; PAGE]>>,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T: Clone + Default> Paged<T> {
    /// The slot, or `None` where no page covers it.
    #[inline(always)]
    pub fn get(&self, slot: usize) -> Option<&T> {
        self.pages.get(slot / PAGE).map(|page| &page[slot % PAGE])
    }

    /// Writes a slot; copies its page when a snapshot shares it.
    pub fn set(&mut self, slot: usize, value: T) {
        while self.pages.len() <= slot / PAGE {
            self.pages.push(Arc::new(std::array::from_fn(|_| T::default())));
        }
        if let Some(page) = self.pages.get_mut(slot / PAGE) {
            Arc::make_mut(page)[slot % PAGE] = value;
        }
    }

    /// How many slots have a page.
    pub fn capacity(&self) -> usize {
        self.pages.len() * PAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_copies_one_page_and_leaves_the_old_snapshot_alone() {
        let mut table = Paged::default();
        for i in 0..1000 {
            table.set(i, i as u32);
        }
        let old = table.clone();
        table.set(500, 7);
        assert_eq!((old.get(500), table.get(500), table.get(501)), (Some(&500), Some(&7), Some(&501)));
        let shared = old.pages.iter().zip(&table.pages).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, old.pages.len() - 1);
        assert_eq!(table.get(1_000_000), None);
    }
}
