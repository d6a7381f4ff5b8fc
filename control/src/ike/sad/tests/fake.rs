//! Workers that are made up, and a charon's calls in short.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::super::*;
use crate::ike::protocol::{Installed, Lifetimes, Limit as Span, UpdateSa};
use crate::leases::MAX_KEY_LIFE;

/// Of one SA, as workers would have it.
#[derive(Clone, Debug, Default)]
pub(crate) struct OnWorkers {
    pub(crate) key: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) newest: u64,
    pub(crate) stopped: bool,
}

pub(crate) type Handle = Rc<RefCell<OnWorkers>>;

pub(crate) struct Made;

impl Kinds for Made {
    /// Tells keys apart.
    type Key = u64;
    type Handle = Handle;
}

/// What all workers have.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) inbound: BTreeMap<(IpAddr, Spi), Handle>,
    pub(crate) outbound: BTreeMap<TunnelId, (SaId, Handle)>,
    /// The largest number that was ever given out under each key, by any run of control.
    pub(crate) given: BTreeMap<u64, u64>,
    pub(crate) room: usize,
    /// The last number that is given out under any key.
    pub(crate) last_number: u64,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self { room: usize::MAX, last_number: u64::MAX, ..Self::default() }
    }

    /// What a restart of control leaves.
    pub(crate) fn restarted(self) -> Self {
        Self { given: self.given, room: self.room, last_number: self.last_number, ..Self::default() }
    }

    /// Packets that come in; false: nobody receives under this SPI.
    pub(crate) fn receive_packets(&mut self, id: &SaId, packets: u64) -> bool {
        let Some(sa) = self.inbound.get(&(id.dst.ip(), id.spi)) else { return false };
        let mut sa = sa.borrow_mut();
        if sa.stopped {
            return false;
        }
        sa.packets += packets;
        sa.bytes += packets * 100;
        sa.newest += packets;
        true
    }

    /// Packets that go out.
    pub(crate) fn send_packets(&mut self, tunnel: TunnelId, packets: u64) -> Option<SaId> {
        let (id, sa) = self.outbound.get(&tunnel)?;
        let mut sa = sa.borrow_mut();
        if sa.stopped || sa.newest >= self.last_number {
            return None;
        }
        let packets = packets.min(self.last_number - sa.newest);
        sa.packets += packets;
        sa.bytes += packets * 100;
        sa.newest += packets;
        let given = self.given.entry(sa.key).or_default();
        *given = (*given).max(sa.newest);
        Some(*id)
    }
}

impl Workers<Made> for Fake {
    fn receive(&mut self, home: &Home, id: &SaId, key: &u64, newest: u64) -> Result<Handle, Full> {
        if self.inbound.len() >= self.room {
            return Err(Full);
        }
        let sa = Rc::new(RefCell::new(OnWorkers { key: *key, newest, ..OnWorkers::default() }));
        let before = self.inbound.insert((home.local, id.spi), Rc::clone(&sa));
        assert!(before.is_none(), "an SPI twice at an endpoint");
        Ok(sa)
    }

    fn forget(&mut self, handle: &Handle) {
        let before = self.inbound.len();
        self.inbound.retain(|_, sa| !Rc::ptr_eq(sa, handle));
        assert_eq!(self.inbound.len() + 1, before, "forgotten twice");
    }

    fn send(&mut self, home: &Home, id: &SaId, key: &u64, first: u64) -> Handle {
        let given = self.given.get(key).copied().unwrap_or(0);
        assert!(first > given, "number {first} again, {given} were given out");
        let sa = OnWorkers { key: *key, newest: first - 1, ..OnWorkers::default() };
        let sa = Rc::new(RefCell::new(sa));
        self.outbound.insert(home.tunnel, (*id, Rc::clone(&sa)));
        sa
    }

    fn stop_sending(&mut self, home: &Home) {
        assert!(self.outbound.remove(&home.tunnel).is_some(), "nothing was sent");
    }

    fn stop(&mut self, handle: &Handle) {
        handle.borrow_mut().stopped = true;
    }

    fn usage(&self, handle: &Handle) -> Usage {
        let sa = handle.borrow();
        let idle = (sa.packets > 0).then_some(Duration::ZERO);
        Usage {
            bytes: sa.bytes,
            packets: sa.packets,
            newest: sa.newest,
            exhausted: sa.newest >= self.last_number,
            idle,
        }
    }
}

/// A state machine with two tunnels, its workers, and the time.
pub(crate) struct Lab {
    pub(crate) sad: Sad<Made>,
    pub(crate) fake: Fake,
    pub(crate) now: Moment,
    pub(crate) homes: BTreeMap<u32, Home>,
    keys: u64,
    spis: u32,
    /// What the journal was told every second, and has not been written yet.
    pub(super) moved: Vec<(Serial, Progress)>,
}

pub(crate) const CHARON: Instance = Instance(0xc4a0);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn home(number: u32) -> Home {
    Home {
        tunnel: TunnelId(number),
        incarnation: 1,
        endpoint: EndpointId(0),
        local: "203.0.113.1".parse().unwrap(),
    }
}

pub(crate) fn id(direction: Direction, reqid: u32, spi: u32) -> SaId {
    let (us, peer) = ("203.0.113.1:4500".parse().unwrap(), format!("192.0.2.{reqid}:4500").parse().unwrap());
    match direction {
        Direction::Inbound => SaId { src: peer, dst: us, spi: Spi(spi) },
        Direction::Outbound => SaId { src: us, dst: peer, spi: Spi(spi) },
    }
}

