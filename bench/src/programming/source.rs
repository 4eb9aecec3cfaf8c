//! Where the helper reads objects from, and how they are edited there.
//!
//! Guarantees: the clock starts just before the file is written or the request is sent. Leaves out: waiting for anything
//! but the API server's answer.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::helper::NODE;
use sortie_testkit::{Helper, Lab, Process, manifest, until};
use sortie_tests::api::ApiScene;
use sortie_tests::scene::SOON;

use super::objects::{LABEL, Object};

/// Requests of kubectl at the same time; each of them limits itself.
const WRITERS: usize = 8;
/// Addresses of pods, beyond those of the lab's node.
const FLAGS: [&str; 4] = ["--log-level", "warn", "--cluster-cidr", "10.244.0.0/16"];

/// Which kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Folder,
    Api,
}

impl Origin {
    /// One on a lab, with the node in it.
    pub(crate) fn open(self, lab: &Lab) -> Result<Source<'_>> {
        match self {
            Self::Folder => Source::folder(lab),
            Self::Api => Source::api(lab),
        }
    }
}

/// A folder, or an API server.
pub(crate) enum Source<'a> {
    Folder(&'a Lab),
    Api(Box<Api<'a>>),
}

/// An API server, and a proxy that spares the clock kubectl's start.
pub(crate) struct Api<'a> {
    scene: ApiScene<'a>,
    socket: PathBuf,
    _proxy: Process,
}

impl<'a> Source<'a> {
    fn folder(lab: &'a Lab) -> Result<Self> {
        let node = manifest::node()
            .replace("{name: node1}", &format!("{{name: {NODE}, labels: {{{}: {}}}}}", LABEL.0, LABEL.1));
        lab.manifest("node.yaml", &node)?;
        Ok(Self::Folder(lab))
    }

    fn api(lab: &'a Lab) -> Result<Self> {
        let scene = ApiScene::new(lab)?;
        scene.admin.run(&["label", "node", NODE, &format!("{}={}", LABEL.0, LABEL.1)])?;
        let socket = lab.path("proxy.sock");
        let place = format!("--unix-socket={}", socket.display());
        let proxy = scene.admin.start(&["proxy", &place], &lab.path("proxy.log"))?;
        until(SOON, "kubectl's proxy", || UnixStream::connect(&socket).is_ok())?;
        Ok(Self::Api(Box::new(Api { scene, socket, _proxy: proxy })))
    }

    /// What the table calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Folder(_) => "folder",
            Self::Api(_) => "API",
        }
    }

    /// A helper that reads it.
    pub(crate) fn helper(&self) -> Result<Helper<'a>> {
        match self {
            Self::Folder(lab) => Helper::start(lab, &FLAGS),
            Self::Api(api) => {
                let mut helper = api.scene.launch_with(&FLAGS)?;
                helper.await_ready()?;
                Ok(helper)
            }
        }
    }

    /// Creates an object.
    pub(crate) fn create(&self, object: &Object) -> Result<()> {
        match self {
            Self::Folder(lab) => lab.manifest(object.file, &object.value.to_string()),
            Self::Api(api) => api.scene.admin.apply(&object.value.to_string()),
        }
    }

    /// Edits an object that is there.
    pub(crate) fn edit(&self, object: &Object) -> Result<()> {
        match self {
            Self::Folder(_) => self.create(object),
            Self::Api(api) => api.patch(&object.path, &json!({"spec": object.value["spec"]})),
        }
    }

    /// Creates many objects, or edits them in a folder: one file.
    pub(crate) fn create_all(&self, file: &str, objects: &[Value]) -> Result<()> {
        match self {
            Self::Folder(lab) => lab.manifest(file, &documents(objects)),
            Self::Api(api) => api.create_all(file, objects),
        }
    }
}

impl Api<'_> {
    fn patch(&self, path: &str, patch: &Value) -> Result<()> {
        let body = patch.to_string();
        let mut stream = UnixStream::connect(&self.socket).context("cannot reach kubectl's proxy")?;
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/merge-patch+json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).context("cannot send a request")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("cannot read the answer")?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        Ok(())
    }

    fn create_all(&self, name: &str, objects: &[Value]) -> Result<()> {
        let parts = objects.chunks(objects.len().div_ceil(WRITERS).max(1)).enumerate();
        let create = |(number, part): (usize, &[Value])| -> Result<()> {
            let file = self.scene.lab.path(&format!("{name}-{number}"));
            std::fs::write(&file, documents(part)).with_context(|| format!("cannot write {}", file.display()))?;
            self.scene.admin.run(&["create", "-f", &file.to_string_lossy()]).map(drop)
        };
        std::thread::scope(|scope| {
            let writers: Vec<_> = parts.map(|part| scope.spawn(move || create(part))).collect();
            writers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a writer panicked"))))
        })
    }
}

fn documents(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}
