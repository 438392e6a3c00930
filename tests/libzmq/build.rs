//! Builds libzmq with a C++ compiler, without cmake: with its drafts, and with CURVE over the functions of `src/sodium.rs`.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let directory = |name| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    let (headers, library) = (directory("CARGO_MANIFEST_DIR").join("include"), directory("OUT_DIR"));
    // The library that is asked for has nothing in it: an archive without members.
    fs::write(library.join("libsodium.a"), b"!<arch>\n").expect("it can be written");
    zeromq_src::Build::new()
        .enable_draft(true)
        .with_libsodium(Some(zeromq_src::LibLocation::new(library, headers)))
        .build();
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=include/sodium.h");
}
