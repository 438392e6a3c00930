//! Bytes of a hostile proxy, or of a server in a preamble: the result does not depend on how they are split.

use bowline_core::error::PreambleError;
use bowline_core::machine::Epoch;
use bowline_core::preamble::{Exchange, Opening, Preamble};
use bowline_core::proxy::Proxy;
use bowline_core::recv_buf::RecvBuf;
use bowline_core::step::{MAX_OUTPUT, Step, Steps};
use bowline_core::supervisor::Endpoint;

use crate::Input;

/// The output of steps, their results (done or not, or why), and the remaining bytes.
type Came = (Vec<u8>, Result<bool, String>, Vec<u8>);

fn run<S: Step<Error: core::fmt::Debug>>(
    mut steps: Steps<S>,
    bytes: &[u8],
    mut split: impl FnMut() -> usize,
) -> Came {
    let (mut left, mut said) = (bytes, Vec::new());
    let mut result = steps.begin();
    loop {
        assert!(steps.output().len() <= MAX_OUTPUT);
        said.extend_from_slice(steps.output());
        let n = steps.output().len();
        steps.wrote(n);
        if result.is_err() || steps.is_done() || left.is_empty() {
            break;
        }
        let spare = steps.spare();
        assert!(!spare.is_empty(), "a step that is not done and has not failed reads on");
        let n = split().max(1).min(spare.len()).min(left.len());
        spare[..n].copy_from_slice(&left[..n]);
        left = &left[n..];
        result = steps.filled(n);
    }
    let done = result.map(|()| steps.is_done()).map_err(|error| format!("{error:?}"));
    if done == Ok(false) {
        let _ = format!("{:?}", steps.eof());
    }
    let rest = if done.is_ok() { [steps.into_rest().unread(), left].concat() } else { Vec::new() };
    (said, done, rest)
}

fn compare<S: Step<Error: core::fmt::Debug>>(steps: impl Fn() -> Steps<S>, bytes: &[u8], seed: u8) {
    let whole = run(steps(), bytes, || usize::MAX);
    assert_eq!(run(steps(), bytes, || 1), whole);
    let mut state = usize::from(seed);
    let came = run(steps(), bytes, move || {
        state = state.wrapping_mul(31).wrapping_add(7);
        state % 13
    });
    assert_eq!(came, whole);
}

/// Proxies and preambles.
pub fn proxy_steps(data: &[u8]) {
    let mut input = Input(data);
    let (which, seed) = (input.byte(), input.byte());
    let socks = || Proxy::socks5("10.0.0.1:1080").expect("an address");
    let http = || Proxy::http_connect("10.0.0.1:3128").expect("an address");
    let target: Endpoint = if which & 8 == 0 { "example.org:80" } else { "[::1]:80" }.parse().expect("sound");
    let proxy = match which % 8 {
        0 => socks(),
        1 => socks().credentials("me", "secret").expect("sound"),
        2 => http(),
        3 => http().max_head(64),
        4 => socks().then(http()),
        5 => http().then(socks().credentials("me", "").expect("sound")),
        // The same bytes as texts.
        6 => {
            if let Ok(text) = core::str::from_utf8(input.rest()) {
                let _ = text.parse::<bowline_core::proxy::NoProxy>().map(|except| except.covers(&target));
                if let Ok(proxy) = text.parse::<Proxy>() {
                    let _ = proxy.to_string().parse::<Proxy>().expect("what it prints is one");
                }
            }
            return;
        }
        _ => {
            let preamble = Preamble::new(|_| Exchange::new("AUTH\r\n", "+OK\r\n"))
                .then(|_| Exchange::new("SELECT\r\n", "+OK\r\n").or_refused());
            let opening = Opening::new(Some(&target), None, Epoch::FIRST);
            let steps = || -> Steps<Box<dyn Step<Error = PreambleError>>> {
                preamble.steps(&opening, RecvBuf::new())
            };
            return compare(steps, input.rest(), seed);
        }
    };
    compare(|| Steps::new(proxy.steps(&target), RecvBuf::new()), input.rest(), seed);
}
