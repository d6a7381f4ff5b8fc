//! What charon takes for its kernel.

use penstock_dataplane::esp::sa::Spi;

use crate::ike::protocol::{
    AddSa, GetSpi, Hello, Installed, Instance, PolicySpec, Refused, SaId, UpdateSa, Usage,
};

/// Does what charon asks for. `charon` is the run of charon that asks.
///
/// A call runs to its end even when whoever asked has gone, so none is left half done; it has to end by itself. Calls
/// may overlap, as charon has many threads. What is refused is logged by the caller; the reason names the tunnel.
pub trait Kernel: Send + Sync + 'static {
    /// A run of charon is there, new or again. [`Kernel::sync`] follows.
    fn hello(&self, charon: Instance, versions: Hello) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Takes what charon believes installed, and returns those that are not; charon gives them up. What is installed
    /// for this run of charon and not in the list may go.
    fn sync(
        &self,
        charon: Instance,
        installed: Vec<Installed>,
    ) -> impl Future<Output = Result<Vec<SaId>, Refused>> + Send;

    /// The run of charon said hello before, and its connection has closed without another one after it. It may be
    /// back in a moment.
    fn gone(&self, charon: Instance) -> impl Future<Output = ()> + Send;

    /// An SPI that nobody has on this node.
    fn get_spi(&self, charon: Instance, wanted: GetSpi) -> impl Future<Output = Result<Spi, Refused>> + Send;

    /// Installs an SA. An inbound one is on all workers when this is done.
    fn add_sa(&self, charon: Instance, sa: Box<AddSa>) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Changes an SA's addresses.
    fn update_sa(
        &self,
        charon: Instance,
        change: UpdateSa,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Removes an SA.
    fn del_sa(&self, charon: Instance, id: SaId) -> impl Future<Output = Result<(), Refused>> + Send;

    /// What went through an SA.
    fn query_sa(&self, charon: Instance, id: SaId) -> impl Future<Output = Result<Usage, Refused>> + Send;

    /// Removes all SAs.
    fn flush_sas(&self, charon: Instance) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Installs a policy.
    fn add_policy(
        &self,
        charon: Instance,
        policy: PolicySpec,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Removes a policy.
    fn del_policy(
        &self,
        charon: Instance,
        policy: PolicySpec,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Removes all policies.
    fn flush_policies(&self, charon: Instance) -> impl Future<Output = Result<(), Refused>> + Send;
}
