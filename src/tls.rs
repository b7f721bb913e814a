//! TLS of the listeners: what they show, which clients they trust, and how both change while
//! connections go on.
//!
//! Nothing is resumed: each connection is a full handshake, so that a CA which was taken away has no
//! sessions left. A kept connection is no hole either: `peer` verifies its certificate anew, at the
//! next request, when anything changed. Which caller a certificate names is decided elsewhere, by
//! [`crate::custody`].

mod certificate;
mod client;
mod handshake;
mod listener;
mod material;
mod peer;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use self::certificate::{CertificateError, Standing, Validity, client_names};
pub use self::client::{ClientFiles, ClientTls, ClientTlsError, Shown, alert};
pub use self::listener::{OfListeners, Prepared, Tables, Tls, TlsError, WATCH_EVERY};
pub use self::material::{Files, Material, MaterialError};
pub use self::peer::{PeerCertificate, Untrusted};

/// What all TLS is made of. It is named at each place that needs it: a default of the process could
/// be another's.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
