//! charon comes, comes back, or is another one.

use std::collections::BTreeSet;

use super::life::Moment;
use super::sa::{Direction, Sa, Serial, Stage};
use super::workers::{Kinds, Workers};
use super::{Notice, Sad};
use crate::ike::protocol::{Installed, Instance, Refused, SaId};

impl<K: Kinds> Sad<K> {
    /// A charon is there. SAs of another one become orphans.
    pub fn hello(&mut self, charon: Instance) {
        if self.charon.replace(charon) != Some(charon) {
            let orphans = self.sas.values().filter(|sa| sa.stage == Stage::Live).count();
            if orphans > 0 {
                self.notices.push(Notice::Orphans(orphans));
            }
        }
    }

    /// Compares with what charon believes installed: what it does not have goes, however new, for charon makes the list
    /// while none of its requests is under way; returned is what is not here.
    ///
    /// # Errors
    /// When another charon is there.
    pub fn sync(
        &mut self,
        charon: Instance,
        installed: &[Installed],
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Result<Vec<SaId>, Refused> {
        self.admit(charon)?;
        let (mut known, mut unknown) = (BTreeSet::new(), Vec::new());
        for there in installed {
            let direction = if there.inbound { Direction::Inbound } else { Direction::Outbound };
            let found = self.find(charon, &there.id).ok().and_then(|serial| self.sas.get(&serial));
            match found.filter(|sa| sa.direction == direction && !matches!(sa.stage, Stage::Retiring { .. }))
            {
                Some(sa) => {
                    known.insert(sa.serial);
                }
                None => unknown.push(there.id),
            }
        }
        let gone = |sa: &&Sa<K>| {
            sa.charon == charon && !known.contains(&sa.serial) && !matches!(sa.stage, Stage::Retiring { .. })
        };
        let mut gone: Vec<Serial> = self.sas.values().filter(gone).map(|sa| sa.serial).collect();
        // What is sent under goes last, so that what takes its place is something that charon has.
        gone.sort_unstable_by_key(|serial| {
            let is_current = self.sas.get(serial).is_some_and(|sa| self.is_current(sa.reqid, *serial));
            (is_current, *serial)
        });
        for serial in gone {
            if let Some(sa) = self.sas.get(&serial) {
                self.notices.push(Notice::Forgotten { reqid: sa.reqid, id: sa.id });
            }
            self.retire(serial, workers, now);
        }
        Ok(unknown)
    }
}
