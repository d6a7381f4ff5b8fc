//! Reading from rtnetlink: the sockets, whole dumps, and the conversion of messages to the mirror's types.
//!
//! The `rtnetlink` crate makes the changes (twin, routes); reading is done here, because its connection takes
//! a whole dump into memory before the first message can be looked at, and has no bound on events that wait.
//! Here the socket's receive buffer is the bound: when it overflows the kernel says so, and the mirror dumps
//! again.

pub(crate) mod convert;
pub(crate) mod dump;
pub(crate) mod socket;
