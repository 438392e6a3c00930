//! Builds libzmq with a C++ compiler, without cmake.

fn main() {
    zeromq_src::Build::new().enable_draft(true).build();
    println!("cargo:rerun-if-changed=build.rs");
}
