//! Finds intel-ipsec-mb's header and generates its bindings.
//!
//! The library is optional twice: without the header the module is left out (`cfg(ipsec_mb)`, and
//! DEP_DPDK_IPSEC_MB for the crates above), and with it nothing is linked: the few functions that are not
//! reached through the library's own table of functions are looked up at run time.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Oldest release this layer is written and tested for, as the header writes it: 1.3.0.
const OLDEST: u32 = 0x1_03_00;

/// Where Debian and a library built from source put the header; the library has no pkg-config file.
const HEADERS: &[&str] = &["/usr/include/intel-ipsec-mb.h", "/usr/local/include/intel-ipsec-mb.h"];

/// Functions that Rust looks up by name.
const FUNCTIONS: &[&str] =
    &["imb_get_version", "imb_get_version_str", "alloc_mb_mgr", "free_mb_mgr", "init_mb_mgr_auto"];

/// Generates `ipsec_mb.rs`, or warns why ESP will run without the library.
pub fn bind(out: &Path) -> Result<(), String> {
    println!("cargo::rustc-check-cfg=cfg(ipsec_mb)");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        return Ok(());
    }
    let header = match find() {
        Ok(header) => header,
        Err(reason) => {
            println!(
                "cargo::warning={reason}: ESP will be built without it and be slower; on Debian or Ubuntu: \
                 apt-get install libipsec-mb-dev && cargo clean -p dpdk-sys"
            );
            return Ok(());
        }
    };
    println!("cargo::rerun-if-changed={}", header.display());
    let bindings = bindgen::Builder::default()
        .header(header.display().to_string())
        // Its names before 0.55, as macros.
        .clang_arg("-DNO_COMPAT_IMB_API_053")
        // As the library itself is built: it aligns keys to cache lines.
        .clang_arg("-DLINUX")
        .allowlist_type("IMB_(MGR|JOB|ARCH)|gcm_(key|context)_data")
        .allowlist_function(FUNCTIONS.join("|"))
        .allowlist_var("IMB_(VERSION_NUM|FEATURE_SELF_TEST(_PASS)?|CPUFLAGS_AVX512_T2)")
        .dynamic_library_name("Api")
        .dynamic_link_require_all(true)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .layout_tests(true)
        .wrap_unsafe_ops(true)
        .generate_comments(false)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .generate()
        .map_err(|error| format!("{} cannot be read: {error}", header.display()))?;
    fs::write(out.join("ipsec_mb.rs"), bindings.to_string()).map_err(|error| error.to_string())?;
    println!("cargo::rustc-cfg=ipsec_mb");
    println!("cargo::metadata=ipsec_mb=1");
    Ok(())
}

/// The header of a release that is new enough.
fn find() -> Result<PathBuf, String> {
    let Some(header) = HEADERS.iter().map(Path::new).find(|path| path.exists()) else {
        return Err("intel-ipsec-mb.h was not found".to_owned());
    };
    let text = fs::read_to_string(header).map_err(|error| format!("{}: {error}", header.display()))?;
    match version(&text) {
        Some(OLDEST..) => Ok(header.to_owned()),
        _ => Err(format!("{} is older than 1.3", header.display())),
    }
}

/// What `#define IMB_VERSION_NUM 0x10300` says.
fn version(header: &str) -> Option<u32> {
    let line = header.lines().find_map(|line| line.strip_prefix("#define IMB_VERSION_NUM "))?;
    u32::from_str_radix(line.trim().strip_prefix("0x")?, 16).ok()
}
