//! What a listener shows and trusts, from the files of its table: taken only as a whole.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jwksd_keystore::crypto::sha256;
use jwksd_keystore::time::Time;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use zeroize::{Zeroize, Zeroizing};

use super::certificate::{self, Standing, Validity};
use super::provider;
use crate::secret_file::{self, CREDENTIALS, Reader, SecretFileError};

/// The largest file that is read: more than a thousand certificates.
const LARGEST_FILE: u64 = 4 << 20;

/// The files of a listener's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate with what leads from it to its CA, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The CAs of clients, in PEM. Without it no client is asked for a certificate.
    pub client_ca: Option<PathBuf>,
}

/// What a listener shows and trusts.
pub struct Material {
    /// What it shows.
    pub(super) shown: Arc<CertifiedKey>,
    /// How long that is valid.
    pub(super) validity: Validity,
    /// Which clients it trusts; `None` asks for no certificate.
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Of the files as they were.
    pub(super) digest: Digest,
}

/// Of the content of a listener's files: it differs where any of them does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    shown: [u8; 32],
    clients: [u8; 32],
}

/// Why the files of a listener cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is larger than any that is read.
    #[error("{} is larger than {} MiB, the most that is read", .0.display(), LARGEST_FILE >> 20)]
    TooLarge(PathBuf),
    /// The key's file cannot be read, or by too many.
    #[error("the key {0}")]
    Key(SecretFileError),
    /// Not certificates.
    #[error("{} has no certificate in PEM that can be read", .0.display())]
    NoCertificate(PathBuf),
    /// Not a private key.
    #[error("{} has no private key in PEM that can be used without a passphrase", .0.display())]
    NoKey(PathBuf),
    /// The certificate is not one of a server.
    #[error("the certificate {} is not for servers (serverAuth)", .0.display())]
    NotForServers(PathBuf),
    /// The certificate cannot be shown now, and the one before can.
    #[error("{}: {why}", path.display())]
    NotValidNow {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The key is another's.
    #[error("the key {} is not that of the certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        certificate: PathBuf,
    },
    /// A CA that cannot sign for clients.
    #[error("{} has a certificate that cannot be a CA: {reason}", path.display())]
    NotACa {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl MaterialError {
    /// The file of a credential that is not there: systemd makes it only for the service.
    pub(super) fn missing_credential(&self) -> Option<&Path> {
        let (Self::Read { path, error } | Self::Key(SecretFileError::Io { path, error })) = self
        else {
            return None;
        };
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        (is_missing && path.starts_with(CREDENTIALS)).then_some(path)
    }
}

/// The content of the files.
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    /// Reads the files, following symbolic links as they are now.
    pub(super) fn read(files: &Files, reader: Reader) -> Result<Self, MaterialError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: secret_file::read(&files.key, reader).map_err(MaterialError::Key)?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    pub(super) fn digest(&self) -> Digest {
        Digest {
            shown: sha256(&[sha256(&self.certificate), sha256(&self.key)].concat()),
            clients: digest_of_clients(self.client_ca.as_deref()),
        }
    }
}

impl Material {
    /// What the files hold, if they fit together.
    ///
    /// # Errors
    ///
    /// [`MaterialError`], which never says what is in a file.
    pub fn read(files: &Files, reader: Reader) -> Result<Self, MaterialError> {
        Self::of(&Contents::read(files, reader)?, files)
    }

    pub(super) fn of(contents: &Contents, files: &Files) -> Result<Self, MaterialError> {
        let chain = certificates(&contents.certificate, &files.certificate)?;
        let validity = chain.first().and_then(|first| Validity::of(first).ok());
        let validity =
            validity.ok_or_else(|| MaterialError::NoCertificate(files.certificate.clone()))?;
        if !chain.first().is_some_and(certificate::is_for_servers) {
            return Err(MaterialError::NotForServers(files.certificate.clone()));
        }
        let shown = certified(chain, &contents.key, files)?;
        let clients = match (&contents.client_ca, &files.client_ca) {
            (Some(pem), Some(path)) => Some(verifier(pem, path)?),
            (None, _) | (_, None) => None,
        };
        Ok(Self { shown: Arc::new(shown), validity, clients, digest: contents.digest() })
    }

