//! The other side: which listener a client trusts, and what it shows.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::material::{self, MaterialError};
use super::provider;

/// Which listener a client trusts, and what it shows.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// The files of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The CAs of the listener's certificate, in PEM.
    pub ca: PathBuf,
    /// What the client shows, if anything.
    pub shown: Option<Shown>,
}

/// The files of what a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The client's certificate, with what leads to its CA, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// Why a client has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// A file cannot be used.
    #[error(transparent)]
    Files(#[from] MaterialError),
    /// Not a name that a certificate can have.
    #[error("{0:?} is no host name and no address")]
    Name(String),
    /// The library refuses.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

impl ClientTls {
    /// Trusts a listener whose certificate is for `host` and from a CA in the files.
    ///
    /// # Errors
    ///
    /// [`ClientTlsError`].
    pub fn new(files: &ClientFiles, host: &str) -> Result<Self, ClientTlsError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ClientTlsError::Name(host.to_owned()))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(&files.ca)?);
        let mut config = match &files.shown {
            None => builder.with_no_client_auth(),
            Some(Shown { certificate, key }) => {
                let shown = material::to_show(certificate, key)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
            }
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: Arc::new(config).into(), name })
    }

    /// Shakes hands.
    ///
    /// # Errors
    ///
    /// That of the library, as what it wraps.
    pub async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

/// The alert with which the other side ended it, if it did.
#[must_use]
pub fn alert(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::AlertReceived(alert)) = error.downcast_ref() {
            return Some(format!("{alert:?}"));
        }
        // An I/O error does not name what it wraps as its source, but the source of that.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

fn roots(path: &Path) -> Result<Arc<rustls::RootCertStore>, MaterialError> {
    material::roots(&material::read(path)?, path)
}
