//! Serves a card until its standard input ends, without firmware and without a harness.
//!
//! For: looking at the PCI functions from a QEMU's monitor, and at a driver's first accesses.
//! Usage: `serve_card <directory> [host memory in MiB]`; the sockets are `host.sock` and `soc.sock` in the directory, the
//! host's memory is the file that the first line names.

use std::path::PathBuf;
use std::sync::Arc;

use coxswain_card::{Card, CardOptions};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or_else(|| anyhow::anyhow!("a directory is needed"))?);
    let mebibytes: u64 = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let card = Card::start(CardOptions {
        host_memory_bytes: mebibytes << 20,
        host_socket: directory.join("host.sock"),
        soc_socket: directory.join("soc.sock"),
        lockstep: false,
        straps: 0,
        fuses: coxswain_card::Fuses::new(),
        fuse_file: None,
        trace: Some(Arc::new(|entry| println!("{entry}"))),
    })?;
    println!("{}", card.memories().host.proc_path().display());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    println!("{:?} {:?} {:?}", card.host().counts(), card.host().msi().counts(), card.soc_function().counts());
    card.shutdown();
    Ok(())
}
