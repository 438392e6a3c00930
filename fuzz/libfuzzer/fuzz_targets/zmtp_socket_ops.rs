#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline_fuzz::zmtp_socket_ops(data));
