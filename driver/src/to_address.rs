//! Types that can be used as an address.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use bowline_core::address::Address;
use bowline_core::supervisor::Endpoint;

/// Types that can be used as an address: text, the standard library's addresses, a host and a port, and
/// Bowline's own types. The function that takes it validates it.
///
/// ```
/// use bowline_driver::ToAddress;
///
/// assert_eq!("localhost:7001".to_address(), "localhost:7001");
/// assert_eq!(("localhost", 7001).to_address(), "localhost:7001");
/// assert_eq!(("::1", 7001).to_address(), "[::1]:7001");
/// let socket = std::net::SocketAddr::from(([127, 0, 0, 1], 7001));
/// assert_eq!(socket.to_address(), "127.0.0.1:7001");
/// ```
pub trait ToAddress: Send + Sync {
    /// The address as text.
    fn to_address(&self) -> String;
}

impl ToAddress for str {
    fn to_address(&self) -> String {
        self.to_owned()
    }
}

macro_rules! as_it_is_shown {
    ($($address:ty),*) => {
        $(
            impl ToAddress for $address {
                fn to_address(&self) -> String {
                    self.to_string()
                }
            }
        )*
    };
}

as_it_is_shown!(String, SocketAddr, SocketAddrV4, SocketAddrV6, Address, Endpoint);

impl ToAddress for (&str, u16) {
    fn to_address(&self) -> String {
        match self.0.parse::<IpAddr>() {
            Ok(ip) => (ip, self.1).to_address(),
            Err(_) => format!("{}:{}", self.0, self.1),
        }
    }
}

impl ToAddress for (String, u16) {
    fn to_address(&self) -> String {
        (self.0.as_str(), self.1).to_address()
    }
}

impl ToAddress for (IpAddr, u16) {
    fn to_address(&self) -> String {
        SocketAddr::from(*self).to_string()
    }
}

impl<T: ToAddress + ?Sized> ToAddress for &T {
    fn to_address(&self) -> String {
        (**self).to_address()
    }
}
