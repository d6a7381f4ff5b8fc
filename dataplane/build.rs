//! Says whether intel-ipsec-mb's safe layer is there, as `cfg(ipsec_mb)`: with the feature `dpdk`, on a machine
//! that has the library's header.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(ipsec_mb)");
    if std::env::var_os("DEP_PENSTOCK_DPDK_IPSEC_MB").is_some() {
        println!("cargo::rustc-cfg=ipsec_mb");
    }
}
