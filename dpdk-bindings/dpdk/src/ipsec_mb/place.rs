//! Making a key where it will stay.

use super::error::KeyError;
use std::mem::MaybeUninit;

/// A box that `write` fills, without a copy on the stack.
pub(super) fn boxed<T>(
    write: impl FnOnce(&mut MaybeUninit<T>) -> Result<&mut T, KeyError>,
) -> Result<Box<T>, KeyError> {
    let mut place = Box::new_uninit();
    write(&mut place)?;
    // SAFETY: `write` gave a reference to a T that lives as long as the place does: it is in there.
    Ok(unsafe { place.assume_init() })
}
