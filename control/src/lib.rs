//! Control: what decides, beside the workers that forward.
//!
//! [`config`] reads what the operator wants, [`kernel`] mirrors what the kernel of the twin namespace knows,
//! [`compile`] makes the workers' tables of both, [`runtime`] joins them with the data plane, [`api`] answers the operator,
//! and [`metrics`] Prometheus; [`doctor`] looks whether the host is fit for it; [`static_sas`] reads keys by hand, for
//! tests. Nothing here ever touches a packet on the fast path.

pub mod api;
pub mod compile;
pub mod config;
pub mod doctor;
pub mod fleet;
pub mod health;
pub mod ike;
pub mod kernel;
pub mod leases;
pub mod local_socket;
pub mod metrics;
pub mod runtime;
pub mod secret;
pub mod static_sas;