pub(crate) fn inbound(reqid: u32, spi: u32) -> SaId {
    id(Direction::Inbound, reqid, spi)
}

pub(crate) fn outbound(reqid: u32, spi: u32) -> SaId {
    id(Direction::Outbound, reqid, spi)
}

/// Rekeyed after 50 minutes, over after an hour.
pub(crate) fn an_hour() -> Lifetimes {
    let limit = |seconds| std::num::NonZeroU64::new(seconds);
    Lifetimes { seconds: Span { hard: limit(3600), soft: limit(3000) }, ..Lifetimes::default() }
}

impl Lab {
    pub(crate) fn new() -> Self {
        let mut lab = Self {
            sad: Sad::default(),
            fake: Fake::new(),
            now: Moment { uptime: HOUR, date: SystemTime::UNIX_EPOCH + MAX_KEY_LIFE * 100 },
            homes: (1..=2).map(|reqid| (reqid, home(reqid))).collect(),
            keys: 0,
            spis: 0x1000,
            moved: Vec::new(),
        };
        lab.set_tunnels();
        lab.sad.hello(CHARON);
        lab
    }

    pub(crate) fn set_tunnels(&mut self) {
        self.sad.set_tunnels(&self.homes, &mut self.fake);
    }

    pub(crate) fn spi(&mut self, charon: Instance) -> Result<Spi, Refused> {
        self.sad.may_negotiate(charon, home(1).local)?;
        self.spis += 1;
        assert!(!self.sad.is_taken(Spi(self.spis)));
        Ok(Spi(self.spis))
    }

    pub(crate) fn add(
        &mut self,
        charon: Instance,
        direction: Direction,
        reqid: u32,
        spi: u32,
        lifetimes: Lifetimes,
    ) -> Result<Serial, Refused> {
        self.keys += 1;
        let new = NewSa { id: id(direction, reqid, spi), reqid, encap: true, lifetimes, key: self.keys };
        match direction {
            Direction::Inbound => self.sad.add_inbound(charon, new, &mut self.fake, self.now),
            Direction::Outbound => self.sad.add_outbound(charon, new, &mut self.fake, self.now),
        }
    }

    /// A pair without a policy, as a responder makes it at a rekey.
    pub(crate) fn pair(&mut self, reqid: u32, spi_in: u32, spi_out: u32) {
        self.add(CHARON, Direction::Inbound, reqid, spi_in, an_hour()).unwrap();
        self.add(CHARON, Direction::Outbound, reqid, spi_out, an_hour()).unwrap();
    }

    pub(crate) fn choose(&mut self, reqid: u32, spi: u32) -> Result<(), Refused> {
        self.sad.choose(CHARON, reqid, Spi(spi), &mut self.fake, self.now)
    }

    pub(crate) fn delete(&mut self, id: SaId) -> Result<(), Refused> {
        self.sad.delete(CHARON, &id, &mut self.fake, self.now)
    }

    pub(crate) fn sync(&mut self, charon: Instance, installed: &[Installed]) -> Vec<SaId> {
        self.sad.sync(charon, installed, &mut self.fake, self.now).unwrap()
    }

    pub(crate) fn update(&mut self, id: SaId, src: &str, dst: &str) -> Result<(), Refused> {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        self.sad.update(CHARON, &UpdateSa { id, src, dst, encap: true, new_encap: true, new_reqid: 0 })
    }

    pub(crate) fn turn(&mut self) {
        self.sad.turn(&mut self.fake, self.now);
    }

    /// Time passes, and what happens every second happens at its end.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now.uptime += time;
        self.now.date += time;
        self.turn();
        self.check();
    }

    pub(crate) fn sends(&self, reqid: u32) -> Option<u32> {
        let home = self.homes.get(&reqid)?;
        let there = self.fake.outbound.get(&home.tunnel).map(|(id, _)| id.spi.0);
        assert_eq!(there, self.sad.current(reqid).map(|sa| sa.id.spi.0), "workers have something else");
        there
    }

    pub(crate) fn receives(&self) -> Vec<u32> {
        self.fake.inbound.iter().filter(|(_, sa)| !sa.borrow().stopped).map(|((_, spi), _)| spi.0).collect()
    }

    pub(crate) fn states(&self, reqid: u32) -> Vec<(u32, State)> {
        self.sad.of_tunnel(reqid).map(|sa| (sa.id.spi.0, self.sad.state(sa))).collect()
    }

    /// Control is killed, and starts again with what the journal has.
    pub(crate) fn restart_control(&mut self) -> Vec<Serial> {
        self.check();
        let saved = self.saved();
        self.restart_with(saved)
    }

    /// What happens every second. Half of the keys are used with a window.
    pub(crate) fn check(&mut self) {
        self.moved.extend(self.sad.check(&mut self.fake, self.now, |key| key % 2 == 1));
    }

    pub(crate) fn saved(&self) -> Vec<(Saved, u64)> {
        self.sad.sas().filter_map(|sa| Some((self.sad.saved(sa.serial)?, sa.key))).collect()
    }

    pub(crate) fn restart_with(&mut self, saved: Vec<(Saved, u64)>) -> Vec<Serial> {
        self.sad = Sad::default();
        self.fake = std::mem::take(&mut self.fake).restarted();
        self.set_tunnels();
        self.sad.refill(saved, &mut self.fake, self.now)
    }
}
