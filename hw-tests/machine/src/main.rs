//! The command-line program behind `cargo run`.
use coxswain_guest::plan::{Plan, Step};
use coxswain_machine::*;
fn main() -> anyhow::Result<()> {
    interrupt::install()?;
    let progress = progress::Progress::new();
    let tools = provision::provision(&Default::default(), &progress)?;
    provision::ensure_rust_targets(&progress)?;
    let guest = images::build_guest(&progress)?;
    let mut session = session::Session::start(tools.into(), session::Config::default())?;
    let contents = guest::initramfs::Contents {
        init: guest.init,
        busybox: std::env::args().nth(1).unwrap().into(),
        ..Default::default()
    };
    let plan = Plan {
        steps: vec![Step::Run {
            argv: vec!["/bin/busybox".into(), "uname".into(), "-a".into()],
            env: vec![],
            timeout_s: 5,
            expect_exit: Some(0),
        }],
        ..Default::default()
    };
    let out = session.run(
        &session::GuestRun {
            plan,
            contents,
            share: None,
            limit: Some(std::time::Duration::from_secs(40)),
            kernel_parameters: String::new(),
            gdb: false,
        },
        &mut |seen| {
            if let session::Seen::Event(e) = seen {
                println!("{e:?}")
            }
            Ok(())
        },
    )?;
    println!("{out:?}\n{}", session.folder().path().display());
    Ok(())
}