    /// The same with the CAs of clients as they are now, if they are others: they count whatever is
    /// wrong with the other files.
    pub(super) fn with_clients_of(&self, files: &Files) -> Result<Option<Self>, MaterialError> {
        let Some(path) = &files.client_ca else { return Ok(None) };
        let pem = read(path)?;
        let clients = digest_of_clients(Some(&pem));
        let digest = Digest { clients, ..self.digest };
        if digest == self.digest {
            return Ok(None);
        }
        let clients = Some(verifier(&pem, path)?);
        Ok(Some(Self { shown: self.shown.clone(), validity: self.validity, clients, digest }))
    }

    /// What is worth saying of how long the certificate is valid.
    #[must_use]
    pub fn warning(&self, now: Time) -> Option<String> {
        let Validity { begins, ends } = self.validity;
        match self.validity.at(now) {
            Standing::Good => None,
            Standing::NotYet => Some(format!("the certificate is not valid before {begins}")),
            Standing::EndsSoon => Some(format!("the certificate expires at {ends}")),
            Standing::Ended => Some(format!("the certificate expired at {ends}")),
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("validity", &self.validity).finish_non_exhaustive()
    }
}

fn digest_of_clients(pem: Option<&[u8]>) -> [u8; 32] {
    pem.map_or([0; 32], sha256)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, MaterialError> {
    let failed = |error| MaterialError::Read { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = secret_file::open(path).map_err(failed)?;
    // One more byte tells that the file is larger.
    let count = file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if count as u64 > LARGEST_FILE {
        return Err(MaterialError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// What a client shows.
pub(super) fn to_show(certificate: &Path, key: &Path) -> Result<CertifiedKey, MaterialError> {
    let files = Files { certificate: certificate.to_owned(), key: key.to_owned(), client_ca: None };
    let contents = Contents::read(&files, Reader::User)?;
    certified(certificates(&contents.certificate, certificate)?, &contents.key, &files)
}

/// The certificates of a PEM file, of which there must be one.
pub(super) fn certificates(
    pem: &[u8],
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let none = || MaterialError::NoCertificate(path.to_owned());
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| none())?;
    if all.is_empty() { Err(none()) } else { Ok(all) }
}

/// The chain with its key, which must be that of its first certificate.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
    files: &Files,
) -> Result<CertifiedKey, MaterialError> {
    let no_key = || MaterialError::NoKey(files.key.clone());
    // What is wrong with a key is not told: it would be told with a part of it.
    let mut der = PrivateKeyDer::from_pem_slice(key).map_err(|_| no_key())?;
    let signing_key = any_supported_type(&der).map_err(|_| no_key());
    der.zeroize();
    let certified = CertifiedKey::new(chain, signing_key?);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(
            InconsistentKeys::KeyMismatch | InconsistentKeys::Unknown,
        )) => Err(MaterialError::Mismatch {
            key: files.key.clone(),
            certificate: files.certificate.clone(),
        }),
        Err(_) => Err(MaterialError::NoCertificate(files.certificate.clone())),
    }
}

/// The CAs of a PEM file.
pub(super) fn roots(pem: &[u8], path: &Path) -> Result<Arc<RootCertStore>, MaterialError> {
    let not_a_ca = |error: rustls::Error| MaterialError::NotACa {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, path)? {
        roots.add(certificate).map_err(not_a_ca)?;
    }
    Ok(Arc::new(roots))
}

/// A client may show no certificate: then it is known by a bearer token.
fn verifier(pem: &[u8], path: &Path) -> Result<Arc<dyn ClientCertVerifier>, MaterialError> {
    let not_a_ca = |reason: String| MaterialError::NotACa { path: path.to_owned(), reason };
    // Whoever has the key of a certificate in this file can make certificates with any name.
    if !certificates(pem, path)?.iter().all(certificate::is_ca) {
        return Err(not_a_ca("its basic constraints do not say that it is one".to_owned()));
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots(pem, path)?, provider());
    let built = builder.allow_unauthenticated().build();
    built.map_err(|error| not_a_ca(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_refused_and_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let file = File::create_new(&path).unwrap();
        file.set_len(LARGEST_FILE).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, LARGEST_FILE);
        file.set_len(LARGEST_FILE + 1).unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.ends_with("is larger than 4 MiB, the most that is read"), "{refused}");
    }
}
