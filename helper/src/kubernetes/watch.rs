//! One watch for each kind, in a thread of their own.
//!
//! Guarantees: objects are read before they are handed on, so that no more than a page of whole objects is ever held;
//! a list counts when it is complete; a watch that broke is asked for until the API answers, at growing intervals.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{Stream, StreamExt as _};
use kube::api::{DynamicObject, ListParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config};
use sortie_core::manifest::Document;
use sortie_core::model::Kind;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};

use super::events::{self, Happening, Teller};
use super::kinds::{self, Watched, WhenAbsent};
use super::services::{self, Ledger, Scribe};
use super::{News, Notice, Question, connect, entries, numbers, taint, write};
use crate::cli::KubernetesOptions;
use crate::due::Due;

/// First and longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Longest wait for a short answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Time between two looks for a kind that the API server does not know and need not know.
const ABSENT: Duration = Duration::from_secs(300);
/// Objects in a page, with an API server that does not stream lists.
const PAGE: u32 = 100;
/// Requests that the API server does not understand.
const NOT_UNDERSTOOD: [u16; 2] = [400, 422];
const NOT_FOUND: u16 = 404;

type Objects = Pin<Box<dyn Stream<Item = Result<Event<DynamicObject>, watcher::Error>> + Send>>;
/// What the daemon holds of the thread, and what the thread holds of the daemon.
pub(super) type Ends = (UnboundedReceiver<Notice>, UnboundedSender<Question>);
type Inner = (UnboundedSender<Notice>, UnboundedReceiver<Question>);

/// What the thread is told by the daemon.
pub(super) struct Told {
    pub(super) due: Receiver<Due>,
    /// Where happenings are told, here too.
    pub(super) teller: Teller,
    pub(super) happenings: tokio::sync::mpsc::Receiver<Happening>,
}

/// Starts to watch for a node. The thread ends with the receiver.
pub(super) async fn start(node: &str, options: &KubernetesOptions, told: Told) -> anyhow::Result<Ends> {
    let (notices, heard) = unbounded_channel();
    let (ask, questions) = unbounded_channel();
    let config = connect::config(options.kubeconfig.as_deref()).await?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
    let (node, options) = (node.to_owned(), options.clone());
    let run = move || {
        if let Err(error) = runtime.block_on(watch(config, (&node, options), (notices, questions), told)) {
            log::error!("the Kubernetes API cannot be watched error=\"{error:#}\"");
        }
    };
    thread::Builder::new().name("kubernetes".to_owned()).spawn(run).context("start thread")?;
    Ok((heard, ask))
}

async fn watch(
    config: Config,
    (node, options): (&str, KubernetesOptions),
    (notices, mut questions): Inner,
    Told { due, teller, happenings }: Told,
) -> anyhow::Result<()> {
    let client = connect::client(config)?;
    let (ledger, said) = Ledger::new(options.annotations);
    let mut ledger = Some(ledger);
    for mut watched in kinds::ALL {
        watched.annotations = options.annotations;
        let mut follower = Follower::new(&client, watched, node, notices.clone());
        follower.ledger = if watched.kind == Kind::Service { ledger.take() } else { None };
        tokio::spawn(follower.run());
    }
    if let Some(key) = options.startup_taint {
        tokio::spawn(taint::lift(client.clone(), node.to_owned(), key));
    }
    let (me, node) = (client.clone(), node.to_owned());
    let scribe = || Scribe::new(me.clone(), said.clone(), teller.clone());
    tokio::spawn(numbers::number(client.clone(), node.clone(), notices));
    tokio::spawn(entries::tell(client.clone(), node.clone(), due.clone()));
    tokio::spawn(services::tell(scribe(), due.clone()));
    tokio::spawn(events::write(client.clone(), node.clone(), happenings));
    tokio::spawn(write::lead((client.clone(), node), due, scribe(), teller.clone()));
    while let Some(question) = questions.recv().await {
        tokio::spawn(answer(client.clone(), question));
    }
    Ok(())
}

async fn answer(client: Client, Question { pod, answer }: Question) {
    let Some(pods) = kinds::of(Kind::Pod) else { return };
    let api = pods.api(&client, &pod.namespace);
    let found = match timeout(ANSWER, api.get_opt(&pod.name)).await {
        Ok(Ok(found)) => Ok(found.and_then(|object| pods.read(object))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    };
    // Who asked may have stopped waiting.
    let _ = answer.send(found);
}

/// How an API server gives all objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    Streamed,
    Paged,
}

