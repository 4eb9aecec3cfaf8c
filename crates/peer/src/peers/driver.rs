//! The task behind [`Peers`](super::Peers).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::feeds::Feeds;
use super::fetches::{Fetched, Fetches};
use super::outbox::Outbox;
use super::{Command, PeerEvent};
use crate::key::Key;
use crate::membership::{MemberEvent, Membership};
use crate::seal::Kind;
use crate::streams::Feed;
use crate::tables::{self, Allowed, Asked, Call, FetchError, Grant, Table};

/// Pause before sockets are opened again, and between requests for a table that did not come.
const RETRY: Duration = Duration::from_millis(200);

/// Longest datagram read, in bytes; ours are shorter.
const DATAGRAM_MAX: usize = 2048;

/// Datagrams read before timers get their turn.
const BATCH: usize = 64;

/// Requests of peers that wait for their turn.
const ASKED: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

pub(super) struct Driver {
    membership: Membership,
    key: Key,
    listen: SocketAddr,
    fetches: Fetches,
    feeds: Feeds,
    allowed: watch::Sender<BTreeSet<IpAddr>>,
    version: u64,
    table: Arc<[u8]>,
}

/// Open sockets. The server of tables ends with them.
struct Sockets {
    udp: UdpSocket,
    asked: mpsc::Receiver<Asked>,
    _server: JoinSet<()>,
}

impl Sockets {
    async fn open(listen: SocketAddr, allowed: Allowed) -> std::io::Result<Self> {
        let udp = UdpSocket::bind(listen).await?;
        let listener = TcpListener::bind(listen).await?;
        let (judge, asked) = mpsc::channel(ASKED);
        let mut server = JoinSet::new();
        server.spawn(tables::serve(listener, judge, allowed));
        Ok(Self { udp, asked, _server: server })
    }
}

