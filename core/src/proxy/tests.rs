//! The exchanges with proxies, and their failures.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::recv_buf::RecvBuf;
use crate::step::pieces::{Came, arrive};
use crate::step::{Interrupted, Steps};

/// The result when a proxy sends `bytes`, split into pieces of those lengths.
fn run(proxy: &Proxy, target: &str, bytes: &[u8], cuts: &[usize]) -> Came<ProxyFault> {
    let target: Endpoint = target.parse().unwrap();
    let mut came = arrive(Steps::new(proxy.steps(&target), RecvBuf::new()), bytes, cuts);
    // No one reads on after a failure.
    if came.result.is_err() {
        came.rest.clear();
    }
    came
}

fn socks() -> Proxy {
    Proxy::socks5("127.0.0.1:1080").unwrap()
}

fn with_password() -> Proxy {
    socks().credentials("me", "secret").unwrap()
}

fn http() -> Proxy {
    Proxy::http_connect("127.0.0.1:3128").unwrap()
}

fn fault(proxy: &Proxy, bytes: &[u8]) -> ProxyFault {
    run(proxy, "example.org:80", bytes, &[bytes.len().max(1)]).result.unwrap_err()
}

#[test]
fn socks_without_credentials() {
    let came =
        run(&socks(), "example.org:258", b"\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50hello", &[99]);
    assert_eq!(came.said, b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.org\x01\x02");
    assert_eq!((came.result, came.rest), (Ok(true), b"hello".to_vec()));
}

#[test]
fn socks_with_credentials_and_addresses() {
    let answers = b"\x05\x02\x01\x00\x05\x00\x00\x03\x04name\x00\x50";
    let came = run(&with_password(), "1.2.3.4:80", answers, &[1]);
    let said = b"\x05\x02\x00\x02\x01\x02me\x06secret\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50";
    assert_eq!((came.said, came.result, came.rest), (said.to_vec(), Ok(true), vec![]));

    let answers = [&b"\x05\x00\x05\x00\x00\x04"[..], &[0; 18]].concat();
    let came = run(&with_password(), "[::1]:80", &answers, &[1]);
    let address = [&[0; 15][..], &[1]].concat();
    let said = [b"\x05\x02\x00\x02\x05\x01\x00\x04", &address[..], b"\x00\x50"].concat();
    assert_eq!((came.said, came.result), (said, Ok(true)), "it does not want the credentials");
}

#[test]
fn every_reply_of_socks_is_named() {
    for code in 1..=255_u8 {
        let reply = SocksReply::from_code(code).unwrap();
        assert_eq!(reply.code(), code);
        let answer = [5, 0, 5, code];
        let found = fault(&socks(), &answer);
        assert_eq!(found, ProxyFault::Socks(reply), "the rest need not come");
        assert_eq!(found.is_denial(), code == 2);
        assert_eq!(found.is_retryable(), ![2, 7, 8].contains(&code), "{code}");
        assert_eq!(matches!(reply, SocksReply::Other(_)), code > 8);
    }
    assert_eq!(SocksReply::from_code(0), None);
    assert_eq!(SocksReply::Refused.to_string(), "the target refused the connection (code 5)");
}

#[test]
fn how_socks_goes_wrong() {
    let no_method = |credentials| ProxyFault::NoMethod { credentials };
    assert_eq!(fault(&socks(), &[5, 0xff]), no_method(false));
    assert_eq!(fault(&with_password(), &[5, 0xff]), no_method(true));
    assert_eq!(fault(&socks(), &[5, 2]), ProxyFault::BadField { field: "the method", value: 2 });
    assert_eq!(fault(&with_password(), &[5, 1]), ProxyFault::BadField { field: "the method", value: 1 });
    assert_eq!(fault(&with_password(), &[5, 2, 1, 9]), ProxyFault::Credentials { status: 9 });
    let not_socks = |found, looks_like| ProxyFault::NotSocks { at: 0, found, looks_like };
    assert_eq!(fault(&socks(), b"HTTP/1.1 400"), not_socks(b'H', Some("HTTP")));
    assert_eq!(fault(&socks(), &[0, 0x5b]), not_socks(0, None));
    assert_eq!(fault(&with_password(), &[5, 2, 5, 0]), not_socks(5, None));
    assert_eq!(fault(&socks(), &[5, 0, 4, 0]), not_socks(4, None));
    let kind = ProxyFault::BadField { field: "the address type", value: 2 };
    assert_eq!(fault(&socks(), &[5, 0, 5, 0, 0, 2]), kind);
    let long = format!("{}:80", "x".repeat(256));
    assert_eq!(run(&socks(), &long, &[5, 0], &[2]).result, Err(ProxyFault::Target));
    for denial in [no_method(false), ProxyFault::Credentials { status: 1 }] {
        assert!(denial.is_denial() && !denial.is_retryable());
    }
}

#[test]
fn http_asks_and_takes_any_success() {
    let proxy = http().credentials("Aladdin", "open sesame").unwrap().header("X-Team", "links").unwrap();
    let head = b"HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\nVia: x\r\n\r\n\x00hello";
    let came = run(&proxy, "example.org:80", head, &[999]);
    let said = "CONNECT example.org:80 HTTP/1.1\r\nHost: example.org:80\r\n\
        Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\nX-Team: links\r\n\r\n";
    assert_eq!(core::str::from_utf8(&came.said), Ok(said));
    assert_eq!((came.result, came.rest), (Ok(true), b"\x00hello".to_vec()));
    let ipv6 = run(&http(), "[::1]:80", b"HTTP/1.0 204\n\n", &[1]);
    assert_eq!(ipv6.said, b"CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    assert_eq!(ipv6.result, Ok(true), "lines may end without a carriage return");
    let provisional = b"HTTP/1.1 102 Wait\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest";
    assert_eq!(run(&http(), "a:1", provisional, &[1]).rest, b"rest");
}

#[test]
fn how_http_goes_wrong() {
    let status = |status, reason: &str| ProxyFault::Status { status, reason: reason.into() };
    let required = fault(&http(), b"HTTP/1.1 407 Proxy Authentication Required\r\n");
    assert_eq!(required, status(407, "Proxy Authentication Required"));
    assert!(required.is_denial() && !required.is_retryable());
    assert!(fault(&http(), b"HTTP/1.1 502 Bad Gateway\r\n").is_retryable());
    assert!(!fault(&http(), b"HTTP/1.1 501\r\n").is_retryable());
    assert_eq!(fault(&http(), b"HTTP/1.1 101 Switching\x1b[1m\r\n"), status(101, "Switching?[1m"));
    let long = format!("HTTP/1.1 503 {}\r\n", "x".repeat(1000));
    assert_eq!(fault(&http(), long.as_bytes()), status(503, &"x".repeat(120)));
    for (answer, at, found, looks_like) in [
        (&b"SSH-2.0-OpenSSH"[..], 0, b'S', Some("SSH")),
        (&[5, 0], 0, 5, None),
        (&[0x16, 3, 1], 0, 0x16, Some("TLS")),
        (b"HTTP/2 200\r\n", 5, b'2', None),
        (b"HTTP/1.\r\n", 7, b'\n', None),
        (b"HTTP/1.x 200\r\n", 7, b'x', None),
        (b"HTTP/1.1  200\r\n", 9, b' ', None),
        (b"HTTP/1.1 20\r\n", 11, b'\n', None),
        (b"HTTP/1.1 2000\r\n", 12, b'0', None),
        (b"\r\n", 0, b'\r', None),
    ] {
        assert_eq!(fault(&http(), answer), ProxyFault::NotHttp { at, found, looks_like }, "{answer:?}");
    }
    let endless = [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 20_000]].concat();
    assert_eq!(fault(&http(), &endless), ProxyFault::HeadTooLong { limit: 16 * 1024 });
    let lines = [&b"HTTP/1.1 200 OK\r\n"[..], &b"X: y\r\n".repeat(5_000)].concat();
    assert_eq!(fault(&http().max_head(100), &lines), ProxyFault::HeadTooLong { limit: 100 });
    let provisional = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(9);
    assert_eq!(fault(&http(), &provisional), ProxyFault::TooManyAnswers { limit: 8 });
    let odd = Endpoint::Name { host: "a\r\nX: y".into(), port: 1 };
    let mut steps = Steps::new(http().steps(&odd), RecvBuf::new());
    assert_eq!(steps.begin(), Err(ProxyFault::Target), "a name puts nothing into the request");
}

#[test]
fn one_proxy_behind_another() {
    let both = with_password().then(http()).then(socks());
    let answers = [
        &b"\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"[..],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00rest",
    ];
    let came = run(&both, "target:1", &answers.concat(), &[1]);
    let said = [
        &b"\x05\x02\x00\x02\x01\x02me\x06secret\x05\x01\x00\x01\x7f\x00\x00\x01\x0c\x38"[..],
        b"CONNECT 127.0.0.1:1080 HTTP/1.1\r\nHost: 127.0.0.1:1080\r\n\r\n",
        b"\x05\x01\x00\x05\x01\x00\x03\x06target\x00\x01",
    ];
    assert_eq!((came.said, came.rest), (said.concat(), b"rest".to_vec()));
    let target: Endpoint = "target:1".parse().unwrap();
    assert_eq!(both.entrance(&target), Some(&"127.0.0.1:1080".parse().unwrap()));
    let failed = both.steps(&target)[1].failed(ProxyFault::Target);
    assert_eq!(failed.to_string(), "the proxy 127.0.0.1:3128 gave no connection to 127.0.0.1:1080");
    assert_eq!(both.to_string(), "socks5h://127.0.0.1:1080, http://127.0.0.1:3128, socks5h://127.0.0.1:1080");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for address in ["unix:///x", "inproc://x", "proxy", ""] {
        assert!(Proxy::socks5(address).is_err() && Proxy::http_connect(address).is_err(), "{address}");
    }
    assert!(socks().credentials("", "x").is_err() && socks().credentials("x", "y".repeat(256)).is_err());
    assert!(socks().credentials("x".repeat(255), "").is_ok());
    assert!(http().credentials("a:b", "").is_err() && http().credentials("a", "b\n").is_err());
    assert!(socks().header("X", "y").is_err());
    for (name, value) in [("a b", ""), ("", ""), ("X", "a\r\nY: z"), ("HOST", "x"), ("Content-length", "1")] {
        assert!(http().header(name, value).is_err(), "{name}: {value}");
    }
    assert!(socks().timeout(Duration::ZERO).check().is_err());
    let eight = (0..7).fold(socks(), |proxy, _| proxy.then(socks()));
    assert!(eight.check().is_ok() && eight.then(socks()).check().is_err());
}

#[test]
fn nothing_prints_a_password() {
    let proxy = with_password().then(http().credentials("you", "secret").unwrap());
    let steps = proxy.steps(&"a:1".parse().unwrap());
    let printed = format!("{proxy} {proxy:?} {steps:?}");
    assert!(!printed.contains("secret"), "{printed}");
    let wrong = "ftp://me:secret@host:1".parse::<Proxy>().unwrap_err().to_string();
    assert!(!wrong.contains("secret"), "{wrong}");
}

#[test]
fn urls() {
    let parse = |text: &str| text.parse::<Proxy>();
    assert_eq!(parse("socks5://me:secret@127.0.0.1:1080"), Ok(with_password()));
    assert_eq!(parse("socks5h://me:s%65cret@127.0.0.1/"), Ok(with_password()));
    assert_eq!(parse("http://127.0.0.1:3128/"), Ok(http()));
    assert_eq!(parse("http://[::1]").unwrap().to_string(), "http://[::1]:80");
    assert_eq!(parse("socks5://[::1]:7").unwrap().to_string(), "socks5h://[::1]:7");
    for wrong in
        ["", "127.0.0.1:80", "https://a:1", "socks4://a:1", "http://", "socks5://u%zz@a:1", "http://a:x"]
    {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_environment() {
    let from = |list: &'static [(&str, &str)]| {
        Proxy::from_variables(|name| Some(list.iter().find(|(other, _)| *other == name)?.1.to_string()))
    };
    assert_eq!(from(&[]), Ok(None));
    assert_eq!(from(&[("ALL_PROXY", " "), ("NO_PROXY", "*")]), Ok(None));
    assert_eq!(from(&[("all_proxy", "127.0.0.1:3128")]), Ok(Some(http())));
    let excepted = from(&[("ALL_PROXY", "http://127.0.0.1:3128"), ("NO_PROXY", "*")]).unwrap().unwrap();
    assert_eq!(excepted.entrance(&"a:1".parse().unwrap()), None);
    assert!(from(&[("ALL_PROXY", "x://y")]).is_err());
    assert!(from(&[("ALL_PROXY", "y:1"), ("no_proxy", "10.0.0.0/33")]).is_err());
}

#[test]
fn what_goes_without_a_proxy() {
    let except: NoProxy =
        "localhost,*.a.org, .b.org c.org:80,10.0.0.0/8,fd00::/8,::1,1.2.3.4:5,0.0.0.0/32".parse().unwrap();
    let covers = |target: &str| except.covers(&target.parse().unwrap());
    for inside in [
        "localhost:1",
        "LOCALHOST:1",
        "x.localhost:1",
        "a.org:1",
        "x.y.a.org:1",
        "b.org.:1",
        "c.org:80",
        "x.c.org:80",
        "10.255.0.1:1",
        "[fdff::1]:1",
        "[::1]:9",
        "1.2.3.4:5",
        "[::ffff:10.0.0.1]:1",
    ] {
        assert!(covers(inside), "{inside}");
    }
    for outside in ["xa.org:1", "org:1", "c.org:81", "11.0.0.1:1", "[fe00::1]:1", "1.2.3.4:6", "0.0.0.1:1"] {
        assert!(!covers(outside), "{outside}");
    }
    for wrong in ["10.0.0.0/33", "::/129", "x/8", "host:port", "a]b"] {
        assert!(wrong.parse::<NoProxy>().is_err(), "{wrong}");
    }
    let everything: NoProxy = "0.0.0.0/0, ::/0".parse().unwrap();
    assert!(
        everything.covers(&"9.9.9.9:1".parse().unwrap()) && everything.covers(&"[9::]:1".parse().unwrap())
    );
    let local: Endpoint = "unix:///x".parse().unwrap();
    assert_eq!(socks().entrance(&local), None, "only TCP goes through proxies");
    assert!("x,".repeat(1025).parse::<NoProxy>().is_err());
}

fn answers() -> impl Strategy<Value = Vec<u8>> {
    let sound = prop_oneof![
        Just(b"\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50rest".to_vec()),
        Just(b"\x05\x02\x01\x00\x05\x00\x00\x03\x03abc\x00\x50rest".to_vec()),
        Just(b"\x05\x02\x01\x00\x05\x01\x00\x03\x03abc\x00\x50rest".to_vec()),
        Just(b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\nrest".to_vec()),
        Just(b"HTTP/1.1 407 No\r\nA: b\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    // And with a byte of it changed.
    (sound, any::<(usize, u8, bool)>()).prop_map(|(mut bytes, (at, byte, change))| {
        if change && !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    /// However the bytes are split, the output and the result are the same; nothing panics.
    #[test]
    fn any_split_of_the_bytes_gives_the_same(
        bytes in answers(),
        cuts in proptest::collection::vec(1..9_usize, 1..9),
    ) {
        for proxy in [socks(), with_password(), http(), http().max_head(64), socks().then(http())] {
            let one_by_one = run(&proxy, "example.org:80", &bytes, &[1]);
            prop_assert_eq!(run(&proxy, "example.org:80", &bytes, &cuts), one_by_one.clone());
            prop_assert_eq!(run(&proxy, "example.org:80", &bytes, &[usize::MAX]), one_by_one);
        }
    }

    /// A failure that the proxy did not cause is reported as such.
    #[test]
    fn a_stream_that_ends_early_says_so(len in 0..12_usize) {
        let bytes = b"\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50";
        let came = run(&socks(), "a:1", &bytes[..len], &[3]);
        prop_assert_eq!(came.result, Ok(false));
        let mut steps = Steps::new(socks().steps(&"a:1".parse().unwrap()), RecvBuf::new());
        steps.begin().unwrap();
        prop_assert_eq!(steps.eof(), ProxyFault::Interrupted(Interrupted::Closed { pending: 0 }));
    }

    /// Texts of every kind are refused or taken, without a panic.
    #[test]
    fn any_text_may_be_read(text in "\\PC{0,40}", scheme in "(socks5|http|x)://") {
        let _ = text.parse::<Proxy>();
        let _ = format!("{scheme}{text}").parse::<Proxy>();
        let _ = text.parse::<NoProxy>();
    }
}
