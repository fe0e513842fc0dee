//! From power-on to a running control image: preboot detection and the COMMS loader (`boot-protocol.md` 5 and 8). Firmware
//! without COMMS is loaded by `static_loader.rs`.
//!
//! Every wait has the driver's bound. A failure carries what firmware said: error bits and texts of the descriptor.

use crate::link::Link;
use crate::static_loader;
use crate::{Bounds, HostError};
use coxswain_abi::comms::{
    Command, CommandWord, DESCRIPTOR_BYTES, Descriptor, HostMessage, ResetCause, Status, StatusWord,
};
use coxswain_abi::regs::psoc::{self, boot_status, err0, sts0};
use coxswain_abi::regs::{cpu_if, pcie};
use zerocopy::{FromBytes, IntoBytes};

/// What the firmware stages said about themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Version text of the ROM.
    pub preboot_version: String,
    /// Version text of the boot-fit.
    pub boot_fit_version: String,
    /// Capability word of the control image (CPU_BOOT_DEV_STS0).
    pub capabilities: u32,
    /// Lines for the host's log, in the order in which they came.
    pub messages: Vec<String>,
}

/// Waits until the ROM is ready for the host and returns its capability word (`boot-protocol.md` 5).
///
/// # Errors
/// It is not ready in time, or reports a fatal error.
pub fn wait_preboot(link: &Link, bounds: &Bounds) -> Result<u32, HostError> {
    const READY: [u32; 3] = [11, boot_status::READY_TO_BOOT, boot_status::WAITING_FOR_BOOT_FIT];
    link.wait_register(psoc::CPU_BOOT_STATUS, "CPU_BOOT_STATUS of the ROM", bounds.preboot, |status| {
        READY.contains(&status)
    })?;
    check_errors(link)?;
    Ok(link.read(psoc::CPU_BOOT_DEV_STS0))
}

/// True when the stage that runs speaks COMMS (`boot-protocol.md` 6).
pub(crate) fn speaks_comms(link: &Link) -> bool {
    let needed = sts0::ENABLED | sts0::FW_LD_COM_EN;
    link.read(psoc::CPU_BOOT_DEV_STS0) & needed == needed
}

/// Fails when firmware reports an error that makes the driver give up (`boot-protocol.md` 12).
///
/// # Errors
/// [`HostError::Boot`] with the error word.
pub fn check_errors(link: &Link) -> Result<(), HostError> {
    /// DRAM_INIT_FAIL, DRAM_SKIPPED, PLL_FAIL, BINNING_FAIL, EEPROM_FAIL.
    const FATAL: u32 = 1 | 1 << 3 | 1 << 12 | 1 << 19 | 1 << 22;
    let errors = link.read(psoc::CPU_BOOT_ERR0);
    if errors & err0::ENABLED != 0 && errors & FATAL != 0 {
        return Err(HostError::Boot(format!("firmware reports fatal errors: CPU_BOOT_ERR0 is {errors:#x}")));
    }
    Ok(())
}

/// Loads both images as the driver does, from "ROM ready" to "control image running". `cause` is told to the ROM after a
/// reset that had one.
///
/// # Errors
/// A stage did not answer, refused an image, or reported an error.
pub fn load(
    link: &Link,
    bounds: &Bounds,
    boot_fit: &[u8],
    control: &[u8],
    cause: Option<ResetCause>,
) -> Result<Loaded, HostError> {
    link.write(pcie::WRAP_LBW_PROT_OVR, 0x7700);
    let _ = link.read(pcie::WRAP_LBW_PROT_OVR);
    link.write(psoc::HW_STATE, 1);
    // Bits 49:39 of the device addresses of the host's memory: all of it lies below 2^39.
    link.write(cpu_if::CPU_MSB_ADDR, 1);

    let mut loaded = if speaks_comms(link) {
        let mut comms = Comms { link, bounds, loaded: Loaded::default() };
        comms.run(boot_fit, control, cause).map_err(|error| comms.explain(error))?;
        comms.loaded
    } else {
        static_loader::load(link, bounds, boot_fit, control)?
    };
    check_errors(link)?;
    loaded.capabilities = link.read(psoc::CPU_BOOT_DEV_STS0);
    Ok(loaded)
}

struct Comms<'a> {
    link: &'a Link,
    bounds: &'a Bounds,
    loaded: Loaded,
}

