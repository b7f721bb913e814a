//! Sockets that the service manager made and passed on, as `sd_listen_fds(3)` describes.
//!
//! Each is matched by its address to a place in the configuration. Who may connect to it is for
//! whoever made it to say (`SocketMode=`, `SocketGroup=`), and so is the life of its file.

use std::fs;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use rustix::fd::AsFd;

use super::{Access, Bound, SocketFile};
use crate::config::Listen;

/// The sockets that were passed and are not taken yet.
#[derive(Default)]
pub struct Passed(Vec<Socket>);

enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

/// Why a passed socket is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassedError {
    /// Not a socket on which connections can be accepted.
    #[error(
        "file descriptor {0}, passed by the service manager, is not a listening stream socket of \
         TCP or with a Unix path (ListenStream= of a socket unit with Accept=no)"
    )]
    Kind(usize),
    /// Nobody would accept on it.
    #[error(
        "the service manager passed a socket at {0}, which no `listen` of the configuration names: \
         name it there, or take it out of the socket unit"
    )]
    Unnamed(Listen),
}

impl Passed {
    /// Takes the sockets over. They are not inherited by children.
    ///
    /// # Errors
    ///
    /// [`PassedError::Kind`].
    pub fn receive(mut passed: ListenFd) -> Result<Self, PassedError> {
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            // SD_LISTEN_FDS_START is 3.
            sockets.push(socket_at(&mut passed, index).ok_or(PassedError::Kind(3 + index))?);
        }
        Ok(Self(sockets))
    }

    /// The socket at this place, if one was passed. A warning tells where `access` allows fewer
    /// than the socket does.
    pub(super) fn take(&mut self, place: &Listen, access: Access) -> Option<Bound> {
        let index = self.0.iter().position(|socket| socket.is_at(place))?;
        Some(match self.0.swap_remove(index) {
            Socket::Tcp(listener, _) => Bound::Tcp(listener),
            Socket::Unix(listener, path) => {
                if access != Access::Everyone && is_open_to_everyone(&path) {
                    tracing::warn!(
                        "every user of this host may connect to {place}: narrow SocketMode= and \
                         SocketGroup= of its socket unit"
                    );
                }
                Bound::Unix(listener, SocketFile::of_another(&path))
            }
        })
    }

    /// To be asked before any place is bound: what is passed for another place is why one is missing.
    ///
    /// # Errors
    ///
    /// [`PassedError::Unnamed`] with the first that is at none of these places.
    pub fn check_named(&self, places: &[&Listen]) -> Result<(), PassedError> {
        let is_named = |socket: &Socket| places.iter().any(|place| socket.is_at(place));
        match self.0.iter().find(|socket| !is_named(socket)) {
            Some(socket) => Err(PassedError::Unnamed(socket.place())),
            None => Ok(()),
        }
    }
}

fn socket_at(passed: &mut ListenFd, index: usize) -> Option<Socket> {
    // What is of the other kind is left where it is.
    if let Ok(Some(listener)) = passed.take_unix_listener(index) {
        return Socket::unix(listener);
    }
    passed.take_tcp_listener(index).ok().flatten().and_then(Socket::tcp)
}

impl Socket {
    fn tcp(listener: TcpListener) -> Option<Self> {
        listener.set_nonblocking(true).ok()?;
        let address = listener.local_addr().ok()?;
        is_listening(&listener).then_some(Self::Tcp(listener, address))
    }

    /// `None` also for an abstract socket: file modes do not guard it.
    fn unix(listener: UnixListener) -> Option<Self> {
        listener.set_nonblocking(true).ok()?;
        let path = listener.local_addr().ok()?.as_pathname()?.to_owned();
        is_listening(&listener).then_some(Self::Unix(listener, path))
    }

    fn is_at(&self, place: &Listen) -> bool {
        match (self, place) {
            (Self::Tcp(_, address), Listen::Tcp(text)) => {
                text.to_socket_addrs().is_ok_and(|mut all| all.any(|one| one == *address))
            }
            (Self::Unix(_, path), Listen::Unix(named)) => is_same_place(path, named),
            (Self::Tcp(..), Listen::Unix(_)) | (Self::Unix(..), Listen::Tcp(_)) => false,
        }
    }

    fn place(&self) -> Listen {
        match self {
            Self::Tcp(_, address) => Listen::Tcp(address.to_string()),
            Self::Unix(_, path) => Listen::Unix(path.clone()),
        }
    }
}

fn is_listening(socket: &impl AsFd) -> bool {
    rustix::net::sockopt::socket_acceptconn(socket).unwrap_or(false)
}

/// The same path, or two to one file: `/var/run` leads to `/run`.
fn is_same_place(one: &Path, other: &Path) -> bool {
    let file = |path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    match (file(one), file(other)) {
        (Some(one), Some(other)) => one == other,
        _ => std::path::absolute(one).ok() == std::path::absolute(other).ok(),
    }
}

/// To connect is to write.
fn is_open_to_everyone(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o002 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::fd::OwnedFd;

    use super::*;

    fn passed(sockets: impl IntoIterator<Item = Option<Socket>>) -> Passed {
        Passed(sockets.into_iter().flatten().collect())
    }

    #[test]
    fn a_place_takes_the_socket_at_its_address_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let unix = UnixListener::bind(&path).unwrap();
        let mut passed = passed([Socket::tcp(tcp), Socket::unix(unix)]);

        let other = Listen::Unix(dir.path().join("other"));
        assert!(passed.take(&other, Access::Owner).is_none());
        assert!(passed.take(&Listen::Tcp("127.0.0.1:0".into()), Access::Owner).is_none());
        let place = Listen::Tcp(format!("localhost:{port}"));
        assert!(matches!(passed.take(&place, Access::Owner), Some(Bound::Tcp(_))));
        assert!(passed.take(&place, Access::Owner).is_none());

        let place = Listen::Unix(path);
        assert_eq!(passed.check_named(&[&other]), Err(PassedError::Unnamed(place.clone())));
        assert_eq!(passed.check_named(&[&other, &place]), Ok(()));
        assert_eq!(passed.take(&place, Access::Owner).unwrap().place(), place);
    }

    #[test]
    fn a_path_through_a_link_is_the_same_place() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        std::os::unix::fs::symlink("run", dir.path().join("old")).unwrap();
        let unix = UnixListener::bind(dir.path().join("run/s")).unwrap();
        let mut passed = passed([Socket::unix(unix)]);
        assert!(passed.take(&Listen::Unix(dir.path().join("old/s")), Access::Owner).is_some());
    }

    #[test]
    fn the_file_of_a_passed_socket_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let unix = UnixListener::bind(&path).unwrap();
        let mut passed = passed([Socket::unix(unix)]);
        drop(passed.take(&Listen::Unix(path.clone()), Access::Owner));
        assert!(path.exists());
    }

    #[test]
    fn a_socket_that_does_not_listen_is_of_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let connected = UnixStream::connect(dir.path().join("s")).unwrap();
        assert!(Socket::unix(UnixListener::from(OwnedFd::from(connected))).is_none());
        assert!(Socket::unix(listener).is_some());
    }
}
