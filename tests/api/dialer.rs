//! The files of listeners, and connections that show certificates.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use jwksd::config::Listen;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::app::Answer;
pub(crate) use crate::certificates::{Ca, Leaf, sans};

/// The files of a listener.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    /// A folder with the certificate of a listener and the CAs of its clients.
    pub(crate) fn new(server: &Leaf, clients: &[&Ca]) -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap() };
        folder.write("cert.pem", &server.certificate);
        folder.write("key.pem", &server.key);
        folder.write_cas(clients);
        folder
    }

    pub(crate) fn write_cas(&self, clients: &[&Ca]) {
        self.write("ca.pem", &clients.iter().map(|ca| ca.pem()).collect::<String>());
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path(name), mode).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The tables of all three listeners, as the configuration has them.
    pub(crate) fn tables(&self) -> String {
        let dir = self.dir.path().display();
        let files = format!("certificate = \"{dir}/cert.pem\"\nkey = \"{dir}/key.pem\"\n");
        let ca = format!("client_ca = \"{dir}/ca.pem\"\n");
        format!("[public.tls]\n{files}[internal.tls]\n{files}{ca}[admin.tls]\n{files}{ca}\n")
    }
}

/// How a client connects.
#[derive(Clone)]
pub(crate) struct Dialer(pub(crate) Arc<ClientConfig>);

/// A connection that is kept.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// What the listener showed.
    pub(crate) server: CertificateDer<'static>,
    driver: tokio::task::JoinHandle<()>,
}

impl Dialer {
    pub(crate) fn new(trusted: &Ca, shown: Option<&Leaf>) -> Self {
        Self::with_versions(trusted, shown, rustls::ALL_VERSIONS)
    }

    pub(crate) fn with_versions(
        trusted: &Ca,
        shown: Option<&Leaf>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Self(Arc::new(config))
    }

    /// Shakes hands. With TLS 1.3 that the listener refuses the certificate is heard later.
    pub(crate) async fn stream(&self, place: &Listen) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address(place)).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(self.0.clone()).connect(name, stream).await
    }

    pub(crate) async fn connect(&self, place: &Listen) -> Connection {
        self.open(place).await.unwrap()
    }

    /// Whether the listener refuses the certificate that is shown.
    pub(crate) async fn is_refused(&self, place: &Listen) -> bool {
        let Ok(mut connection) = self.open(place).await else { return true };
        connection.sender.send_request(request("GET", "/", &[], &Value::Null)).await.is_err()
    }

    async fn open(&self, place: &Listen) -> std::io::Result<Connection> {
        let stream = self.stream(place).await?;
        let server = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, server, driver })
    }
}

pub(crate) fn address(place: &Listen) -> &str {
    let Listen::Tcp(address) = place else { panic!("not an address") };
    address
}

fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Request<Full<Bytes>> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if headers.iter().all(|(name, _)| *name != "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
    request.body(Full::new(Bytes::from(body))).unwrap()
}

impl Connection {
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let response =
            self.sender.send_request(request(method, path, headers, body)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Asks for a token, and returns what it was told: the status.
    pub(crate) async fn sign(&mut self) -> u16 {
        let body = serde_json::json!({"claims": {}, "ttl": "15m"});
        self.ask("POST", "/v1/keysets/default/tokens", &[], &body).await.status.as_u16()
    }

    /// Waits until the listener closes it.
    pub(crate) async fn closed(self) {
        // The sender must live: dropping it would close the connection from here.
        let Self { sender, driver, .. } = self;
        driver.await.unwrap();
        drop(sender);
    }
}

/// The certificate of a PEM file.
pub(crate) fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Puts a symbolic link in the place of another, as an administrator of mounted secrets does.
pub(crate) fn swap_link(link: &Path, target: &Path) {
    let beside = link.with_extension("new");
    std::os::unix::fs::symlink(target, &beside).unwrap();
    std::fs::rename(beside, link).unwrap();
}
