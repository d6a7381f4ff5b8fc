//! Signals: SIGHUP reloads, SIGTERM and SIGINT stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::view::Call;
use crate::api::ReloadRequest;

/// What the daemon is told by signals.
pub(super) struct Signals {
    /// Reload.
    pub(super) reload: Signal,
    /// Stop.
    pub(super) stop: Stop,
}

/// SIGTERM, or SIGINT at a terminal.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            stop: Stop {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        })
    }
}

impl Stop {
    /// Waits until the gateway is told to stop.
    pub(super) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP: as `penstock reload`, with the outcome in the log.
pub(super) fn hang_up(calls: &mpsc::Sender<Call>) {
    let (answer, answered) = oneshot::channel();
    if calls.try_send(Call::Reload(ReloadRequest::default(), answer)).is_err() {
        tracing::warn!("SIGHUP: a reload is under way already");
        return;
    }
    tokio::spawn(async move {
        match answered.await {
            Ok(Ok(report)) => tracing::info!(changes = report.changes.len(), "SIGHUP: reloaded"),
            Ok(Err(error)) => {
                let problems: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
                tracing::error!(%error, ?problems, "SIGHUP: nothing was changed");
            }
            Err(_) => {}
        }
    });
}
