//! `cargo fuzz`'s program around [`coxswain_fuzz::targets::packets`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    coxswain_fuzz::targets::packets::run(bytes);
});