impl Driver {
    pub(super) fn new(membership: Membership, key: Key, listen: SocketAddr) -> Self {
        Self {
            membership,
            key,
            listen,
            fetches: Fetches::default(),
            feeds: Feeds::default(),
            allowed: watch::Sender::default(),
            version: 0,
            table: Arc::default(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>, events: mpsc::Sender<PeerEvent>) {
        let mut outbox = Outbox::new(events);
        let mut told = None;
        loop {
            let trouble = match Sockets::open(self.listen, self.allowed.subscribe()).await {
                Ok(sockets) => {
                    told = None;
                    match self.serve(sockets, &mut commands, &mut outbox).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if told.replace(trouble.kind()) != Some(trouble.kind()) {
                outbox.put(PeerEvent::Trouble(self.listen, trouble));
            }
            if self.pause(&mut commands, &mut outbox).await == Next::End {
                return;
            }
        }
    }

    /// Takes commands while there are no sockets.
    async fn pause(&mut self, commands: &mut mpsc::Receiver<Command>, outbox: &mut Outbox) -> Next {
        let over = tokio::time::Instant::now() + RETRY;
        while let Ok(command) = tokio::time::timeout_at(over, commands.recv()).await {
            if self.obey(command, None).await == Next::End {
                return Next::End;
            }
            self.tell(outbox);
        }
        if outbox.is_closed() { Next::End } else { Next::Continue }
    }

    async fn serve(
        &mut self,
        mut sockets: Sockets,
        commands: &mut mpsc::Receiver<Command>,
        outbox: &mut Outbox,
    ) -> std::io::Result<()> {
        let mut retry = tokio::time::interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !outbox.is_closed() {
            self.membership.handle_timer(Instant::now());
            self.tell(outbox);
            self.send(&sockets.udp).await;
            let deadline = self.membership.next_deadline().unwrap_or_else(|| Instant::now() + RETRY);
            tokio::select! {
                readable = sockets.udp.readable() => { readable?; self.receive(&sockets.udp)?; }
                () = tokio::time::sleep_until(deadline.into()) => {}
                command = commands.recv() => {
                    if self.obey(command, Some(&sockets.udp)).await == Next::End {
                        return Ok(());
                    }
                }
                Some(asked) = sockets.asked.recv() => self.judge(asked),
                fetched = self.fetches.next() => self.take(fetched, outbox),
                refusal = self.feeds.refused() => self.membership.count(refusal),
                _ = retry.tick() => self.fetch(),
            }
        }
        self.leave(Some(&sockets.udp)).await;
        Ok(())
    }

    fn receive(&mut self, udp: &UdpSocket) -> std::io::Result<()> {
        let mut buffer = [0; DATAGRAM_MAX];
        for _ in 0..BATCH {
            match udp.try_recv_from(&mut buffer) {
                Ok((length, from)) => {
                    self.membership.handle_datagram(Instant::now(), from.ip(), &buffer[..length]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A datagram that cannot be sent is a lost one: an unreachable peer is no trouble of ours.
    async fn send(&mut self, udp: &UdpSocket) {
        while let Some(datagram) = self.membership.poll_datagram() {
            let to = SocketAddr::new(datagram.to, self.listen.port());
            if let Err(error) = udp.send_to(&datagram.bytes, to).await {
                log::debug!("datagram to {to}: {error}");
            }
        }
    }

    async fn obey(&mut self, command: Option<Command>, udp: Option<&UdpSocket>) -> Next {
        let now = Instant::now();
        match command {
            Some(Command::Peers(peers)) => {
                self.allowed.send_replace(peers.values().map(IpAddr::to_canonical).collect());
                self.membership.set_peers(now, peers);
                self.fetches.retain(|node| self.membership.address(node).is_some());
            }
            Some(Command::Close(nodes)) => self.membership.set_close_peers(nodes),
            Some(Command::Table(version, table)) => self.set_table(version, table),
            Some(Command::Note(node, note)) => self.membership.send_note(node, &note),
            Some(Command::Tell(followers)) => self.feeds.tell(followers),
            Some(Command::Follow(node, heard)) => {
                if let Some(call) = self.call(Kind::Follow, node) {
                    self.feeds.follow(call, heard);
                }
            }
            Some(Command::Refusals(reply)) => drop(reply.send(self.membership.refusals().clone())),
            Some(Command::Leave(reply)) => {
                self.leave(udp).await;
                let _ended = reply.send(());
                return Next::End;
            }
            None => {
                self.leave(udp).await;
                return Next::End;
            }
        }
        Next::Continue
    }

    async fn leave(&mut self, udp: Option<&UdpSocket>) {
        self.membership.leave(Instant::now());
        if let Some(udp) = udp {
            self.send(udp).await;
        }
    }

    fn set_table(&mut self, version: u64, table: Arc<[u8]>) {
        if version <= self.version {
            log::warn!("claim table {version} comes after {}; ignored", self.version);
            return;
        }
        (self.version, self.table) = (version, table);
        self.membership.set_table_version(Instant::now(), version);
    }

    fn judge(&mut self, asked: Asked) {
        let Ok(ask) = self.membership.open_ask(asked.source, &asked.message) else { return };
        let key = self.key.clone();
        let grant = if ask.kind == Kind::Follow {
            let Some(messages) = self.feeds.welcome(ask.sender) else { return };
            let header = self.membership.header(Kind::Feed, ask.sender);
            Grant::Feed(Feed { key, ask, header, messages })
        } else {
            let header = self.membership.header(Kind::Answer, ask.sender);
            Grant::Table(Table { key, ask, header, version: self.version, table: self.table.clone() })
        };
        drop(asked.reply.send(grant));
    }

    fn fetch(&mut self) {
        for node in self.fetches.due(|node| self.membership.up().contains(&node)) {
            if let Some(call) = self.call(Kind::Ask, node) {
                self.fetches.start(node, call);
            }
        }
    }

    fn call(&mut self, kind: Kind, node: u16) -> Option<Call> {
        let to = SocketAddr::new(self.membership.address(node)?, self.listen.port());
        let ask = self.membership.header(kind, node);
        Some(Call { key: self.key.clone(), local: self.listen.ip(), to, ask })
    }

    fn take(&mut self, fetched: Fetched, outbox: &mut Outbox) {
        match fetched.outcome {
            Ok((edition, table)) => {
                if self.fetches.accept(fetched.node, edition) {
                    outbox.put(PeerEvent::Table(fetched.node, edition, table.into()));
                }
            }
            Err(error) => {
                log::debug!("table of node {}: {error}", fetched.node);
                if let FetchError::Refused(refusal) = error {
                    self.membership.count(refusal);
                }
            }
        }
    }

    fn tell(&mut self, outbox: &mut Outbox) {
        while let Some(event) = self.membership.poll_event() {
            match event {
                MemberEvent::Up(node) => outbox.put(PeerEvent::Up(node)),
                MemberEvent::Down(node) => outbox.put(PeerEvent::Down(node)),
                MemberEvent::Heard(node, at) => outbox.put(PeerEvent::Heard(node, at)),
                MemberEvent::Note(node, note) => outbox.put(PeerEvent::Note(node, note)),
                MemberEvent::TableVersion(node, edition) if edition.version == 0 => {
                    self.fetches.forget(node);
                    outbox.put(PeerEvent::Table(node, edition, Arc::default()));
                }
                MemberEvent::TableVersion(node, edition) => {
                    self.fetches.want(node, edition);
                    self.fetch();
                }
            }
        }
        outbox.flush();
    }
}
