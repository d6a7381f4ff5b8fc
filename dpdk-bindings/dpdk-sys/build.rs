//! Finds DPDK, generates the bindings and compiles the shim.
//!
//! Whatever is missing on the machine ends in one error that names the Debian packages. intel-ipsec-mb is
//! the exception: without it everything builds, and says so.

#[path = "build/ipsec_mb.rs"]
mod ipsec_mb;

use std::path::PathBuf;
use std::{env, fs};

/// Oldest DPDK release this layer is written and tested for.
const OLDEST: &str = "22.11";

/// What to install; the end of every error below.
const PACKAGES: &str = "on Debian or Ubuntu: apt-get install libdpdk-dev libclang-dev pkg-config";

/// Libraries that the allowlist below needs; drivers are plugins that the EAL loads at run time.
const LIBRARIES: &[&str] =
    &["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_ip_frag", "rte_kvargs"];

/// Functions that Rust calls. Whoever needs another one adds it here.
const FUNCTIONS: &[&str] = &[
    "penstock_.*",
    "rte_eal_(init|cleanup|has_hugepages)",
    "rte_(strerror|version|socket_count|thread_register|thread_unregister|lcore_count)",
    "rte_get_tsc_hz",
    "rte_dev_(probe|remove|name)",
    "rte_devargs_(parse|reset)",
    "rte_pktmbuf_(pool_create|free_bulk|copy)",
    "__rte_pktmbuf_linearize",
    "rte_mempool_(free|avail_count|in_use_count|lookup)",
    "rte_eth_dev_(configure|info_get|get_port_by_name|get_name_by_port|count_avail|is_valid_port)",
    "rte_eth_dev_(start|stop|close|get_mtu|set_mtu|adjust_nb_rx_tx_desc|socket_id|default_mac_addr_set)",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_eth_(link_get_nowait|link_speed_to_str|stats_get|stats_reset|macaddr_get|promiscuous_enable)",
    "rte_eth_(promiscuous_disable|allmulticast_enable|find_next)",
    "rte_ip_frag_(table_create|table_destroy|free_death_row|table_del_expired_entries)",
    "rte_ipv[46]_frag_reassemble_packet",
    "rte_ipv4_fragment_copy_nonseg_packet",
    "rte_ipv[46]_fragment_packet",
];

/// For the feature `measure`.
const MEASURE_FUNCTIONS: &[&str] = &[
    "rte_fib6?_(create|free|add|delete|lookup_bulk|select_lookup)",
    "rte_lpm6?_(create|free|add|delete|lookup_bulk_func)",
];

fn main() {
    println!("cargo::rerun-if-changed=wrapper.h");
    println!("cargo::rerun-if-changed=shim.h");
    println!("cargo::rerun-if-changed=shim.c");
    println!("cargo::rerun-if-changed=measure.h");
    println!("cargo::rerun-if-changed=measure.c");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    if let Err(problem) = build() {
        println!("cargo::error={problem}; {PACKAGES}");
    }
}

fn build() -> Result<(), String> {
    let measure = env::var_os("CARGO_FEATURE_MEASURE").is_some();
    let library = pkg_config::Config::new()
        .cargo_metadata(false)
        .print_system_libs(false)
        .probe("libdpdk")
        .map_err(|error| explain_pkg_config(&error))?;
    if !at_least(&library.version, OLDEST) {
        return Err(format!("DPDK {} is too old, {OLDEST} or newer is needed", library.version));
    }
    let cflags = cflags()?;
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|error| error.to_string())?);

    bind(&cflags, &out, measure)?;
    compile_shim(&cflags, measure)?;
    ipsec_mb::bind(&out)?;

    for path in &library.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    let extra: &[&str] = if measure { &["rte_fib", "rte_rib", "rte_lpm"] } else { &[] };
    for name in LIBRARIES.iter().chain(extra) {
        println!("cargo::rustc-link-lib=dylib={name}");
    }
    // Read by crates that depend on this one as DEP_DPDK_VERSION and DEP_DPDK_CFLAGS.
    println!("cargo::metadata=version={}", library.version);
    println!("cargo::metadata=cflags={}", cflags.join(" "));
    println!("cargo::rustc-env=DPDK_VERSION={}", library.version);
    Ok(())
}

fn explain_pkg_config(error: &pkg_config::Error) -> String {
    match error {
        pkg_config::Error::Command { .. } => "pkg-config cannot be run".to_owned(),
        _ => "DPDK was not found: pkg-config knows no package 'libdpdk' (a DPDK built from source needs \
              its directory in PKG_CONFIG_PATH)"
            .to_owned(),
    }
}

/// All compiler flags as they are: the crate `pkg-config` drops `-march` and `-include`.
fn cflags() -> Result<Vec<String>, String> {
    let tool = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = std::process::Command::new(&tool)
        .args(["--cflags", "libdpdk"])
        .output()
        .map_err(|error| format!("{tool} cannot be run: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect())
}

fn bind(cflags: &[String], out: &std::path::Path, measure: bool) -> Result<(), String> {
    clang_sys::load()
        .map_err(|_| "libclang was not found, bindgen reads DPDK's headers with it".to_owned())?;
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(cflags)
        .allowlist_var("PENSTOCK_.*")
        .allowlist_type("penstock_.*|rte_eth_(conf|dev_info|link|stats|rxconf|txconf|rss_conf)")
        // Written by hand in src/mbuf.rs, where its layout is checked against the header.
        .blocklist_type("rte_mbuf")
        .opaque_type("rte_(mempool|ip_frag_tbl|device|devargs|ipv4_hdr|ipv6_hdr|ipv6_fragment_ext)")
        .blocklist_type("rte_mempool_.*")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_default(true)
        .layout_tests(true)
        .wrap_unsafe_ops(true)
        .generate_comments(false)
        .use_core()
        .rust_edition(bindgen::RustEdition::Edition2024);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    if measure {
        builder = builder
            .header("measure.h")
            .allowlist_type("rte_(fib|fib6|lpm|lpm6)_.*")
            .opaque_type("rte_lpm_tbl_entry");
        for name in MEASURE_FUNCTIONS {
            builder = builder.allowlist_function(name);
        }
    }
    let bindings = builder.generate().map_err(|error| format!("DPDK's headers cannot be read: {error}"))?;
    fs::write(out.join("bindings.rs"), bindings.to_string()).map_err(|error| error.to_string())
}

fn compile_shim(cflags: &[String], measure: bool) -> Result<(), String> {
    let mut compiler = cc::Build::new();
    compiler.file("shim.c").opt_level(3).warnings(true).extra_warnings(true);
    // For rte_power_pause.
    compiler.define("ALLOW_EXPERIMENTAL_API", None);
    if measure {
        compiler.file("measure.c");
    }
    for flag in cflags {
        // DPDK's own headers are no business of our warnings.
        match flag.strip_prefix("-I") {
            Some(directory) => compiler.flag("-isystem").flag(directory),
            None => compiler.flag(flag),
        };
    }
    compiler.try_compile("penstock_dpdk_shim").map_err(|error| format!("shim.c does not compile: {error}"))
}

/// Compares dotted versions number by number ("22.11.11" is at least "22.11").
fn at_least(version: &str, oldest: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> { text.split('.').map_while(|part| part.parse().ok()).collect() };
    numbers(version) >= numbers(oldest)
}
