//! Kernels that do something wrong: the TPC stops with a cause, its event reaches the driver, and the submission that waits for
//! the kernel ends with an error (`tpc.md` 13.5, `decisions.md` 2).
//!
//! Nothing of this process works afterwards; the card comes back for the next one.

use super::bench::{Bench, JobError};
use super::faults::UNMAPPED;
use super::packets::Packets;
use crate::device::{DeviceError, Information};
use crate::launch::{Launches, Loader};
use coxswain_kernels::packets::Order;
use coxswain_kernels::{Dispatch, Element, Kernel, Tensor};
use std::time::{Duration, Instant};

/// Most time from the submission to its end.
const BOUND: Duration = Duration::from_secs(10);
/// The engine that gets the wrong kernel; its neighbours get right ones.
const ENGINE: u8 = 5;
/// Its event (`gaudi-soc.md` 14).
const EVENT: u32 = 301 + 6 * ENGINE as u32;

/// What the kernel does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelFault {
    /// It runs into a bundle that is no instruction.
    Instruction,
    /// It loads from memory that is not mapped.
    Load,
    /// It stores to memory that is not mapped.
    Store,
    /// It reads scalar local memory beyond its end.
    Local,
    /// It jumps out of the address space.
    Jump,
    /// It reads a register that its block does not have.
    RegisterRead,
    /// It writes one.
    RegisterWrite,
}

/// A right bundle behind whatever a kernel does wrong.
const END: &str = "\nnop; halt; halt; nop\nnop 3";

impl KernelFault {
    fn kernel(self) -> Result<Kernel, JobError> {
        let text = match self {
            Self::Instruction => {
                let mut code = coxswain_tpc::assemble("nop 4").map_err(|error| JobError::Claim(error.to_string()))?;
                code.extend([0xFF; 32]);
                return Ok(Kernel::from_code("illegal", code));
            }
            Self::Load => "ld_tnsr V0, 0, I0; nop; nop; nop",
            Self::Store => "nop; nop; nop; st_tnsr 0, I0, V0",
            Self::Local => "ld_l S1, 1024; nop; nop; nop",
            Self::Jump => "nop; jmpr -0x7fffffe0; nop; nop",
            Self::RegisterRead => "ld_l mmio S1, 0x3000; nop; nop; nop",
            Self::RegisterWrite => "nop; nop; nop; st_l mmio 0x3000, S1",
        };
        Ok(Kernel::from_assembly("wrong", &format!("{text}{END}"))?)
    }
}

/// Runs the wrong kernel beside a right one and waits for both; returns how long the submission was pending.
///
/// # Errors
/// The submission was reported as complete, did not end in time, or the event did not reach the driver.
pub fn provoke(bench: &Bench<'_>, fault: KernelFault) -> Result<Duration, JobError> {
    let right = Kernel::from_assembly("right", "nop; halt; halt; nop\nnop 3")?;
    let wrong = fault.kernel()?;
    let mut loader = Loader::new(bench);
    let (right_code, wrong_code) = (loader.load(&right)?, loader.load(&wrong)?);
    let everybody_else = [0, 1, 2, 3, 4, 6, 7];
    let tensor = Tensor::dense(UNMAPPED, Element::F32, &[64]);
    let runs = [
        (&right_code, Dispatch::new(&right).space(&[7])?.over(0, &everybody_else)?),
        (&wrong_code, Dispatch::new(&wrong).tensor(tensor).over(0, &[ENGINE])?),
    ];
    let launches = Launches::new(bench, &runs, 0, Order::AfterTheLast)?;
    let reports = || -> Result<u32, DeviceError> {
        let events = bench.device.events(true)?;
        Ok(events.into_iter().find(|(number, _)| *number == EVENT).map_or(0, |(_, count)| count))
    };
    let before = reports()?;
    let begun = Instant::now();
    let ended = launches.run(bench, &Packets::new());
    let elapsed = begun.elapsed();
    match ended {
        Err(JobError::Device(DeviceError::Aborted { .. })) => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(JobError::Claim("the submission was reported as complete".to_owned())),
    }
    if elapsed > BOUND {
        return Err(JobError::Claim(format!("the submission ended only after {} ms", elapsed.as_millis())));
    }
    if reports()? == before {
        return Err(JobError::Claim(format!("event {EVENT} of the TPC did not reach the driver")));
    }
    Ok(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_tpc::{Cause, FlatMemory, Launch, Memory, Outcome, Tpc};

    #[test]
    fn each_kernel_is_wrong_in_its_own_way() {
        for (fault, cause) in [
            (KernelFault::Instruction, Cause::IllegalInstruction),
            (KernelFault::Load, Cause::ReadResponse),
            (KernelFault::Store, Cause::WriteResponse),
            (KernelFault::Local, Cause::LocalAddress),
            (KernelFault::Jump, Cause::ProgramCounterWrap),
            (KernelFault::RegisterRead, Cause::RegisterRead),
            (KernelFault::RegisterWrite, Cause::RegisterWrite),
        ] {
            let kernel = fault.kernel().unwrap();
            let mut memory = FlatMemory::new(0x2000_0000, 0x2000);
            memory.write(0x2000_0000, kernel.code()).unwrap();
            let dispatch = Dispatch::new(&kernel).tensor(Tensor::dense(UNMAPPED, Element::F32, &[64]));
            let launch: Launch = dispatch.parts(0x2000_0000, None).unwrap().remove(0).launch;
            let mut tpc = Tpc::new();
            tpc.start(&launch);
            match tpc.run(&mut memory, 100) {
                Outcome::Fault(found) => assert_eq!(found.cause, cause, "{found}"),
                outcome => panic!("{fault:?}: {outcome:?}"),
            }
        }
    }
}
