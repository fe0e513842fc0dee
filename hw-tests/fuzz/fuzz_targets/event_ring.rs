//! `cargo fuzz`'s program around [`coxswain_fuzz::targets::event_ring`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    coxswain_fuzz::targets::event_ring::run(bytes);
});
