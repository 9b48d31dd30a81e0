//! Addresses to listen on, as Go programs take them: `:9445`, `127.0.0.1:9445`, `0`.

use std::{fmt, io, net::Ipv4Addr, net::Ipv6Addr, str::FromStr};

use tokio::net::TcpListener;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindAddress {
    /// Nowhere: `0` or nothing.
    Disabled,
    /// On every address of the machine.
    Any(u16),
    /// On one address, `host:port`; the host may be a name.
    One(String),
}

/// An address cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address such as :9445, 127.0.0.1:9445 or [::1]:9445; 0 turns it off")]
pub struct AddressError(String);

impl BindAddress {
    /// Starts to listen; none if disabled. On every address means IPv6 and IPv4 where the machine has both.
    pub async fn bind(&self) -> io::Result<Option<TcpListener>> {
        match self {
            Self::Disabled => Ok(None),
            Self::One(address) => TcpListener::bind(address).await.map(Some),
            Self::Any(port) => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).await {
                Ok(listener) => Ok(Some(listener)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
                Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).await.map(Some),
            },
        }
    }
}

impl FromStr for BindAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if matches!(text, "" | "0") {
            return Ok(Self::Disabled);
        }
        let bad = || AddressError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port: u16 = port.parse().map_err(|_| bad())?;
        match host {
            "" => Ok(Self::Any(port)),
            host if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) => Err(bad()),
            _ => Ok(Self::One(text.to_owned())),
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("0"),
            Self::Any(port) => write!(f, ":{port}"),
            Self::One(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_go_programs_read_them() {
        assert_eq!(":9445".parse(), Ok(BindAddress::Any(9445)));
        assert_eq!("0".parse(), Ok(BindAddress::Disabled));
        assert_eq!(
            "127.0.0.1:80".parse(),
            Ok(BindAddress::One("127.0.0.1:80".into()))
        );
        assert_eq!("[::1]:80".parse(), Ok(BindAddress::One("[::1]:80".into())));
        for bad in ["9445", ":", ":70000", "::1:80", "host:"] {
            assert!(bad.parse::<BindAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_written_as_it_was_read() {
        for text in [":9445", "0", "localhost:80"] {
            assert_eq!(
                text.parse::<BindAddress>().map(|a| a.to_string()).as_deref(),
                Ok(text)
            );
        }
    }

    #[tokio::test]
    async fn every_address_includes_the_ipv4_loopback() {
        let listener = BindAddress::Any(0).bind().await.unwrap().unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_disabled_address_is_not_bound() {
        assert!(BindAddress::Disabled.bind().await.unwrap().is_none());
    }
}
