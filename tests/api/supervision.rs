//! A task that ends unasked ends the process with an error.

use jwksd::supervise::{self, Ended, Signals};

use crate::app::TestApp;

#[actix_web::test]
async fn a_rotator_that_ends_unasked_ends_the_daemon_with_an_error() {
    let (daemon, _app) = TestApp::start().await.hand_over().await;
    daemon.administration.rotator.stop();
    assert!(matches!(
        supervise::run(daemon, Signals::receive().unwrap()).await,
        Err(Ended::Unasked("rotator"))
    ));
}

#[actix_web::test]
async fn a_pool_that_ends_unasked_ends_the_daemon_with_an_error() {
    let (daemon, _app) = TestApp::start().await.hand_over().await;
    daemon.pool.stop();
    assert!(matches!(
        supervise::run(daemon, Signals::receive().unwrap()).await,
        Err(Ended::Unasked("pool for batches"))
    ));
}

#[actix_web::test]
async fn a_listener_that_ends_unasked_ends_the_daemon_with_an_error() {
    let (daemon, _app) = TestApp::start().await.hand_over().await;
    let public = daemon.handles().remove(0);
    let run = supervise::run(daemon, Signals::receive().unwrap());
    let (ended, ()) = tokio::join!(run, public.stop(false));
    assert!(matches!(ended, Err(Ended::Unasked("listener"))));
}
