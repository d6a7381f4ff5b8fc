//! A capture's file and a trace's rows.

use penstock_dataplane::watch::Journey;

use super::{Around, Sink};
use crate::api::{Caught, Layers, TraceRow};
use crate::watch::{CaptureFile, Caught as Frame, Describer, Place, Prefixes, frames};

/// Prefixes that are remembered; what changed meanwhile is forgotten with them.
const MAX_PREFIXES: usize = 1024;

/// A pcapng file.
pub(in crate::runtime) struct CaptureSink {
    pub(in crate::runtime) file: CaptureFile,
    pub(in crate::runtime) layers: Layers,
}

impl Sink for CaptureSink {
    type Entry = Frame;

    fn entries(&mut self, journey: &Journey, around: &Around) -> Vec<(u64, Frame)> {
        let mut found = frames(journey, &around.names, around.core(journey.worker));
        found.retain(|(_, frame)| {
            let is_frame = frame.place.has_frames();
            let is_wanted = match frame.place {
                Place::Tunnel(_) => self.layers != Layers::Outer,
                Place::Port(_) | Place::Inside => self.layers != Layers::Inner,
            };
            let accepted = around.filter.as_ref().is_none_or(|f| f.accepts(&frame.bytes, is_frame));
            is_wanted && accepted
        });
        found
    }

    fn begin(&mut self, _: &Around) -> Vec<u8> {
        self.file.take_bytes()
    }

    fn write(&mut self, at: u64, frame: Frame, around: &Around) -> Vec<u8> {
        if let Err(error) = self.file.add(around.clock.date(at), &frame, &around.names) {
            tracing::error!(%error, "a packet could not be put into a capture");
        }
        self.file.take_bytes()
    }

    fn end(&mut self, now: u64, caught: Caught, around: &Around) -> Vec<u8> {
        if let Err(error) = self.file.end(around.clock.date(now), caught.caught, caught.missed) {
            tracing::error!(%error, "a capture could not be ended");
        }
        self.file.take_bytes()
    }
}

/// A line of JSON for each packet.
#[derive(Default)]
pub(in crate::runtime) struct TraceSink {
    prefixes: Prefixes,
}

impl Sink for TraceSink {
    type Entry = TraceRow;

    fn entries(&mut self, journey: &Journey, around: &Around) -> Vec<(u64, TraceRow)> {
        let core = around.core(journey.worker);
        let is_wanted = around.filter.as_ref().is_none_or(|filter| {
            let seen = frames(journey, &around.names, core);
            seen.iter().any(|(_, frame)| filter.accepts(&frame.bytes, frame.place.has_frames()))
        });
        if !is_wanted {
            return Vec::new();
        }
        self.learn(journey, around);
        let describer = Describer {
            names: &around.names,
            ports: &around.ports,
            cores: &around.cores,
            prefixes: &self.prefixes,
            clock: around.clock,
        };
        vec![(journey.begun, describer.row(journey))]
    }

    fn begin(&mut self, _: &Around) -> Vec<u8> {
        Vec::new()
    }

    fn write(&mut self, _: u64, row: TraceRow, _: &Around) -> Vec<u8> {
        let mut line = serde_json::to_vec(&row).unwrap_or_default();
        line.push(b'\n');
        line
    }

    fn end(&mut self, _: u64, _: Caught, _: &Around) -> Vec<u8> {
        Vec::new()
    }
}

impl TraceSink {
    /// Asks for the routes that it does not know yet.
    fn learn(&mut self, journey: &Journey, around: &Around) {
        let unknown: Vec<_> =
            Describer::lookups(journey).filter(|looked_up| !self.prefixes.contains_key(looked_up)).collect();
        if unknown.is_empty() {
            return;
        }
        if self.prefixes.len() + unknown.len() > MAX_PREFIXES {
            self.prefixes.clear();
        }
        let state = around.state();
        for (vrf, address) in unknown {
            self.prefixes.insert((vrf, address), state.compiler.covering(vrf, address));
        }
    }
}
