//! etcd and kube-apiserver.
//!
//! Guarantees: requests are authenticated and authorized as in production; ports are those of a namespace, so that
//! nothing collides. Leaves out: controllers; alone, nothing makes what a manifest implies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::certificates::{Authority, Identity, Names};
use super::kubeconfig;
use super::kubectl::Kubectl;
use super::shell::Shell;
use crate::net::Namespace;
use crate::process::Process;
use crate::tools::{Group, ensure};
use crate::wait::until;

/// Port of the API server.
const PORT: u16 = 6443;
/// Where Services get their addresses from.
const SERVICES: &str = "10.96.0.0/16,fd96::/112";
/// Addresses of the Service `kubernetes.default`, the first ones of [`SERVICES`].
const SERVICE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 1))];
/// Who issues tokens.
const ISSUER: &str = "https://kubernetes.default.svc";
/// Where etcd listens.
const ETCD: &str = "http://127.0.0.1:2379";
/// What the keys that sign tokens are called.
pub(super) const TOKENS: &str = "tokens";
/// How long a busy machine may take to start one of them.
const START: Duration = Duration::from_secs(60);
/// Names pods know it by.
const HOSTS: [&str; 4] = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];

const FIXED: [&str; 4] = [
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--allow-privileged=true",
    "--kubelet-preferred-address-types=InternalIP",
];
const ALONE: [&str; 2] = ["--endpoint-reconciler-type=none", "--disable-admission-plugins=ServiceAccount"];

/// Who lives with an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nobody: pods need no service account, because nobody would make it. Clients are in the same namespace.
    Alone,
    /// Controllers and nodes, which reach it under this address.
    Cluster(IpAddr),
}

/// A running API server with its store.
#[derive(Debug)]
pub struct ApiServer {
    place: Namespace,
    folder: PathBuf,
    scope: Scope,
    authority: Authority,
    arguments: Vec<String>,
    // Ends before the store.
    server: Option<Process>,
    _etcd: Process,
}

impl ApiServer {
    /// Starts it in a namespace, with its files in `folder`, and waits until it is ready.
    ///
    /// # Errors
    /// When a program cannot be built or does not start; with its log.
    pub fn start(place: &Namespace, folder: &Path, scope: Scope) -> Result<Self> {
        let certificates = folder.join("pki");
        std::fs::create_dir_all(&certificates).with_context(|| format!("cannot create {}", certificates.display()))?;
        let authority = Authority::new(&certificates)?;
        let etcd = Process::start(place, &mut etcd(folder)?, &folder.join("etcd.log"))?;
        let arguments = arguments(&authority, scope)?;
        let (place, folder) = (place.clone(), folder.to_path_buf());
        let mut api = Self { place, folder, scope, authority, arguments, server: None, _etcd: etcd };
        std::fs::write(api.admin(), api.kubeconfig("admin", Some("system:masters"))?)
            .context("cannot write the kubeconfig of the administrator")?;
        api.resume()?;
        Ok(api)
    }

