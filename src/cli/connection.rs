//! How the running daemon is reached: where it listens, and with TLS what is trusted and shown.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jwksd::client::Client;
use jwksd::config::{Endpoints, Listen};
use jwksd::tls::{ClientFiles, ClientTls, Files, Shown};

use super::unread;

/// Where the bearer token for a TCP listener is taken from.
const TOKEN_VARIABLE: &str = "JWKSD_TOKEN";

#[derive(clap::Args)]
#[command(next_help_heading = "Connection to the running daemon")]
pub(super) struct Connection {
    /// Where the daemon is: https://HOST:PORT, http://127.0.0.1:PORT or unix:PATH; default: where
    /// the configuration says that it listens
    #[arg(long, value_name = "URL", env = "JWKSD_SERVER", global = true)]
    server: Option<String>,
    /// The CA of the daemon's certificate, in PEM, for a listener with TLS
    #[arg(long, value_name = "FILE", env = "JWKSD_CA", global = true)]
    ca: Option<PathBuf>,
    /// The certificate to show to a listener with TLS, in PEM; without it, the bearer token in
    /// `JWKSD_TOKEN` is sent
    #[arg(
        long,
        value_name = "FILE",
        env = "JWKSD_CLIENT_CERTIFICATE",
        requires = "client_key",
        global = true
    )]
    client_certificate: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "JWKSD_CLIENT_KEY",
        requires = "client_certificate",
        global = true
    )]
    client_key: Option<PathBuf>,
}

/// A listener, and whether it speaks TLS.
struct Target {
    place: Listen,
    speaks: Speaks,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Tls,
    Plain,
}

impl Connection {
    /// A client of the admin listener.
    pub(super) fn admin(&self, config: &Path) -> anyhow::Result<Client> {
        self.client(|| {
            let endpoints = Endpoints::load(config).map_err(unread)?;
            first(endpoints.admin, endpoints.tls.admin.as_ref())
        })
    }

    /// A client of the internal listener.
    pub(super) fn internal(&self, config: &Path) -> anyhow::Result<Client> {
        self.client(|| {
            let endpoints = Endpoints::load(config).map_err(unread)?;
            first(endpoints.internal, endpoints.tls.internal.as_ref())
        })
    }

    fn client(
        &self,
        configured: impl FnOnce() -> anyhow::Result<Target>,
    ) -> anyhow::Result<Client> {
        let target = match &self.server {
            Some(server) => parse(server)?,
            None => configured()?,
        };
        let Target { place, speaks } = target;
        let Listen::Tcp(address) = &place else {
            return Ok(Client::new(place, None));
        };
        if speaks == Speaks::Plain {
            if !place.is_local() {
                bail!("the bearer token would go to {place} in the clear: that listener needs TLS");
            }
            return Ok(Client::new(place, Some(token()?)));
        }
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        let tls = ClientTls::new(&self.files(&place)?, host.trim_matches(['[', ']']))?;
        let token = if self.client_certificate.is_some() { None } else { Some(token()?) };
        Ok(Client::new(place, token).with_tls(tls))
    }

    fn files(&self, place: &Listen) -> anyhow::Result<ClientFiles> {
        let ca = self.ca.clone().with_context(|| {
            format!("{place} speaks TLS: name the CA of its certificate with --ca or JWKSD_CA")
        })?;
        let shown = self.client_certificate.clone().zip(self.client_key.clone());
        let shown = shown.map(|(certificate, key)| Shown { certificate, key });
        Ok(ClientFiles { ca, shown })
    }
}

/// The first of these places, a Unix socket if there is one.
fn first(places: Vec<Listen>, tls: Option<&Files>) -> anyhow::Result<Target> {
    let is_unix = |place: &Listen| matches!(place, Listen::Unix(_));
    let index = places.iter().position(is_unix).unwrap_or(0);
    let place = places.into_iter().nth(index).context("nothing is listened on")?;
    let speaks = if tls.is_some() { Speaks::Tls } else { Speaks::Plain };
    Ok(Target { place, speaks })
}

fn parse(server: &str) -> anyhow::Result<Target> {
    let (speaks, rest) = if let Some(rest) = server.strip_prefix("https://") {
        (Speaks::Tls, rest)
    } else if let Some(rest) = server.strip_prefix("http://") {
        (Speaks::Plain, rest)
    } else if server.starts_with("unix:") {
        (Speaks::Plain, server)
    } else {
        bail!("--server {server:?} must be https://HOST:PORT, http://127.0.0.1:PORT or unix:PATH");
    };
    let place = Listen::parse(rest.strip_suffix('/').unwrap_or(rest))
        .with_context(|| format!("--server {server:?}"))?;
    if speaks == Speaks::Plain && !place.is_local() {
        bail!("--server {server:?} would send the bearer token in the clear: use https://");
    }
    Ok(Target { place, speaks })
}

/// The listener is on TCP and there is no bearer token to show.
#[derive(Debug, thiserror::Error)]
#[error(
    "the listener is on TCP: put a caller's bearer token into {TOKEN_VARIABLE}, or, with TLS, show \
     a certificate with --client-certificate and --client-key"
)]
pub(super) struct NoToken;

#[expect(clippy::disallowed_methods, reason = "the command line may read its environment")]
fn token() -> Result<String, NoToken> {
    std::env::var(TOKEN_VARIABLE).map_err(|_| NoToken)
}
