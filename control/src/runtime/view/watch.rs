//! How captures and traces begin.

use std::sync::Arc;
use std::time::{Duration, Instant};

use penstock_dataplane::watch::{Session, WatchSpec};
use tokio::sync::mpsc;

use super::super::watching::{Around, CaptureSink, PIECES_WAITING, Reader, Sink, TraceSink, bad_request};
use super::{Call, View};
use crate::api::{
    ApiError, CaptureRequest, DEFAULT_COUNT, DEFAULT_SNAPLEN, ErrorCode, Layers, PacketFilter as Wanted,
    TraceRequest, Watching,
};
use crate::watch::{CaptureFile, PacketFilter};

/// Bytes of a packet that can be asked for: the headers at least, the longest packet at most.
const SNAPLEN: std::ops::RangeInclusive<u32> = 64..=65_535;

impl View {
    pub(super) async fn begin_capture(&self, request: CaptureRequest) -> Result<Watching, ApiError> {
        let snaplen = request.snaplen.unwrap_or(DEFAULT_SNAPLEN);
        if !SNAPLEN.contains(&snaplen) {
            let (least, most) = (SNAPLEN.start(), SNAPLEN.end());
            return Err(bad_request(format!(
                "a snaplen of {snaplen} makes no sense: write {least} to {most}"
            )));
        }
        if request.max_packets == Some(0) {
            return Err(bad_request("a capture of no packets is none: write 1 or more".to_owned()));
        }
        let layers = request.layers;
        let (outer, inner) = (layers != Layers::Inner, layers != Layers::Outer);
        let spec = self.state().watch_spec(&request.packets, snaplen as usize, outer, inner)?;
        let (version, node) = (self.version.clone(), self.state().compiler.config().node.name.to_string());
        let media = "application/x-pcapng";
        self.begin(&request.packets, spec, media, request.max_packets, move |around| {
            let ports = around.ports.iter().map(String::as_str);
            let file = CaptureFile::new(&version, &node, ports, snaplen);
            let file = file.map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?;
            Ok(CaptureSink { file, layers })
        })
        .await
    }

    pub(super) async fn begin_trace(&self, request: TraceRequest) -> Result<Watching, ApiError> {
        let count = request.count.unwrap_or(DEFAULT_COUNT);
        if count == 0 {
            return Err(bad_request("a trace of no packets is none: write 1 or more".to_owned()));
        }
        // The inner packets are looked at only by the filter.
        let inner = request.packets.filter.is_some();
        let spec = self.state().watch_spec(&request.packets, DEFAULT_SNAPLEN as usize, true, inner)?;
        let media = "application/x-ndjson";
        self.begin(&request.packets, spec, media, Some(count), |_| Ok(TraceSink::default())).await
    }

    /// Steps: the filter and the memory, on a thread that may take its time; the workers; a thread that reads.
    async fn begin<S: Sink>(
        &self,
        wanted: &Wanted,
        spec: WatchSpec,
        media: &'static str,
        most: Option<u64>,
        sink: impl FnOnce(&Around) -> Result<S, ApiError> + Send + 'static,
    ) -> Result<Watching, ApiError> {
        if wanted.max_seconds == Some(0) {
            return Err(bad_request("no time at all is too short: write 1 second or more".to_owned()));
        }
        let (id, workers) = {
            let mut state = self.state();
            (state.watches.next_id(), state.dataplane.workers.len())
        };
        let (expression, state) = (wanted.filter.clone(), Arc::clone(&self.state));
        let prepared = tokio::task::spawn_blocking(move || {
            let filter = expression.as_deref().map(PacketFilter::compile).transpose();
            let filter = filter.map_err(|error| bad_request(error.to_string()))?;
            let around = Around::new(state, filter);
            let sink = sink(&around)?;
            let (session, rings) = Session::new(id, spec, workers);
            Ok::<_, ApiError>((session, rings, sink, around))
        });
        let failed = |_| ApiError::new(ErrorCode::Internal, "the capture could not be prepared");
        let (session, rings, sink, around) = prepared.await.map_err(failed)??;
        let until = wanted.max_seconds.map(|s| Instant::now() + Duration::from_secs(u64::from(s)));
        let stop = self.call(|answer| Call::Watch(Arc::clone(&session), answer)).await?;
        let (to, pieces) = mpsc::channel(PIECES_WAITING);
        let reader = Reader { session, rings, stop, pieces: to, calls: self.calls.clone(), most, until };
        tokio::task::spawn_blocking(move || reader.run(sink, around));
        Ok(Watching { id, media, pieces })
    }
}
