#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline_fuzz::batcher_ops(data));