impl Comms<'_> {
    fn run(&mut self, boot_fit: &[u8], control: &[u8], cause: Option<ResetCause>) -> Result<(), HostError> {
        self.command(Command::ResetState, 0, true)?;
        if let Some(cause) = cause {
            let message = HostMessage::reset_cause(cause);
            let descriptor = self.descriptor(DESCRIPTOR_BYTES)?;
            self.link.write_device(descriptor.image_address.get(), message.as_bytes())?;
            self.command(Command::DataReady, 0, true)?;
            self.command(Command::Execute, 0, true)?;
        }
        self.descriptor(DESCRIPTOR_BYTES)?;
        self.loaded.preboot_version = self.image("boot-fit", boot_fit)?;
        self.link.wait_register(
            psoc::CPU_BOOT_STATUS,
            "CPU_BOOT_STATUS of the boot-fit",
            self.bounds.boot_fit,
            |status| [boot_status::READY_TO_BOOT, boot_status::SRAM_AVAIL].contains(&status),
        )?;
        self.loaded.boot_fit_version = self.image("control image", control)?;
        self.link.wait_register(
            psoc::CPU_BOOT_STATUS,
            "CPU_BOOT_STATUS of the control image",
            self.bounds.control,
            |status| status == boot_status::SRAM_AVAIL,
        )?;
        Ok(())
    }

    /// Hands over one image and starts it; returns the version of the stage that took it.
    fn image(&mut self, name: &str, image: &[u8]) -> Result<String, HostError> {
        if image.is_empty() || !image.len().is_multiple_of(4) {
            return Err(HostError::usage(format!("the {name} has {} bytes, not a multiple of 4", image.len())));
        }
        let descriptor = self.descriptor(image.len())?;
        self.link.write_device(descriptor.image_address.get(), image)?;
        self.command(Command::DataReady, 0, true)?;
        self.command(Command::Execute, 0, false)?;
        Ok(text(&descriptor.current_version))
    }

    /// Asks for a place for `bytes`, and checks the descriptor as the driver does (`boot-protocol.md` 8.6).
    fn descriptor(&mut self, bytes: usize) -> Result<Descriptor, HostError> {
        let size = u32::try_from(bytes).map_err(|_| HostError::usage("an image beyond 4 GiB"))?;
        let word = self.command(Command::PrepareDescriptor, size, true)?;
        let location =
            word.location().ok_or_else(|| HostError::protocol(format!("the descriptor's place in {:#x}", word.0)))?;
        let mut raw = [0; DESCRIPTOR_BYTES];
        self.link.read_device(location, &mut raw)?;
        let descriptor = Descriptor::read_from_bytes(&raw)
            .map_err(|_| HostError::protocol("the descriptor has a size of its own"))?;
        if !descriptor.is_valid() {
            return Err(HostError::protocol(format!("the descriptor at {location:#x} is damaged")));
        }
        let registers = descriptor.registers;
        let used = [registers.kmd_msg_to_cpu, registers.cpu_cmd_status_to_host, registers.cpu_boot_status];
        if used.map(|offset| offset.get())
            != [psoc::KMD_MSG_TO_CPU, psoc::CPU_CMD_STATUS_TO_HOST, psoc::CPU_BOOT_STATUS]
        {
            return Err(HostError::protocol("the descriptor moves registers, which this host does not follow"));
        }
        // The end must lie strictly below the end of the memory, so one byte more must fit.
        self.link.read_device(descriptor.image_address.get(), &mut vec![0; bytes + 1])?;
        for message in descriptor.messages.iter().take_while(|message| message.valid != 0) {
            self.loaded.messages.push(text(&message.text));
        }
        Ok(descriptor)
    }

    /// One command cycle (`boot-protocol.md` 8.1); returns the word that carried OK, or ACK where no OK comes.
    fn command(&self, command: Command, size: u32, has_ok: bool) -> Result<StatusWord, HostError> {
        self.clear(command)?;
        self.link.write(psoc::KMD_MSG_TO_CPU, CommandWord::new(command, size).0);
        let acknowledged = self.wait(command, Status::Ack)?;
        self.clear(command)?;
        self.link.write(psoc::KMD_MSG_TO_CPU, CommandWord::new(Command::Noop, 0).0);
        if !has_ok {
            return Ok(acknowledged);
        }
        let done = self.wait(command, Status::Ok)?;
        self.clear(command)?;
        self.link.write(psoc::KMD_MSG_TO_CPU, CommandWord::new(Command::Noop, 0).0);
        Ok(done)
    }

    fn clear(&self, command: Command) -> Result<(), HostError> {
        self.link.write(psoc::KMD_MSG_TO_CPU, CommandWord::new(Command::ClearStatus, 0).0);
        self.wait(command, Status::Noop).map(|_| ())
    }

    fn wait(&self, command: Command, status: Status) -> Result<StatusWord, HostError> {
        let name = format!("COMMS {status:?} to {command:?}");
        let accept = |word: u32| StatusWord(word).status() == status as u32;
        let word = self.link.wait_register(psoc::CPU_CMD_STATUS_TO_HOST, &name, self.bounds.comms, accept)?;
        let word = StatusWord(word);
        if status != Status::Noop && word.location().is_none() {
            return Err(HostError::Boot(format!("firmware refuses {command:?}: {:#x}", word.0)));
        }
        Ok(word)
    }

    /// Adds to a failure what firmware itself says.
    fn explain(&self, error: HostError) -> HostError {
        let errors = self.link.read(psoc::CPU_BOOT_ERR0);
        let status = self.link.read(psoc::CPU_BOOT_STATUS);
        let mut words = format!("{error}; CPU_BOOT_STATUS {status}");
        if errors & err0::ENABLED != 0 {
            words.push_str(&format!(", CPU_BOOT_ERR0 {errors:#x}"));
        }
        for message in &self.loaded.messages {
            words.push_str(&format!("; \"{message}\""));
        }
        HostError::Boot(words)
    }
}

/// Asks the ROM or the boot-fit to stop in its wait loop: what the driver does before it resets a card without a running
/// control image (`boot-protocol.md` 14.2 R4).
///
/// # Errors
/// No acknowledge, or the stage does not report that it stopped.
pub fn go_to_wait(link: &Link, bounds: &Bounds) -> Result<(), HostError> {
    if !speaks_comms(link) {
        static_loader::go_to_wait(link, bounds);
        return Ok(());
    }
    let comms = Comms { link, bounds, loaded: Loaded::default() };
    comms.command(Command::GotoWfe, 0, false)?;
    link.wait_register(psoc::CPU_BOOT_STATUS, "CPU_BOOT_STATUS after GOTO_WFE", bounds.comms, |status| {
        status == boot_status::IN_WFE
    })?;
    Ok(())
}

pub(crate) fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}