/// The watch for one kind.
struct Follower {
    watched: Watched,
    api: Api<DynamicObject>,
    /// Restricts pods to those of the node.
    fields: Option<String>,
    notices: UnboundedSender<Notice>,
    /// What Services say of themselves.
    ledger: Option<Ledger>,
    /// What was told of a list that is not complete.
    list: Vec<Document>,
    pause: Duration,
}

impl Follower {
    fn new(client: &Client, watched: Watched, node: &str, notices: UnboundedSender<Notice>) -> Self {
        let api = watched.api(client, "");
        let fields = (watched.kind == Kind::Pod).then(|| format!("spec.nodeName={node}"));
        Self { watched, api, fields, notices, ledger: None, list: Vec::new(), pause: PAUSES.0 }
    }

    async fn run(mut self) {
        let mut objects = self.objects(watcher::Config::default().streaming_lists());
        let mut lists = Lists::Streamed;
        loop {
            self.await_answer().await;
            while let Some(event) = objects.next().await {
                match event {
                    Ok(event) => self.take(event),
                    Err(error) if lists == Lists::Streamed && is_not_understood(&error) => {
                        lists = Lists::Paged;
                        objects = self.objects(watcher::Config::default().page_size(PAGE));
                    }
                    Err(error) => {
                        self.fail(&error).await;
                        break;
                    }
                }
            }
        }
    }

    /// A stream that broke says nothing when it goes on where it was: the API itself is asked, with a request that
    /// needs the same permission.
    async fn await_answer(&mut self) {
        let mut one = ListParams::default().limit(1);
        one.field_selector = self.fields.clone();
        loop {
            match timeout(ANSWER, self.api.list_metadata(&one)).await {
                Ok(Ok(_)) => break,
                Ok(Err(kube::Error::Api(status)))
                    if status.code == NOT_FOUND && self.watched.when_absent == WhenAbsent::Empty =>
                {
                    self.tell(News::All(Vec::new()));
                    self.tell(News::Trouble(None));
                    sleep(ABSENT).await;
                }
                Ok(Err(error)) => self.fail(&error).await,
                Err(elapsed) => self.fail(&elapsed).await,
            }
        }
        self.tell(News::Trouble(None));
    }

    fn objects(&self, config: watcher::Config) -> Objects {
        let config = match &self.fields {
            Some(fields) => config.fields(fields),
            None => config,
        };
        Box::pin(watcher(self.api.clone(), config))
    }

    fn take(&mut self, mut event: Event<DynamicObject>) {
        self.pause = PAUSES.0;
        if let Some(ledger) = &mut self.ledger {
            ledger.take(&mut event);
        }
        match event {
            Event::Init => self.list.clear(),
            Event::InitApply(object) => self.list.extend(self.watched.read(object)),
            Event::InitDone => {
                let list = std::mem::take(&mut self.list);
                self.tell(News::All(list));
            }
            Event::Apply(object) => {
                if let Some(document) = self.watched.read(object) {
                    self.tell(News::One(Box::new(document)));
                }
            }
            Event::Delete(object) => {
                if let Some(key) = self.watched.read(object).and_then(|document| document.key) {
                    self.tell(News::Gone(key));
                }
            }
        }
    }

    /// Tells it and waits for a while.
    async fn fail(&mut self, error: &(dyn std::error::Error + Sync)) {
        self.tell(News::Trouble(Some(crate::node::chain(error))));
        sleep(self.pause + jitter(self.pause)).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }

    fn tell(&self, news: News) {
        // Nobody listens any more when the helper ends.
        let _ = self.notices.send(Notice { kind: self.watched.kind, news });
    }
}

/// Helpers that lost the API together do not come back together.
fn jitter(pause: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(()) % 1000).unwrap_or_default();
    pause * random / 1000
}

fn is_not_understood(error: &watcher::Error) -> bool {
    let (watcher::Error::WatchStartFailed(cause) | watcher::Error::WatchFailed(cause)) = error else { return false };
    matches!(cause, kube::Error::Api(status) if NOT_UNDERSTOOD.contains(&status.code))
}
