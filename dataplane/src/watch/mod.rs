//! Watching packets: what becomes of each one, stage by stage, for captures and traces.
//!
//! Control describes what it wants to see in a [`Session`], which travels to the workers with the tables. A worker that
//! has none runs the pipeline over a driver whose [`Watch`] is [`NoWatch`]: every place that would note something
//! compiles to nothing. A worker that has one runs the same pipeline over [`Watched`], which is the same driver with a
//! [`Recorder`]. Which of the two is decided once a turn.
//!
//! Architecture invariant: watching changes no packet, delays none for a reader, and neither allocates nor locks; what finds
//! no room is counted.

mod journey;
mod recorder;
mod session;
mod synopsis;

use std::marker::PhantomData;

use arrayvec::ArrayVec;

use crate::frame::{BURST, Driver};

pub use journey::{End, Journey, MAX_STEPS, Origin, Piece, Step};
pub(crate) use recorder::LookedUp;
pub use recorder::Recorder;
pub use session::{Drops, MAX_SESSIONS, Session, SessionReader, WatchSpec};

/// What a pipeline notes of its packets.
pub trait Watch: Default {
    /// Where to note it; `None` for ever where nothing is watched.
    fn recorder(&mut self) -> Option<&mut Recorder>;
}

/// Notes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatch;

impl Watch for NoWatch {
    #[inline(always)]
    fn recorder(&mut self) -> Option<&mut Recorder> {
        None
    }
}

/// The same driver, watched.
pub struct Watched<D>(PhantomData<D>);

impl<D: Driver> Driver for Watched<D> {
    type Buffer = D::Buffer;
    type Rx = D::Rx;
    type Tx = D::Tx;
    type Pool = D::Pool;
    type Fragmentation = D::Fragmentation;
    type Watch = Recorder;

    #[inline(always)]
    fn now() -> u64 {
        D::now()
    }

    #[inline(always)]
    fn free(frames: &mut ArrayVec<D::Buffer, BURST>) {
        D::free(frames);
    }
}
