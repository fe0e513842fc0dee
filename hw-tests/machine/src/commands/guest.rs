//! `guest`: a person's own program in the guest.

use std::io::Write as _;

use coxswain_guest::plan::Step;

use super::common;
use super::{FAILURE, TIMED_OUT, UsageError};
use crate::cli::{Debuggee, GuestOptions};
use crate::guest::program;
use crate::progress::Progress;
use crate::session::Seen;

/// Runs it; the program's exit code becomes ours, unless the kernel complained.
pub fn run(options: &GuestOptions, progress: &Progress) -> anyhow::Result<u8> {
    let machine = &options.machine;
    let prepared = common::prepare(machine, options.share.as_deref(), progress)?;
    let (program, arguments) = options.program.split_first().ok_or_else(|| UsageError("no program is named".into()))?;
    let mut scenario = prepared.scenario(machine, options.share.as_deref(), true)?;
    let path = program::bring(program, options.share.as_deref(), &mut scenario.contents)
        .map_err(|error| UsageError(format!("{error:#}")))?;
    scenario.plan.keep_going = options.keep_going;
    scenario.step(Step::Run {
        argv: std::iter::once(path).chain(arguments.iter().cloned()).collect(),
        env: Vec::new(),
        timeout_s: options.timeout,
        expect_exit: None,
    });
    let mut run = scenario.into_run(common::limit(machine, options.timeout));
    run.gdb = machine.gdb == Some(Debuggee::Kernel);
    let mut session = common::start(&prepared, machine, progress)?;
    let mut task = Some(progress.spinner("booting the guest and loading the driver"));
    let outcome = session.run(&run, &mut |seen| {
        match seen {
            Seen::Launched { gdb_port, .. } => common::tell_kernel_debugger(gdb_port, progress),
            Seen::Output(bytes) => {
                task = None;
                let mut stdout = std::io::stdout().lock();
                // A reader that has gone (`| head`) does not end the run.
                let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
            }
            _ => {}
        }
        Ok(())
    })?;
    drop(task);
    let exit = outcome.last_exit();
    let code = match exit {
        Some((_, _, true)) => {
            eprintln!("{program}: not done after {} s", options.timeout);
            TIMED_OUT
        }
        Some((Some(code), ..)) => u8::try_from(code).unwrap_or(FAILURE),
        Some((None, Some(signal), _)) => {
            eprintln!("{program}: ended by signal {signal}");
            u8::try_from(128 + signal).unwrap_or(FAILURE)
        }
        _ => FAILURE,
    };
    let bad = exit.is_none()
        || outcome.broken.is_some()
        || !outcome.kernel_faults.is_empty()
        || !session.firmware_log().fatal().is_empty();
    if bad {
        common::show_failure(&session, &outcome);
    }
    session.shut_down();
    Ok(if bad && code == 0 { FAILURE } else { code })
}
