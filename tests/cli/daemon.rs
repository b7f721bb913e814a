//! A daemon at work.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustix::process::Pid;
pub(crate) use rustix::process::Signal;
use serde_json::Value;

use crate::output::Output;
use crate::place::{Place, wait_for};

/// A daemon at work. Killed on drop.
pub(crate) struct Daemon {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Daemon {
    /// Starts it; its output goes to files, so that it never waits for a reader.
    pub(crate) fn launch(place: &Place, mut command: Command) -> Self {
        let (stdout, stderr) = (place.path("serve.out"), place.path("serve.err"));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Self { child: command.spawn().unwrap(), stdout, stderr }
    }

    pub(crate) fn wait_until_ready(&mut self) {
        wait_for("the daemon to be ready", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status}: {}", self.log());
            }
            let is_up =
                self.said().contains("is ready") && self.said().contains("key set   second");
            (is_up && self.http("/readyz").0 == 200).then_some(())
        });
    }

    /// What it says when it must end by itself.
    pub(crate) fn fails_to_start(mut self) -> Output {
        let status = self.wait();
        Output { code: status.code(), stdout: self.said(), stderr: self.log() }
    }

    /// Its stdout up to now.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    /// Its stderr up to now.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits until its log has these words.
    pub(crate) fn wait_for_log(&self, words: &str) {
        wait_for(words, || self.log().contains(words).then_some(()));
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// A file about its process.
    pub(crate) fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }

    /// Sends a signal that ends it, and waits for the end.
    pub(crate) fn end(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    /// The end, within the time that everything has.
    fn wait(&mut self) -> ExitStatus {
        wait_for("the end of the daemon", || self.child.try_wait().unwrap())
    }

    /// Where a listener is, as the daemon says: `public`, `internal` or `admin`.
    pub(crate) fn address(&self, listener: &str) -> String {
        self.addresses(listener).swap_remove(0)
    }

    /// All the places where a listener is.
    pub(crate) fn addresses(&self, listener: &str) -> Vec<String> {
        let said = self.said();
        let lines = said.lines().filter(|line| line.trim_start().starts_with(listener));
        lines.map(|line| line.split_whitespace().last().unwrap().to_owned()).collect()
    }

    /// Status and body of a `GET` on the public listener.
    pub(crate) fn http(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address("public")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The kids in the JWK Set of the root key set.
    pub(crate) fn published(&self) -> Vec<String> {
        let keys = self.jwk_set();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// Whether an ES256 token verifies against the JWK Set, checked without code of jwksd.
    pub(crate) fn verifies(&self, token: &str) -> bool {
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let (message, signature) = token.trim().rsplit_once('.').unwrap();
        let header: Value =
            serde_json::from_slice(&decode(message.split('.').next().unwrap())).unwrap();
        let keys = self.jwk_set();
        let Some(key) = keys.iter().find(|key| key["kid"] == header["kid"]) else {
            return false;
        };
        let coordinate = |name: &str| decode(key[name].as_str().unwrap());
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key.verify(message.as_bytes(), &decode(signature)).is_ok()
    }

    fn jwk_set(&self) -> Vec<Value> {
        let (status, body) = self.http("/.well-known/jwks.json");
        assert_eq!(status, 200, "{body}");
        let set: Value = serde_json::from_str(&body).unwrap();
        set["keys"].as_array().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
