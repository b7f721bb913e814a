//! Signals, systemd, and the rule that a task that ends unasked ends the process with an error.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::administration::Administration;
use crate::master_key;
use crate::server::{BATCHES_DRAIN, Daemon};
use crate::tls;

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Something that should go on for ever ended.
    #[error("the {0} ended unasked")]
    Unasked(&'static str),
    /// A listener failed.
    #[error("a listener failed: {0}")]
    Listener(io::Error),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
}

/// The signals of the process, received from the moment this is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Receives the signals from now on. To be made before anything takes time, so that a SIGHUP
    /// during the start does not end the process.
    ///
    /// # Errors
    ///
    /// [`Ended::Signals`].
    pub fn receive() -> Result<Self, Ended> {
        let receive = |kind| signal(kind).map_err(Ended::Signals);
        Ok(Self {
            terminate: receive(SignalKind::terminate())?,
            interrupt: receive(SignalKind::interrupt())?,
            hangup: receive(SignalKind::hangup())?,
        })
    }
}

/// Serves until SIGTERM or SIGINT, then drains. SIGHUP reloads the configuration; several during a
/// reload are one more reload.
///
/// # Errors
///
/// [`Ended`] when it ended for any other reason.
pub async fn run(daemon: Daemon, mut signals: Signals) -> Result<(), Ended> {
    let manager = Arc::new(ServiceManager::of_environment());
    let administration = daemon.administration.clone();
    let handles = daemon.handles();
    let pool = daemon.pool.clone();
    let (servers, rotator, mut pool_ends, kept) = daemon.into_parts();
    let mut listener_ended = watch_listeners(servers);
    let mut rotator_ended = watch_thread(rotator);
    let (reloads, mut wanted) = mpsc::channel::<()>(1);
    let (reloader, of_reloads) = (administration.clone(), manager.clone());
    actix_web::rt::spawn(async move {
        while wanted.recv().await.is_some() {
            reload(&reloader, &of_reloads).await;
        }
    });
    if administration.tls.are_any() {
        let look = |of: &Administration| of.tls.look(&of.health);
        actix_web::rt::spawn(watch_files(administration.clone(), tls::WATCH_EVERY, look));
    }
    let look = |of: &Administration| of.master_key.look(&of.health);
    actix_web::rt::spawn(watch_files(administration.clone(), master_key::WATCH_EVERY, look));
    manager.tell(&[NotifyState::Ready]);
    let mut watchdog = watchdog();

    let ended = loop {
        tokio::select! {
            _ = signals.terminate.recv() => break Ok(()),
            _ = signals.interrupt.recv() => break Ok(()),
            // A full channel means that a reload is about to begin anyway.
            _ = signals.hangup.recv() => drop(reloads.try_send(())),
            () = watchdog.beat() => manager.tell(&[NotifyState::Watchdog]),
            ended = listener_ended.recv() => break Err(match ended {
                Some(Err(error)) => Ended::Listener(error),
                Some(Ok(())) | None => Ended::Unasked("listener"),
            }),
            _ = rotator_ended.recv() => break Err(Ended::Unasked("rotator")),
            _ = pool_ends.recv() => break Err(Ended::Unasked("pool for batches")),
        }
    };

    manager.tell(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    administration.rotator.not_serving();
    // All at once: each drains for as long as its requests need.
    let stopping: Vec<_> = handles.iter().map(|handle| handle.stop(ended.is_ok())).collect();
    let mut stopped = pin!(async {
        for stopped in stopping {
            stopped.await;
        }
    });
    if tokio::time::timeout(BATCHES_DRAIN, &mut stopped).await.is_err() {
        pool.refuse();
        stopped.await;
    }
    pool.stop();
    administration.rotator.stop();
    // The threads may still be at something; an error means that they have ended already.
    let _ = rotator_ended.recv().await;
    while pool_ends.recv().await.is_some() {}
    drop(kept);
    ended
}

async fn reload(administration: &Arc<Administration>, manager: &ServiceManager) {
    // systemd wants both in one message.
    match NotifyState::monotonic_usec_now() {
        Ok(monotonic) => manager.tell(&[NotifyState::Reloading, monotonic]),
        Err(_) => manager.tell(&[NotifyState::Reloading]),
    }
    match administration.errand(Administration::reload_unasked).await {
        Some(Ok(_)) => {}
        Some(Err(error)) => tracing::error!("not reloaded, the old configuration stays: {error}"),
        None => tracing::error!("the reload did not end"),
    }
    manager.tell(&[NotifyState::Ready]);
}

/// Looks at files now and then, for as long as the process lives.
async fn watch_files(
    administration: Arc<Administration>,
    every: Duration,
    look: fn(&Administration),
) {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if administration.errand(look).await.is_none() {
            tracing::error!("a look at files did not end");
        }
    }
}

/// Drives the listeners; what is received is how the first of them ended.
fn watch_listeners(servers: Vec<actix_web::dev::Server>) -> mpsc::Receiver<Result<(), io::Error>> {
    let (ended, watch) = mpsc::channel(servers.len().max(1));
    for server in servers {
        let ended = ended.clone();
        actix_web::rt::spawn(async move {
            // An error means that the process is ending anyway.
            let _ = ended.send(server.await).await;
        });
    }
    watch
}

/// Waits for a thread; what is received says that it ended.
fn watch_thread(thread: std::thread::JoinHandle<()>) -> mpsc::Receiver<()> {
    let (ended, watch) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        // A panic has been reported by its hook.
        let _ = thread.join();
        let _ = ended.blocking_send(());
    });
    watch
}

/// Beats twice in the time that systemd allows, or never where it does not watch.
struct Watchdog(Option<tokio::time::Interval>);

fn watchdog() -> Watchdog {
    let allowed = sd_notify::watchdog_enabled();
    Watchdog(
        allowed.map(|allowed| tokio::time::interval((allowed / 2).max(Duration::from_millis(1)))),
    )
}

impl Watchdog {
    async fn beat(&mut self) {
        match &mut self.0 {
            Some(interval) => {
                interval.tick().await;
            }
            None => std::future::pending().await,
        }
    }
}

/// The way to the service manager, where there is one. It is there from the start: when no file descriptor
/// is left, the watchdog has to be fed all the same.
struct ServiceManager(Option<(UnixDatagram, SocketAddr)>);

impl ServiceManager {
    /// As `sd_notify(3)` has it: a path, or an abstract name behind `@`.
    #[expect(clippy::disallowed_methods, reason = "the service manager says so in the environment")]
    fn of_environment() -> Self {
        let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return Self(None) };
        let address = match place.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(&place),
        };
        let way = address.and_then(|address| Ok((UnixDatagram::unbound()?, address)));
        Self(way.inspect_err(warn_unheard).ok())
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        let Some((socket, address)) = &self.0 else { return };
        let lines: Vec<String> = state.iter().map(ToString::to_string).collect();
        if let Err(error) = socket.send_to_addr(lines.join("\n").as_bytes(), address) {
            warn_unheard(&error);
        }
    }
}

fn warn_unheard(error: &io::Error) {
    tracing::warn!(%error, "cannot notify the service manager");
}
