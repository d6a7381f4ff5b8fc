//! What the server asks of the running gateway.

use futures_util::future::BoxFuture;

use super::error::ApiError;
use super::filter::{IkeFilter, NeighborFilter, RouteFilter, SaFilter, TunnelFilter};
use super::types::{
    ApplyReport, ApplyRequest, CoreRow, Crypto, DeleteRequest, DropRow, Fleet, Ike, NeighborRow, Page,
    PortRow, Readiness, ReloadReport, ReloadRequest, RouteRow, RunningConfig, SaRow, Status, TenantObject,
    TunnelRow,
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

    /// Whether this node may be sent traffic.
    fn ready(&self) -> Readiness;

    /// The fleet as this node sees it.
    fn fleet(&self) -> Fleet;

    /// The same, without asking other nodes: for whoever looks all the time.
    fn fleet_as_known(&self) -> Fleet {
        self.fleet()
    }

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

    /// The tenants of the fleet's store, by name.
    fn tenants(&self) -> Vec<TenantObject>;

    /// Validates tenants joined with this node's configuration and, unless it is a dry run, writes them to the fleet's
    /// store, all or none.
    fn apply(&self, request: ApplyRequest) -> BoxFuture<'_, Result<ApplyReport, ApiError>>;

    /// Takes a tenant or a tunnel out of the fleet's store.
    fn delete(&self, request: DeleteRequest) -> BoxFuture<'_, Result<ApplyReport, ApiError>>;

    /// Validates, compares and, unless it is a dry run, applies a configuration.
    ///
    /// Called for one request at a time, and run to its end even when the client goes away. Returns when all
    /// workers have the new tables.
    fn reload(&self, request: ReloadRequest) -> BoxFuture<'_, Result<ReloadReport, ApiError>>;
}
