//! Reading the configuration again: on SIGHUP, and when a client asks for it.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use ike::Changes;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::config;
use crate::crls::Fetcher;
use crate::engine::Remote;

/// Somebody who wants the configuration to be read again, and to hear what
/// came of it.
pub type Wish = oneshot::Sender<Result<Changes, String>>;

/// Reads `file` again whenever somebody wishes, one after the other, until it
/// is dropped. Revocation lists are fetched for what it says then.
///
/// # Errors
/// When no signal can be waited for.
pub async fn run(
    (file, mut lists): (&Path, Option<Fetcher>),
    engine: &Remote,
    mut wishes: mpsc::UnboundedReceiver<Wish>,
) -> io::Result<Infallible> {
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        let wish = tokio::select! {
            _ = hang_up.recv() => None,
            Some(wish) = wishes.recv() => Some(wish),
        };
        tell_manager(&[NotifyState::Reloading]);
        let done = reload((file, lists.as_mut()), engine).await;
        if let Err(error) = &done {
            tracing::error!("the configuration stays what it was: {error}");
        }
        tell_manager(&[NotifyState::Ready]);
        if let Some(wish) = wish {
            // Whoever asked may have hung up.
            let _ = wish.send(done);
        }
    }
}

async fn reload(
    (file, lists): (&Path, Option<&mut Fetcher>),
    engine: &Remote,
) -> Result<Changes, String> {
    let file = file.to_owned();
    // Files are read and keys are decrypted: that takes time, which others need not wait for.
    let loaded = tokio::task::spawn_blocking(move || config::load(&file)).await;
    let config = loaded.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(lists) = lists {
        lists.attend(&config.ike.connections).map_err(|error| error.to_string())?;
    }
    let stopping = |_| "the daemon is stopping".to_owned();
    engine.reconfigure(config).await.map_err(stopping)?
}

/// Without a service manager there is nobody to tell.
fn tell_manager(state: &[NotifyState<'_>]) {
    // It wants to know when (sd_notify(3)), to tell this from what was said before.
    let when = NotifyState::monotonic_usec_now();
    let state: Vec<_> = state.iter().cloned().chain(when).collect();
    let _ = sd_notify::notify(&state);
}