    /// Starts it again after [`ApiServer::stop`], with everything it knew, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub fn resume(&mut self) -> Result<()> {
        let log = self.folder.join("kube-apiserver.log");
        let mut command = Command::new(ensure(Group::Kubernetes)?.join("kube-apiserver"));
        self.server = Some(Process::start(&self.place, command.args(&self.arguments), &log)?);
        self.await_ready().with_context(|| self.log())
    }

    /// Kills it; the store stays.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Sends it a signal, SIGSTOP for an API server that hangs.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.server.as_ref().context("no API server")?.signal(signal)
    }

    /// What it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.server.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Who signs its certificates.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Where it is, for clients that reach its namespace.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", SocketAddr::new(self.address(), PORT))
    }

    /// A kubeconfig, as text, for a user with a certificate. It names files that end with this value.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn kubeconfig(&self, user: &str, group: Option<&str>) -> Result<String> {
        Ok(self.kubeconfig_of(&self.authority.issue(user, group, &Names::default())?))
    }

    /// A kubeconfig, as text, for the owner of a certificate.
    pub(super) fn kubeconfig_of(&self, identity: &Identity) -> String {
        kubeconfig::certificate(&self.url(), &self.authority.own().certificate, identity)
    }

    /// A kubeconfig, as text, for a service account that exists, with a token for an hour.
    ///
    /// # Errors
    /// When the API server issues no token.
    pub fn account(&self, namespace: &str, name: &str) -> Result<String> {
        self.token((namespace, name), &[])
    }

    /// As [`ApiServer::account`], with a token as a pod on this node has it.
    ///
    /// # Errors
    /// When there is no such node, or the API server issues no token.
    pub fn account_on(&self, node: &str, account: (&str, &str)) -> Result<String> {
        let object = self.kubectl()?.get(&["node", node])?;
        let uid = object["metadata"]["uid"].as_str().context("a node without uid")?;
        self.token(account, &["--bound-object-kind=Node", "--bound-object-name", node, "--bound-object-uid", uid])
    }

    fn token(&self, (namespace, name): (&str, &str), bound: &[&str]) -> Result<String> {
        let words = ["create", "token", "--namespace", namespace, name];
        let token = self.kubectl()?.run(&[&words, bound].concat())?;
        Ok(kubeconfig::token(&self.url(), &self.authority.own().certificate, token.trim()))
    }

    /// kubectl of the administrator.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(&self.place, &self.admin())
    }

    /// kubectl with a kubeconfig of [`ApiServer::kubeconfig`] or [`ApiServer::account`].
    ///
    /// # Errors
    /// When it cannot be built or the kubeconfig cannot be written.
    pub fn kubectl_as(&self, name: &str, config: &str) -> Result<Kubectl> {
        let path = self.folder.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
        Kubectl::new(&self.place, &path)
    }

    /// A shell whose `kubectl` is the administrator's, in a folder.
    ///
    /// # Errors
    /// When kubectl cannot be built.
    pub fn shell(&self, folder: &Path) -> Result<Shell> {
        Shell::new(&self.place, folder, ("KUBECONFIG", self.admin().into()))
    }

    fn admin(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    fn address(&self) -> IpAddr {
        self.scope.address()
    }

    fn await_ready(&mut self) -> Result<()> {
        let (place, at) = (self.place.clone(), SocketAddr::new(self.address(), PORT));
        until(START, "the API server's port", || place.with(|| Ok(TcpStream::connect_timeout(&at, START)?)).is_ok())?;
        let kubectl = self.kubectl()?;
        until(START, "a ready API server", || kubectl.run(&["get", "--raw", "/readyz"]).is_ok())
    }
}

impl Scope {
    fn address(self) -> IpAddr {
        match self {
            Self::Alone => Ipv4Addr::LOCALHOST.into(),
            Self::Cluster(address) => address,
        }
    }
}

/// What the API server is told, with the certificates made for it.
fn arguments(authority: &Authority, scope: Scope) -> Result<Vec<String>> {
    let address = scope.address();
    let names = Names {
        hosts: HOSTS.map(str::to_owned).to_vec(),
        addresses: [vec![address, Ipv4Addr::LOCALHOST.into()], SERVICE.to_vec()].concat(),
    };
    let own = authority.issue("kube-apiserver", None, &names)?;
    let nodes = authority.issue("kube-apiserver-kubelet-client", Some("system:masters"), &Names::default())?;
    let (tokens, authority) = (authority.keys(TOKENS)?, authority.own().certificate);
    let files = [
        ("service-account-signing-key-file", &tokens.key),
        ("service-account-key-file", &tokens.certificate),
        ("client-ca-file", &authority),
        ("kubelet-certificate-authority", &authority),
        ("kubelet-client-certificate", &nodes.certificate),
        ("kubelet-client-key", &nodes.key),
        ("tls-cert-file", &own.certificate),
        ("tls-private-key-file", &own.key),
    ];
    let mut arguments: Vec<String> = files.map(|(name, path)| format!("--{name}={}", path.display())).to_vec();
    arguments.extend(FIXED.map(str::to_owned));
    arguments.extend([
        format!("--etcd-servers={ETCD}"),
        format!("--secure-port={PORT}"),
        format!("--advertise-address={address}"),
        format!("--service-cluster-ip-range={SERVICES}"),
        format!("--service-account-issuer={ISSUER}"),
    ]);
    if scope == Scope::Alone {
        arguments.extend(ALONE.map(str::to_owned));
    }
    Ok(arguments)
}

fn etcd(folder: &Path) -> Result<Command> {
    let mut etcd = Command::new(ensure(Group::Etcd)?.join("etcd"));
    etcd.arg("--data-dir").arg(folder.join("etcd")).args(["--unsafe-no-fsync", "--log-level", "warn"]);
    etcd.args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD]);
    Ok(etcd)
}
