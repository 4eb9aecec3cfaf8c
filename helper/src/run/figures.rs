//! What the daemon tells of itself to whoever watches it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Daemon;
use crate::metrics::http::{self, Scrape, Vital};
use crate::metrics::{Figures, Peers};

/// How long another thread is waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// The daemon's end of metrics and probes; without an address nobody asks.
pub(super) struct Monitor {
    pub(super) scrapes: mpsc::Receiver<Scrape>,
    /// Keeps the way open that nobody uses.
    _asked: mpsc::Sender<Scrape>,
    vital: watch::Sender<Vital>,
}

impl Monitor {
    pub(super) fn start(at: Option<SocketAddr>) -> anyhow::Result<Self> {
        let (asked, scrapes) = mpsc::channel(1);
        let (vital, seen) = watch::channel(Vital::default());
        if let Some(at) = at {
            http::start(at, seen, asked.clone())?;
        }
        Ok(Self { scrapes, _asked: asked, vital })
    }
}

impl Daemon {
    /// A sign of life, to the thread that decides about ownership too.
    pub(super) fn beat(&self) {
        self.monitor.vital.send_modify(|vital| vital.beat = Some(Instant::now()));
        if let Some(ownership) = &self.ownership {
            ownership.is_alive();
        }
    }

    pub(super) fn tell_readiness(&self) {
        if self.server.is_some() {
            let ready = self.node.ready().map_err(str::to_owned);
            self.monitor.vital.send_modify(|vital| vital.ready = ready);
        }
    }

    pub(super) async fn show(&mut self, scrape: Scrape) {
        let figures = self.figures().await;
        // Who asked may have stopped waiting.
        let _ = scrape.send(self.tally.text(&figures));
    }

    async fn figures(&mut self) -> Figures {
        let mut figures = self.node.figures().await;
        figures.watches = self.source.watches();
        if let Some(ownership) = &self.ownership
            && let Some((refused, alive)) = ownership.gossip(PATIENCE).await
        {
            figures.peers = Some(Peers { known: self.planned.peers.len(), alive, refused });
        }
        if let Some(replication) = &self.replication {
            figures.replicated = replication.count(PATIENCE).await;
        }
        figures
    }
}
