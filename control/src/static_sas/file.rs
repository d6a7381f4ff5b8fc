//! The file, read only if its keys are safe in it.

use std::path::Path;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::config::Problem;
use crate::config::problem::Problems;
use penstock_fleet::secret_file;

/// Largest file: 100 000 tunnels with three security associations each fit.
const MAX_BYTES: u64 = 128 << 20;

/// The text of a file, in memory that is wiped, and when it was written.
pub(super) fn read(path: &Path, name: &str) -> Result<(Zeroizing<Vec<u8>>, SystemTime), Vec<Problem>> {
    secret_file::read(path, "keys", MAX_BYTES).map_err(|refusal| {
        let mut problems = Problems::new(name);
        problems.add(Default::default(), "", refusal.message, refusal.fix);
        problems.into_list()
    })
}
