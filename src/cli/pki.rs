//! `jwksd pki`: a development CA, and certificates of it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::ArgGroup;
use jwksd::clock::{Clock, SystemClock};
use jwksd::memory;
use jwksd::pki::files::{FileError, Files};
use jwksd::pki::names::{CaName, CertificateName, DnsPattern, ServerName};
use jwksd::pki::{self, Ca, Issued, Lifetime, Purpose};
use jwksd::san::San;
use serde::Serialize;

use super::Out;

/// Some clients refuse a server's certificate that is valid for longer, whoever signed it.
const MAX_LEAF_DAYS: i64 = 825;
const MAX_CA_DAYS: i64 = 3650;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The folder of the CA, and of what it issues.
    #[arg(long, value_name = "FOLDER", default_value = "pki", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a development CA: ca.pem and ca.key
    Init {
        /// What the CA is called in its certificate
        #[arg(long, default_value = "jwksd development CA")]
        name: CaName,
        /// For how many days it is valid; nothing that it issues is valid longer
        #[arg(long, default_value_t = 365, value_parser = days(MAX_CA_DAYS))]
        days: u32,
    },
    /// Make a key and a certificate of the CA for it
    #[command(subcommand)]
    Issue(Issue),
}

#[derive(clap::Subcommand)]
enum Issue {
    /// For a listener: NAME.pem and NAME.key
    #[command(group = ArgGroup::new("names").args(["dns", "ip"]).required(true).multiple(true))]
    Server {
        /// What the files are called
        name: CertificateName,
        /// A DNS name that clients ask for; can be given several times, as can --ip
        #[arg(long, value_name = "NAME")]
        dns: Vec<DnsPattern>,
        /// An IP address that clients ask for
        #[arg(long, value_name = "ADDRESS", value_parser = address)]
        ip: Vec<IpAddr>,
        #[command(flatten)]
        lifetime: LeafLifetime,
    },
    /// For a caller: NAME.pem and NAME.key
    Client {
        /// What the files are called
        name: CertificateName,
        /// What the caller is known by: a SPIFFE ID or a DNS name
        #[arg(long)]
        san: San,
        #[command(flatten)]
        lifetime: LeafLifetime,
    },
}

#[derive(clap::Args)]
struct LeafLifetime {
    /// For how many days it is valid, 825 at most and no longer than the CA; nothing renews it
    #[arg(long, default_value_t = 90, value_parser = days(MAX_LEAF_DAYS))]
    days: u32,
}

/// What was made, for programs.
#[derive(Serialize)]
struct Made {
    certificate: String,
    key: String,
    ca: String,
    names: Vec<String>,
    expires_at: String,
    cut_to_ca: bool,
}

