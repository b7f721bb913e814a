//! Whom to ask, and the way there.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use mio::event::Source;

/// A listener.
#[derive(Clone)]
pub(super) enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// What an open connection can do.
pub(super) trait Stream: Read + Write + Source {}

impl<T: Read + Write + Source> Stream for T {}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.strip_prefix("http://").and_then(|address| address.parse().ok());
        address.map(Self::Tcp).ok_or_else(|| "not unix:PATH or http://ADDRESS:PORT".into())
    }
}

impl Place {
    /// A new connection that never blocks.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub(super) fn connect(&self) -> Result<Box<dyn Stream>> {
        match self {
            Self::Unix(path) => {
                let stream = std::os::unix::net::UnixStream::connect(path)
                    .with_context(|| format!("cannot connect to {}", path.display()))?;
                stream.set_nonblocking(true)?;
                Ok(Box::new(mio::net::UnixStream::from_std(stream)))
            }
            Self::Tcp(address) => {
                let stream = std::net::TcpStream::connect(address)
                    .with_context(|| format!("cannot connect to {address}"))?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(Box::new(mio::net::TcpStream::from_std(stream)))
            }
        }
    }
}
