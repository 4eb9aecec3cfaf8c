//! Telling one follower: a picture, then changes, and a new picture when it could not keep up.
//!
//! Guarantees: nothing is told out of order; a slow follower costs [`BEHIND`] messages at most. Leaves out: what is told.

use std::sync::Arc;

use sortie_peer::{Follower, FollowerError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Messages a follower may be behind before it gets a new picture instead.
pub(super) const BEHIND: usize = 256;

/// What all followers are told.
#[derive(Clone, Debug)]
pub(super) enum Update {
    /// A message.
    Changes(Arc<[u8]>),
    /// So much is new that a picture says it better.
    Anew,
}

/// A picture, and everything after it.
pub(super) struct View {
    pub(super) picture: Vec<Vec<u8>>,
    pub(super) updates: broadcast::Receiver<Update>,
}

/// Asks for a view.
pub(super) type Ask = oneshot::Sender<View>;

/// Tells until the follower is gone, or there is nobody to ask.
pub(super) async fn tell(follower: Follower, asks: mpsc::Sender<Ask>) {
    let ended = tokio::select! {
        () = follower.gone() => Ok(()),
        ended = pictures(&follower, &asks) => ended,
    };
    log::debug!("follower has ended node={} outcome={ended:?}", follower.node());
}

async fn pictures(follower: &Follower, asks: &mpsc::Sender<Ask>) -> Result<(), FollowerError> {
    loop {
        let (ask, view) = oneshot::channel();
        if asks.send(ask).await.is_err() {
            return Ok(());
        }
        let Ok(mut view) = view.await else { return Ok(()) };
        for message in view.picture.drain(..) {
            follower.send(message).await?;
        }
        loop {
            match view.updates.recv().await {
                Ok(Update::Changes(message)) => follower.send(message.to_vec()).await?,
                Ok(Update::Anew) | Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}
