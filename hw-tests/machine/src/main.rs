//! The command-line program behind `cargo run`.
fn main() -> anyhow::Result<()> {
    coxswain_machine::interrupt::install()?;
    let progress = coxswain_machine::progress::Progress::new();
    let t = coxswain_machine::provision::provision(&Default::default(), &progress)?;
    println!("{t:?}");
    Ok(())
}
