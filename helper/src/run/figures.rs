//! What the daemon tells of itself to whoever watches it.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::OptionFuture;
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

    /// Other threads may be busy: while they are waited for, the daemon goes on.
    pub(super) async fn show(&mut self, scrape: Scrape) {
        let figures = Figures { watches: self.source.watches(), ..self.node.figures().await };
        let known = self.planned.peers.len();
        let gossip = self.ownership.as_ref().map(|ownership| ownership.gossip(PATIENCE));
        let count = self.node.replication().map(|replication| replication.count(PATIENCE));
        let tally = self.tally.clone();
        tokio::spawn(async move {
            let (gossip, replicated) = tokio::join!(OptionFuture::from(gossip), OptionFuture::from(count));
            let peers = gossip.flatten().map(|(refused, alive)| Peers { known, alive, refused });
            let figures = Figures { peers, replicated: replicated.flatten(), ..figures };
            // Who asked may have stopped waiting.
            let _ = scrape.send(tally.text(&figures));
        });
    }
}
