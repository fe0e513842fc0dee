//! Runs a kernel of your own on the TPCs, with its tensors in files; see `coxswain_guest::run_kernel`.

use clap::Parser;
use coxswain_guest::device::{COMPUTE_NODE, Device};
use coxswain_guest::jobs::bench::Bench;
use coxswain_guest::run_kernel::{Run, TensorArgument, numbers, read_kernel, scalar};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Runs a kernel on the card's TPCs.
///
/// Tensors and scalars are bound in the order in which they stand here. Example, y = 2 x + 0.5 on 1000 floats:
/// coxswain-kernel axpb_f32.o --tensor in:f32:1000:x.bin --tensor out:f32:1000:y.bin --scalar 2.0 --scalar 0.5 --space 16
#[derive(Debug, Parser)]
#[command(name = "coxswain-kernel", version)]
struct Arguments {
    /// An ELF object of the public compiler, or text for the assembler
    kernel: PathBuf,
    /// A tensor: in, out or inout; element type; sizes from the innermost dimension on, with @NUMBER what lies outside; file
    #[arg(long = "tensor", value_name = "MODE:TYPE:SIZES:FILE")]
    tensors: Vec<TensorArgument>,
    /// A scalar: a float with a point or exponent, or an integer
    #[arg(long = "scalar", value_name = "NUMBER", value_parser = scalar, allow_hyphen_values = true)]
    scalars: Vec<u32>,
    /// Points of the index space, such as 16,3
    #[arg(long, value_name = "POINTS", default_value = "1")]
    space: String,
    /// Dimension of the index space that is split over the TPCs
    #[arg(long, value_name = "DIMENSION", default_value_t = 0)]
    split: usize,
    /// TPCs that work, from the first on
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=8))]
    tpcs: u8,
    /// How often it runs
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    times: u32,
    /// Seconds that one run may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Seconds to wait for a card that is in use or in reset
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("coxswain-kernel: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let kernel = read_kernel(&arguments.kernel)?;
    let run = Run {
        tensors: arguments.tensors,
        scalars: arguments.scalars,
        space: numbers(&arguments.space, ',')?,
        split: arguments.split,
        engines: (0..arguments.tpcs).collect(),
        times: arguments.times,
    };
    let device = Device::open(COMPUTE_NODE, Duration::from_secs(arguments.wait)).map_err(|error| error.to_string())?;
    let bench = Bench::new(&device, Duration::from_secs(arguments.timeout)).map_err(|error| error.to_string())?;
    let times = run.run(&bench, &kernel).map_err(|error| error.to_string())?;
    for time in times {
        println!("{}: {:.3} ms", kernel.name(), time.as_secs_f64() * 1e3);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn tensors_and_scalars_keep_their_order() {
        let arguments = Arguments::parse_from([
            "coxswain-kernel",
            "k.o",
            "--tensor",
            "in:f32:10:x",
            "--scalar",
            "-1",
            "--tensor",
            "out:i8:3x4:y",
            "--scalar",
            "0.5",
        ]);
        assert_eq!(arguments.scalars, [u32::MAX, 0x3F00_0000]);
        assert!(arguments.tensors.first().is_some_and(|tensor| tensor.is_input));
        assert!(arguments.tensors.get(1).is_some_and(|tensor| tensor.sizes == [3, 4]));
    }
}