pub(super) fn run(args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    memory::leave_no_core()?;
    let folder = &args.dir;
    match &args.command {
        Command::Init { name, days } => init(folder, name, lifetime(*days), out),
        Command::Issue(Issue::Server { name, dns, ip, lifetime: leaf }) => {
            let dns = dns.iter().cloned().map(ServerName::Dns);
            let names: Vec<_> = dns.chain(ip.iter().copied().map(ServerName::Ip)).collect();
            let shown = names.iter().map(ToString::to_string).collect();
            let made = issue(folder, name, &Purpose::Server(names), shown, leaf)?;
            out.print(&made, server_text)
        }
        Command::Issue(Issue::Client { name, san, lifetime: leaf }) => {
            let shown = vec![san.to_string()];
            let made = issue(folder, name, &Purpose::Client(san.clone()), shown, leaf)?;
            out.print(&made, |made| client_text(name, made))
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn init(folder: &Path, name: &CaName, lifetime: Duration, out: &Out) -> anyhow::Result<()> {
    let files = Files::new(folder, "ca");
    files.check_free()?;
    let issued = pki::make_ca(name, lifetime, SystemClock.wall())?;
    files.write(&issued)?;
    let made = Made::new(&files, &files, vec![name.as_str().to_owned()], &issued);
    out.print(&made, |made| ca_text(folder, made))
}

fn issue(
    folder: &Path,
    name: &CertificateName,
    purpose: &Purpose,
    shown: Vec<String>,
    leaf: &LeafLifetime,
) -> anyhow::Result<Made> {
    let (files, ca_files) = (Files::new(folder, name.as_str()), Files::new(folder, "ca"));
    files.check_free()?;
    let now = SystemClock.wall();
    let (certificate, key) = match ca_files.read() {
        Err(error @ FileError::Missing(_)) => Err(error).with_context(|| {
            let folder = folder.display();
            format!("there is no CA in {folder}: make one with jwksd pki init --dir {folder}")
        })?,
        read => read?,
    };
    let ca = Ca::parse(&certificate, &key, now)
        .with_context(|| format!("the CA in {} cannot issue", folder.display()))?;
    let issued = ca.issue(name, purpose, lifetime(leaf.days), now)?;
    files.write(&issued)?;
    Ok(Made::new(&files, &ca_files, shown, &issued))
}

impl Made {
    fn new(files: &Files, ca: &Files, names: Vec<String>, issued: &Issued) -> Self {
        Self {
            certificate: files.certificate.display().to_string(),
            key: files.key.display().to_string(),
            ca: ca.certificate.display().to_string(),
            names,
            expires_at: issued.expires_at.to_string(),
            cut_to_ca: issued.lifetime == Lifetime::CutToCa,
        }
    }

    /// What was made, until when, and where it is.
    fn head(&self, what: &str) -> String {
        let cut =
            if self.cut_to_ca { ", when its CA expires, which is sooner than asked" } else { "" };
        format!(
            "made {what} for {}\n  valid until  {}{cut}\n  certificate  {}\n  key          {} (mode \
             0600)\n\n",
            self.names.join(", "),
            self.expires_at,
            self.certificate,
            self.key
        )
    }
}

fn ca_text(folder: &Path, made: &Made) -> String {
    let dir = match folder.to_str() {
        Some("pki") => String::new(),
        _ => format!(" --dir {}", folder.display()),
    };
    format!(
        "made a development CA\n  called       {}\n  valid until  {}\n  certificate  {}\n  key          \
         {} (mode 0600)\n\nWhoever has the key can be any server and any caller. Next, a certificate \
         for the daemon and one\nfor each caller:\n\n  jwksd pki issue server jwksd --dns localhost \
         --ip 127.0.0.1{dir}\n  jwksd pki issue client backend --san spiffe://example.org/backend{dir}\n",
        made.names.join(", "),
        made.expires_at,
        made.certificate,
        made.key
    )
}

fn server_text(made: &Made) -> String {
    format!(
        "{}Put this into the configuration, with a TCP place in `listen` of [internal], such as \
         \"0.0.0.0:8443\",\nand restart the daemon. [admin.tls] takes the same, [public.tls] no \
         client_ca.\n\n[internal.tls]\ncertificate = {}\nkey = {}\nclient_ca = {}\n\nClients have to trust the CA: \
         curl --cacert {} …\n",
        made.head("a server certificate"),
        quoted(&made.certificate),
        quoted(&made.key),
        quoted(&made.ca),
        made.ca
    )
}

fn client_text(name: &CertificateName, made: &Made) -> String {
    format!(
        "{}Give both files to the caller, and put this into the configuration:\n\n[[callers]]\nname = \
         {}\nsan = {}\ngrants = [{{ keyset = \"default\", actions = [\"sign-token\"] }}]\n\nThe caller \
         shows it: curl --cacert {} --cert {} --key {} …\n",
        made.head("a client certificate"),
        quoted(name.as_str()),
        quoted(&made.names.concat()),
        made.ca,
        made.certificate,
        made.key
    )
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn days(most: i64) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=most)
}

fn lifetime(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}

fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "not an IP address".to_owned())?;
    if address.is_unspecified() {
        return Err("a server can listen there, but no client can ask for it".to_owned());
    }
    Ok(address)
}
