//! `/metrics`, `/healthz` and `/readyz` over HTTP.
//!
//! Guarantees: on a thread of its own; a slow client costs nothing but its own connection, which ends after
//! [`DEADLINE`]; the daemon is asked at most once in [`FRESH`], however many ask here. Leaves out: who may ask: choose
//! the address.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

/// Longest life of a connection.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for a request.
const HEADERS: Duration = Duration::from_secs(5);
/// Most connections at a time.
const CONNECTIONS: usize = 64;
/// Longest wait for the daemon.
const ANSWER: Duration = Duration::from_secs(5);
/// How long an answer of the daemon serves everybody.
const FRESH: Duration = Duration::from_millis(500);
/// Longest silence of a daemon that works: one run of `nft` has ten seconds, and a reconcile several.
const HUNG: Duration = Duration::from_secs(60);
/// Time until an address that cannot be listened on is tried again, and after a failed accept.
const AGAIN: Duration = Duration::from_secs(1);
const TEXT: &str = "text/plain; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Asks the daemon for the text of all metrics.
pub(crate) type Scrape = oneshot::Sender<String>;

/// How the daemon is.
#[derive(Clone, Debug)]
pub(crate) struct Vital {
    /// Its last sign of life; none before it has read its objects, which may take as long as the API is away.
    pub(crate) beat: Option<Instant>,
    /// Whether the socket is open and the last reconcile was verified, or why not.
    pub(crate) ready: Result<(), String>,
}

impl Default for Vital {
    fn default() -> Self {
        Self { beat: None, ready: Err("the first reconcile is not done".to_owned()) }
    }
}

/// Listens from now on, in a thread that ends with the program. An address that somebody else uses is tried again.
pub(crate) fn start(
    at: SocketAddr,
    vital: watch::Receiver<Vital>,
    scrapes: mpsc::Sender<Scrape>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
    let desk = Arc::new(Desk { vital, scrapes, last: Mutex::new(None) });
    let run = move || runtime.block_on(serve(at, desk));
    std::thread::Builder::new().name("metrics".to_owned()).spawn(run).context("start the thread of metrics")?;
    Ok(())
}

async fn serve(at: SocketAddr, desk: Arc<Desk>) {
    let listener = listen(at).await;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (desk, place) = (Arc::clone(&desk), Arc::clone(&places).try_acquire_owned());
                if let Ok(place) = place {
                    tokio::spawn(async move {
                        let _ = timeout(DEADLINE, converse(stream, desk)).await;
                        drop(place);
                    });
                }
            }
            Err(error) => {
                log::debug!("connection for metrics cannot be accepted error={error}");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn listen(at: SocketAddr) -> TcpListener {
    let mut complaint = String::new();
    loop {
        match TcpListener::bind(at).await {
            Ok(listener) => {
                log::info!("metrics at={at}");
                return listener;
            }
            Err(error) => {
                let error = error.to_string();
                if error != complaint {
                    log::error!("--metrics-addr {at}: cannot listen, tried again error={error}");
                }
                complaint = error;
                sleep(AGAIN).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, desk: Arc<Desk>) {
    let service = service_fn(|request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS).keep_alive(false);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        log::debug!("a client for metrics went error={error}");
    }
}

struct Desk {
    vital: watch::Receiver<Vital>,
    scrapes: mpsc::Sender<Scrape>,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Desk {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return said(StatusCode::METHOD_NOT_ALLOWED, "use GET");
        }
        match request.uri().path() {
            "/metrics" => self.metrics().await,
            "/healthz" => self.healthz(),
            "/readyz" => match &self.vital.borrow().ready {
                Ok(()) => said(StatusCode::OK, "ready"),
                Err(reason) => said(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            _ => said(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz"),
        }
    }

    fn healthz(&self) -> Response<Full<Bytes>> {
        match self.vital.borrow().beat.map(|beat| beat.elapsed()) {
            Some(silent) if silent > HUNG => {
                let silent = format!("no sign of life for {} seconds", silent.as_secs());
                said(StatusCode::SERVICE_UNAVAILABLE, &silent)
            }
            _ => said(StatusCode::OK, "alive"),
        }
    }

    /// Whoever asks while another one waits gets the same answer.
    async fn metrics(&self) -> Response<Full<Bytes>> {
        let mut last = self.last.lock().await;
        if let Some((at, text)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            log::trace!("metrics are {} ms old", at.elapsed().as_millis());
            return with(StatusCode::OK, OPENMETRICS, text.clone());
        }
        let (scrape, text) = oneshot::channel();
        let asked = async {
            self.scrapes.send(scrape).await.ok()?;
            text.await.ok()
        };
        let Ok(Some(text)) = timeout(ANSWER, asked).await else {
            return said(StatusCode::SERVICE_UNAVAILABLE, "the helper is busy");
        };
        let text = Bytes::from(text);
        *last = Some((Instant::now(), text.clone()));
        with(StatusCode::OK, OPENMETRICS, text)
    }
}

fn said(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    with(status, TEXT, Bytes::from(format!("{text}\n")))
}

fn with(status: StatusCode, kind: &'static str, text: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn asked(at: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    async fn got(at: SocketAddr, path: &str) -> String {
        asked(at, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }

    /// A server whose daemon answers with the number of the question.
    async fn stage() -> (SocketAddr, watch::Sender<Vital>) {
        let (tell, vital) = watch::channel(Vital::default());
        let (scrapes, mut asked) = mpsc::channel::<Scrape>(1);
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = probe.local_addr().unwrap();
        drop(probe);
        start(at, vital, scrapes).unwrap();
        tokio::spawn(async move {
            let mut count = 0;
            while let Some(scrape) = asked.recv().await {
                count += 1;
                let _ = scrape.send(format!("question {count}\n# EOF\n"));
            }
        });
        while TcpStream::connect(at).await.is_err() {
            tokio::task::yield_now().await;
        }
        (at, tell)
    }

    fn wait(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn probes_follow_the_daemon() {
        wait(async {
            let (at, tell) = stage().await;
            assert!(got(at, "/healthz").await.starts_with("HTTP/1.1 200"));
            assert!(got(at, "/readyz").await.ends_with("the first reconcile is not done\n"));
            tell.send_replace(Vital { beat: Some(Instant::now()), ready: Ok(()) });
            assert!(got(at, "/readyz").await.starts_with("HTTP/1.1 200"));
            assert!(got(at, "/healthz").await.starts_with("HTTP/1.1 200"));
            let long_ago = Instant::now().checked_sub(HUNG * 2).unwrap();
            tell.send_replace(Vital { beat: Some(long_ago), ready: Ok(()) });
            assert!(got(at, "/healthz").await.starts_with("HTTP/1.1 503"));
        });
    }

    #[test]
    fn many_who_ask_at_once_cost_the_daemon_one_answer_and_a_silent_client_stops_nobody() {
        wait(async {
            let (at, _tell) = stage().await;
            let _silent = TcpStream::connect(at).await.unwrap();
            let (a, b) = tokio::join!(got(at, "/metrics"), got(at, "/metrics"));
            assert!(a.contains("question 1\n") && b.contains("question 1\n"), "{a}{b}");
            assert!(a.contains("openmetrics-text"), "{a}");
        });
    }

    #[test]
    fn what_is_no_question_is_refused() {
        wait(async {
            let (at, _tell) = stage().await;
            assert!(got(at, "/secrets").await.starts_with("HTTP/1.1 404"));
            assert!(asked(at, "POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 405"));
            assert!(asked(at, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        });
    }
}
