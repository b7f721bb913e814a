//! A client of the running daemon: HTTP/1.1 over the listener that the configuration names.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::response::Parts;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};
use zeroize::Zeroizing;

use crate::api::Problem;
use crate::config::Listen;
use crate::http::IMPORT_BODY_LIMIT;
use crate::tls::{self, ClientTls};

/// A client of one listener.
pub struct Client {
    place: Listen,
    token: Option<String>,
    tls: Option<ClientTls>,
}

/// Why there is no answer, or another than was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("no jwksd answers on {}: {error}\n{}", absolute(place), hint(error))]
    Unreachable {
        /// Where.
        place: Listen,
        /// Why.
        error: std::io::Error,
    },
    /// Somebody is there, but not the daemon that the client trusts.
    #[error("no TLS with {place}: {error}")]
    Untrusted {
        /// Where.
        place: Listen,
        /// Why.
        error: std::io::Error,
    },
    /// The daemon does not take the client's certificate, or wants none of this TLS.
    #[error("{place} refused the client certificate, or TLS with it: {reason}")]
    Refused {
        /// Where.
        place: Listen,
        /// The alert (RFC 8446, section 6.2).
        reason: String,
    },
    /// The answer was lost: it may have taken effect. What can be retried says so.
    #[error("the answer of {place} was lost: {reason}")]
    Lost {
        /// Where.
        place: Listen,
        /// Why.
        reason: String,
    },
    /// The daemon said no.
    #[error("{}", .0.in_one_line())]
    Problem(Box<Problem>),
    /// The answer is not one of jwksd.
    #[error("{place} does not answer as jwksd does: {reason}")]
    Strange {
        /// Where.
        place: Listen,
        /// How.
        reason: String,
    },
}

/// Whether what came is no part of a handshake.
fn is_no_tls(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidMessage(_)))
}

fn absolute(place: &Listen) -> Listen {
    match place {
        Listen::Tcp(_) => place.clone(),
        Listen::Unix(path) => {
            Listen::Unix(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
    }
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "your user may not open it: see [[callers]] in the configuration and the folder's mode"
        }
        _ => "is it running? start it, in its working directory, with: jwksd serve",
    }
}

impl Client {
    /// A client of the listener at `place`; over TCP it shows `token`.
    #[must_use]
    pub fn new(place: Listen, token: Option<String>) -> Self {
        Self { place, token, tls: None }
    }

    /// The same, over TLS where the place is TCP.
    #[must_use]
    pub fn with_tls(self, tls: ClientTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Asks for something.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        // There may be a key in it: large enough from the start, and wiped on drop.
        let mut bytes = Zeroizing::new(Vec::with_capacity(IMPORT_BODY_LIMIT));
        serde_json::to_writer(&mut *bytes, body).map_err(|error| self.strange(&error))?;
        self.ask(Method::POST, path, Bytes::from_owner(bytes)).await
    }

    /// Asks for something that is no JSON: the value of a header of its answer, and its body.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn post_for_bytes(
        &self,
        path: &str,
        header: &str,
    ) -> Result<(String, Bytes), ClientError> {
        let (head, body) = self.answer(Method::POST, path, Bytes::from_static(b"{}")).await?;
        let value = head.headers.get(header).and_then(|value| value.to_str().ok());
        let missing = || self.strange(&format!("its answer has no {header}"));
        Ok((value.ok_or_else(missing)?.to_owned(), body))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let (_, answer) = self.answer(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|error| self.strange(&error))
    }

    /// An answer that is no problem.
    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(Parts, Bytes), ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.host())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(|error| self.strange(&error))?;
        let (head, answer) = self.send(request).await?;
        if head.status.is_success() {
            return Ok((head, answer));
        }
        match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(self.strange(&format!("status {}", head.status))),
        }
    }

    /// The name under which the listener is asked: it takes no other than its own.
    fn host(&self) -> &str {
        match &self.place {
            Listen::Unix(_) => "localhost",
            Listen::Tcp(address) => address,
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(Parts, Bytes), ClientError> {
        let unreachable = |error| ClientError::Unreachable { place: self.place.clone(), error };
        match &self.place {
            Listen::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                self.exchange(TokioIo::new(stream), request).await
            }
            Listen::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                match &self.tls {
                    None => self.exchange(TokioIo::new(stream), request).await,
                    Some(tls) => {
                        let stream =
                            tls.connect(stream).await.map_err(|error| self.no_tls(error))?;
                        self.exchange(TokioIo::new(stream), request).await
                    }
                }
            }
        }
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<(Parts, Bytes), ClientError>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let lost = |error: hyper::Error| self.lost(&error);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(lost)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(lost)?;
        let (head, body) = response.into_parts();
        Ok((head, body.collect().await.map_err(lost)?.to_bytes()))
    }

    fn no_tls(&self, error: std::io::Error) -> ClientError {
        let place = self.place.clone();
        match tls::alert(&error) {
            Some(reason) => ClientError::Refused { place, reason },
            None if is_no_tls(&error) => {
                self.strange(&"it speaks no TLS; if so, http:// and not https://")
            }
            None => ClientError::Untrusted { place, error },
        }
    }

    /// With TLS 1.3 a client hears that its certificate was refused when it waits for the answer.
    fn lost(&self, error: &hyper::Error) -> ClientError {
        let place = self.place.clone();
        match tls::alert(error) {
            Some(reason) => ClientError::Refused { place, reason },
            None if error.is_parse() => {
                self.strange(&"it speaks no HTTP; if it is TLS, use https://")
            }
            None => ClientError::Lost { place, reason: error.to_string() },
        }
    }

    fn strange(&self, reason: &impl ToString) -> ClientError {
        ClientError::Strange { place: self.place.clone(), reason: reason.to_string() }
    }
}
