//! Names of this host's network interfaces.

use std::io;
use std::net::IpAddr;

/// The addresses of the network interface of that name, those of IPv4 first; link-local ones are left out. Empty
/// if there is no such interface, and on systems other than Unix and Windows.
///
/// # Errors
/// The system could not list its interfaces.
pub fn addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    if name.parse::<IpAddr>().is_ok() {
        return Ok(Vec::new());
    }
    let all = list()?;
    let mut found: Vec<IpAddr> = all.into_iter().filter(|(of, _)| of == name).map(|(_, ip)| ip).collect();
    found.sort_by_key(IpAddr::is_ipv6);
    Ok(found)
}

#[cfg(any(unix, windows))]
fn list() -> io::Result<Vec<(String, IpAddr)>> {
    Ok(if_addrs::get_if_addrs()?
        .into_iter()
        .map(|of| (of.ip(), of.name))
        .map(|(ip, name)| (name, ip))
        .collect())
}

#[cfg(not(any(unix, windows)))]
fn list() -> io::Result<Vec<(String, IpAddr)>> {
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_its_addresses_and_an_unknown_one_has_none() {
        let all = list().expect("the system has a list");
        let loopback = all.iter().find(|(_, ip)| *ip == IpAddr::from([127, 0, 0, 1]));
        let (name, _) = loopback.expect("a loopback interface");
        let found = addresses(name).expect("the system has a list");
        assert_eq!(found[0], IpAddr::from([127, 0, 0, 1]));
        assert!(found.is_sorted_by_key(IpAddr::is_ipv6), "{found:?}");
        assert_eq!(addresses("no such interface").expect("the system has a list"), [] as [IpAddr; 0]);
    }
}
