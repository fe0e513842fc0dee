//! `cargo fuzz`'s program around [`coxswain_fuzz::targets::comms`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    coxswain_fuzz::targets::comms::run(bytes);
});
