//! DPDK's error numbers as an error type.

use std::ffi::CStr;

/// An `errno` value, or one of DPDK's own beyond them.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{text} (error {number})", text = text(*.0), number = .0)]
pub struct Errno(pub i32);

impl Errno {
    /// What `rte_errno` of this thread says.
    #[must_use]
    pub fn last() -> Self {
        // SAFETY: reads a thread-local of DPDK, which exists from load time on.
        Self(unsafe { dpdk_sys::penstock_errno() })
    }

    /// Reads a return value: negative is `-errno`, but a bare -1 means "see `rte_errno`".
    ///
    /// # Errors
    /// The error, where the value is negative.
    pub fn check(returned: i32) -> Result<i32, Self> {
        match returned {
            0.. => Ok(returned),
            -1 => match Self::last() {
                Self(0) => Err(Self(libc::EPERM)),
                last => Err(last),
            },
            _ => Err(Self(-returned)),
        }
    }

    /// Whether the device or library simply has no such operation.
    #[must_use]
    pub fn is_unsupported(self) -> bool {
        matches!(self.0, libc::ENOTSUP | libc::ENOSYS)
    }
}

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Errno({}: {})", self.0, text(self.0))
    }
}

fn text(number: i32) -> String {
    // SAFETY: returns a pointer to static or thread-local storage with a NUL in it, for every number.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(number)) };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_the_number_means() {
        assert!(Errno(libc::ENOENT).to_string().contains("No such file"), "{}", Errno(libc::ENOENT));
    }

    #[test]
    fn a_return_value_is_ok_or_its_negated_error() {
        assert_eq!(Errno::check(3), Ok(3));
        assert_eq!(Errno::check(-libc::ENODEV), Err(Errno(libc::ENODEV)));
    }
}
