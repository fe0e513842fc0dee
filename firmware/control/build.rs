//! Links the image with its script when it is built for the management CPU.

fn main() {
    println!("cargo::rerun-if-changed=../../linker/control.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-T{manifest}/../../linker/control.ld");
        println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    }
}
