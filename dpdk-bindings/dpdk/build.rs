//! Says whether intel-ipsec-mb's bindings are there: to this crate as `cfg(ipsec_mb)`, to the build scripts
//! of those that depend on it as DEP_PENSTOCK_DPDK_IPSEC_MB.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(ipsec_mb)");
    if std::env::var_os("DEP_DPDK_IPSEC_MB").is_some() {
        println!("cargo::rustc-cfg=ipsec_mb");
        println!("cargo::metadata=ipsec_mb=1");
    }
}
