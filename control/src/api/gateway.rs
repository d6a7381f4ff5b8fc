//! What the server asks of the running gateway.

use futures_util::future::BoxFuture;

use super::error::ApiError;
use super::filter::{IkeFilter, NeighborFilter, RouteFilter, SaFilter, TunnelFilter};
use super::types::{
    CoreRow, Crypto, DropRow, Ike, NeighborRow, Page, PortRow, ReloadReport, ReloadRequest, RouteRow,
    RunningConfig, SaRow, Status, TunnelRow,
};

/// The running gateway, as the API sees it.
///
/// The reading methods are called on a blocking thread, never on the control thread itself, so a long table
/// does not delay the kernel mirror; they may take locks and may take their time.
pub trait Gateway: Send + Sync + 'static {
    /// The gateway at a glance. Leave `attention` empty; the server fills it in.
    fn status(&self) -> Status;

    /// All ports.
    fn ports(&self) -> Vec<PortRow>;

    /// All cores.
    fn cores(&self) -> Vec<CoreRow>;

    /// Tunnels that match, by tenant and name.
    fn tunnels(&self, filter: &TunnelFilter) -> Page<TunnelRow>;

    /// Security associations that match, by tunnel, inbound ones first.
    fn sas(&self, filter: &SaFilter) -> Page<SaRow>;

    /// The IKE daemon, and negotiated tunnels that match, by tenant and name.
    fn ike(&self, filter: &IkeFilter) -> Ike;

    /// What encrypts, and who may.
    fn crypto(&self) -> Crypto;

    /// Routes that match, by tenant and prefix.
    fn routes(&self, filter: &RouteFilter) -> Page<RouteRow>;

    /// Neighbours that match, by interface and address.
    fn neighbors(&self, filter: &NeighborFilter) -> Page<NeighborRow>;

    /// All drop reasons, also those that never happened.
    fn drops(&self) -> Vec<DropRow>;

    /// The running configuration.
    fn config(&self) -> RunningConfig;

    /// Validates, compares and, unless it is a dry run, applies a configuration.
    ///
    /// Called for one request at a time, and run to its end even when the client goes away. Returns when all
    /// workers have the new tables.
    fn reload(&self, request: ReloadRequest) -> BoxFuture<'_, Result<ReloadReport, ApiError>>;
}
