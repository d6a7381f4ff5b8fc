//! The journal's name, in a file beside it: tells whoever has heard of its SAs, as the other nodes of a fleet have, whether
//! this is still the same one.
//!
//! A journal that has lost something is another one: nobody is to take what it does not have any more for deleted.

use std::io;
use std::path::Path;

use super::run_directory;
use crate::leases::BootId;

/// More than a name and the run of a machine.
const MAX_BYTES: u64 = 256;

/// The name of the journal in `path`: the one that it had if it is `whole` and of this run of the machine, else a new one.
///
/// # Errors
/// When a new one cannot be made or written.
pub(super) fn keep(path: &Path, boot: &BootId, whole: bool) -> io::Result<u64> {
    let file = path.with_extension("id");
    if let Some(id) = read(&file, boot).filter(|_| whole) {
        return Ok(id);
    }
    let id = getrandom::u64().map_err(io::Error::other)?;
    let text = format!("{} {id:016x}\n", boot.as_str());
    run_directory::replace(&file, &path.with_extension("id.new"), text.as_bytes())?;
    Ok(id)
}

/// What cannot be read is no name: there will be a new one.
fn read(file: &Path, boot: &BootId) -> Option<u64> {
    let bytes = run_directory::read(file, MAX_BYTES).ok()?;
    let (of_boot, id) = std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let id = Some(id).filter(|id| id.len() == 16)?;
    (of_boot == boot.as_str()).then(|| u64::from_str_radix(id, 16).ok())?
}
