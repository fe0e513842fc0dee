//! Process 1 of the guest: brings the system up, carries out the plan, powers off.
//!
//! It owns the three serial ports (as [`crate::plan`] shares them out), the mounts and every process that it starts. It
//! never gives up silently: whatever ends the run is an event on the control channel first, also a panic.
//!
//! * [`ports`]: the control channel and the output port;
//! * [`mounts`]: the file systems;
//! * [`process`]: starting, bounding and reaping programs;
//! * [`kernel_log`]: waiting for kernel messages;
//! * [`steps`]: the steps of the plan.

pub mod kernel_log;
pub mod mounts;
pub mod ports;
pub mod process;
pub mod steps;

use crate::plan::{self, Event, Plan, Step};
use ports::{Control, Output};
use rustix::system::{RebootCommand, reboot, sethostname, uname};
use std::time::Duration;
use steps::{Outcome, Session};

/// The whole life of process 1. Returns only when the machine could not be powered off; the caller then exits, which
/// makes the kernel panic and ends the machine in its own way.
pub fn run() {
    let mounted = mounts::mount_all();
    std::panic::set_hook(Box::new(|panic| {
        let mut control = Control::open_or_console(plan::CONTROL_PORT);
        control.send(&Event::Fatal { message: format!("process 1 failed: {panic}") });
        power_off();
    }));
    let mut control = Control::open_or_console(plan::CONTROL_PORT);
    if let Err(message) = mounted.and_then(|()| carry_out(&mut control)) {
        control.send(&Event::Fatal { message });
    }
    power_off();
}

/// Reads and carries out the plan. `Err` is the reason why it could not even begin.
fn carry_out(control: &mut Control) -> Result<(), String> {
    let text = std::fs::read_to_string(plan::PLAN_PATH)
        .map_err(|error| format!("the plan {} cannot be read: {error}", plan::PLAN_PATH))?;
    let plan: Plan = serde_json::from_str(&text)
        .map_err(|error| format!("the plan {} is not understood: {error}", plan::PLAN_PATH))?;
    let _ = sethostname(plan.hostname.as_bytes());

    let output = Output::open(plan::OUTPUT_PORT)?;
    let modules = plan.modules.len();
    let steps: Vec<Step> = plan.modules.into_iter().map(Step::from).chain(plan.steps).collect();
    control.send(&Event::Started {
        kernel: uname().release().to_string_lossy().into_owned(),
        steps: u32::try_from(steps.len()).unwrap_or(u32::MAX),
    });

    let mut session = Session::new(control, output);
    let mut failed = Vec::new();
    let mut begun = 0;
    let mut share = plan.share;
    for (number, step) in (0u32..).zip(&steps) {
        if share && number as usize == modules {
            mounts::mount_share()?;
            share = false;
        }
        begun += 1;
        match session.perform(number, step) {
            Outcome::Done => {}
            Outcome::PowerOff => break,
            Outcome::Failed => {
                failed.push(number);
                if !plan.keep_going {
                    break;
                }
            }
        }
    }
    let stopped = !failed.is_empty() && !plan.keep_going;
    let skipped = if stopped { steps.len() - begun } else { 0 };
    session.finish(&Event::Finished { failed, skipped: u32::try_from(skipped).unwrap_or(u32::MAX) });
    Ok(())
}

/// Ends every process and the machine.
fn power_off() {
    process::kill_everything(Duration::from_secs(2));
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
}
