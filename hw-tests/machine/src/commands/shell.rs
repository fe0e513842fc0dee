//! `shell`: the guest with an interactive console.

use std::io::Write as _;

use coxswain_guest::plan::{Event, Step};

use super::FAILURE;
use super::common;
use crate::cli::{Debuggee, ShellOptions};
use crate::progress::Progress;
use crate::session::Seen;

/// Runs it until the person leaves the shell.
pub fn run(options: &ShellOptions, progress: &Progress) -> anyhow::Result<u8> {
    let machine = &options.machine;
    let prepared = common::prepare(machine, options.share.as_deref(), progress)?;
    let mut scenario = prepared.scenario(machine, options.share.as_deref(), !options.no_driver)?;
    // A driver that fails is what many come here for.
    scenario.plan.keep_going = true;
    scenario.step(Step::Shell);
    let mut run = scenario.into_run(None);
    run.gdb = machine.gdb == Some(Debuggee::Kernel);
    let mut session = common::start(&prepared, machine, progress)?;
    let mut task = Some(progress.spinner("booting the guest"));
    let mut in_shell = false;
    let outcome = session.run_with_console(&run, &mut |seen| {
        match seen {
            Seen::Launched { gdb_port, .. } => common::tell_kernel_debugger(gdb_port, progress),
            Seen::Event(Event::StepBegun { what, .. }) => {
                if *what == Step::Shell.describe() {
                    task = None;
                    in_shell = true;
                    eprint!("leave with `exit`, or Ctrl-] when the guest hangs; `rmmod habanalabs`, `insmod /share/habanalabs.ko`\r\n");
                } else if let Some(task) = &task {
                    task.say(what.clone());
                }
            }
            Seen::Event(Event::StepEnded { error: Some(error), .. }) => eprint!("{error}\r\n"),
            Seen::Console(bytes) if in_shell => {
                let mut stdout = std::io::stdout().lock();
                // A terminal that has gone ends the run in another way.
                let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
            }
            _ => {}
        }
        Ok(())
    })?;
    drop(task);
    let bad =
        outcome.broken.is_some() || !outcome.kernel_faults.is_empty() || !session.firmware_log().fatal().is_empty();
    if bad {
        common::show_failure(&session, &outcome);
    } else {
        eprintln!("logs: {}", session.folder().path().display());
    }
    session.shut_down();
    Ok(if bad { FAILURE } else { 0 })
}
