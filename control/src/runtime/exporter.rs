//! Metrics over TCP, where the configuration says so; a reload may move them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::api::Gateway;
use crate::metrics::{Listening, MetricsError};

/// The listener, if there is one.
pub(super) struct Exporter {
    gateway: Arc<dyn Gateway>,
    running: Option<(SocketAddr, JoinHandle<()>)>,
}

impl Exporter {
    /// Nothing listens yet.
    pub(super) fn new(gateway: Arc<dyn Gateway>) -> Self {
        Self { gateway, running: None }
    }

    /// Takes the address that is wanted, unless it is served already. What is served stays.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) fn prepare(&self, wanted: Option<SocketAddr>) -> Result<Option<Listening>, MetricsError> {
        let there = self.running.as_ref().map(|(address, _)| *address);
        wanted.filter(|wanted| Some(*wanted) != there).map(Listening::bind).transpose()
    }

    /// Serves what was prepared, in place of what was served; what is not wanted any more ends.
    pub(super) fn adopt(&mut self, wanted: Option<SocketAddr>, prepared: Option<Listening>) {
        if self.running.as_ref().is_some_and(|(address, _)| Some(*address) != wanted) {
            self.end();
        }
        let Some(listening) = prepared else { return };
        let address = listening.address();
        let gateway = Arc::clone(&self.gateway);
        let task = tokio::spawn(async move {
            if let Err(error) = listening.serve(gateway).await {
                tracing::error!(%address, %error, "metrics are not served");
            }
        });
        tracing::info!(%address, "metrics are served");
        self.running = Some((address, task));
    }

    fn end(&mut self) {
        if let Some((address, task)) = self.running.take() {
            task.abort();
            tracing::info!(%address, "metrics are not served any more");
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some((_, task)) = self.running.take() {
            task.abort();
        }
    }
}
