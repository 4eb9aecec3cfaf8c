//! The side that answers, and where streams begin.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{ASK_MAX, DEADLINE, read_frame, write_frame};
use crate::key::Key;
use crate::seal::{self, Header};
use crate::streams::{self, Feed};

/// Connections served at a time; others wait in the kernel's queue.
const CONNECTIONS: usize = 32;

/// Streams at a time; more are refused.
const STREAMS: usize = 64;

/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// A request to judge; dropping `reply` refuses it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) source: IpAddr,
    pub(crate) message: Vec<u8>,
    pub(crate) reply: oneshot::Sender<Grant>,
}

/// What a peer gets.
#[derive(Debug)]
pub(crate) enum Grant {
    /// The table, once.
    Table(Table),
    /// A stream.
    Feed(Feed),
}

/// What an answer is made of.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) key: Key,
    pub(crate) ask: Header,
    pub(crate) header: Header,
    pub(crate) version: u64,
    pub(crate) table: Arc<[u8]>,
}

/// Addresses of the peers; connections from others are closed at once, so that they take no place.
pub(crate) type Allowed = watch::Receiver<BTreeSet<IpAddr>>;

/// Serves until dropped; `judge` gets every request.
pub(crate) async fn serve(listener: TcpListener, judge: mpsc::Sender<Asked>, allowed: Allowed) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let streams = Arc::new(Semaphore::new(STREAMS));
    let mut connections = JoinSet::new();
    while let Ok(place) = places.clone().acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((_, from)) if !allowed.borrow().contains(&from.ip().to_canonical()) => {
                log::debug!("{from} asks for a table and is no peer");
            }
            Ok((stream, from)) => {
                let (judge, streams) = (judge.clone(), Arc::clone(&streams));
                connections.spawn(async move {
                    let served = timeout(DEADLINE, converse(stream, from.ip(), judge)).await;
                    drop(place);
                    let told = match served {
                        Ok(Ok(Some((stream, feed)))) => tell(stream, feed, &streams).await,
                        Ok(served) => served.map(drop),
                        Err(late) => Err(late.into()),
                    };
                    log::debug!("table or stream for {from}: {told:?}");
                });
            }
            Err(error) => {
                log::warn!("cannot accept a connection of a peer: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn tell(stream: TcpStream, feed: Feed, places: &Semaphore) -> std::io::Result<()> {
    let Ok(_place) = places.try_acquire() else { return Err(std::io::ErrorKind::QuotaExceeded.into()) };
    streams::feed(stream, feed).await
}

/// Answers, or says which stream begins.
async fn converse(
    mut stream: TcpStream,
    source: IpAddr,
    judge: mpsc::Sender<Asked>,
) -> std::io::Result<Option<(TcpStream, Feed)>> {
    let message = read_frame(&mut stream, ASK_MAX).await?;
    let (reply, granted) = oneshot::channel();
    let refused = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    judge.send(Asked { source, message, reply }).await.map_err(|_| refused())?;
    match granted.await.map_err(|_| refused())? {
        Grant::Table(table) => write_frame(&mut stream, &answer(&table)).await.map(|()| None),
        Grant::Feed(feed) => Ok(Some((stream, feed))),
    }
}

pub(super) fn answer(grant: &Table) -> Vec<u8> {
    let head = [grant.ask.incarnation, grant.ask.counter, grant.version].map(u64::to_be_bytes).concat();
    seal::seal(&grant.key, &grant.header, &[head.as_slice(), &grant.table].concat())
}
